"""Spectra, losses and cosines of whole models against autograd on the weights and SVD in fp64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests import oracle

from gradprism import GradientAnalyzer, GradPrismError
from gradprism.data.example import Example, Turn
from gradprism.prism import reducer, solver

FAMILIES = ("llama", "qwen3", "gemma3")
HOME = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
        "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}  # fmt: skip
LAYERS = 4


def example(prompt: str, response: str, row: int = 0) -> Example:
    return Example(row, str(row), (Turn("user", prompt), Turn("assistant", response)))


def expected(model: Any, tokenizer: Any, item: Example, projections: str) -> tuple[dict[str, Any], int, list[bool]]:
    """Autograd gradients by (projection, layer), the token count and the mask, by the paper's template."""
    prompt = item.turns[0].content + "\n"
    ids = tokenizer(prompt + item.turns[1].content)["input_ids"]
    mask = [position >= len(tokenizer.encode(prompt)) for position in range(len(ids))]
    names = {(p, layer): f"model.layers.{layer}.{HOME[p]}.weight" for p in projections for layer in range(LAYERS)}
    found = oracle.weight_gradients(model, ids, mask, list(names.values()))
    return {"loss": found["loss"]} | {key: found[name] for key, name in names.items()}, len(ids), mask


CASES = {
    "short (tokens < d)": ("Name a colour.", "Blue."),
    "long (tokens > d)": ("Explain why the sky is blue.", "Sunlight is scattered by air. " * 8),
    "prompt much longer than response": ("Say yes or no, and think about it first. " * 5, "Yes"),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", CASES)
def test_every_projection_equals_autograd_and_fp64_svd(
    family: str, case: str, make_model: Callable[..., Any], tokenizer: Any
) -> None:
    model, item = make_model(family), example(*CASES[case])
    truth, n_tokens, mask = expected(model, tokenizer, item, "qkvo")
    tables = GradientAnalyzer(model, tokenizer, entry_stats=True).analyze([item])
    row = tables.examples.row(0, named=True)
    assert (row["n_tokens"], row["n_response_tokens"], row["status"]) == (n_tokens, sum(mask), "ok")
    assert row["loss"] == pytest.approx(truth["loss"], rel=1e-5)
    assert tables.spectra.height == 4 * LAYERS
    for found in tables.spectra.iter_rows(named=True):
        gradient = truth[found["projection"], found["layer"]]
        check_measures(found, gradient, min(n_tokens - 1, *gradient.shape))
    check_similarities(tables.similarity, truth)


def check_measures(found: dict[str, Any], gradient: np.ndarray, most: int) -> None:
    for name, value in oracle.measures(gradient, most).items():
        assert found[name] == pytest.approx(value, rel=1e-4), (found["projection"], found["layer"], name)
    assert (found["d_out"], found["d_in"]) == gradient.shape
    assert len(found["singular_values"]) <= most
    assert 1 <= found["effective_rank"] <= most
    size = np.abs(gradient).max()
    for name, value in (("mean", gradient.mean()), ("min", gradient.min()), ("max", gradient.max())):
        assert found[f"grad_{name}"] == pytest.approx(value, rel=1e-4, abs=1e-6 * size)


def check_similarities(similarity: pl.DataFrame, truth: dict[Any, Any]) -> None:
    assert similarity.filter(kind="adjacent").height == 4 * (LAYERS - 1)
    assert similarity.filter(kind="same_layer").height == 2 * LAYERS
    for found in similarity.iter_rows(named=True):
        first, _, second = found["pair"].partition("-")
        a, b = truth[first, found["layer"]], truth[second or first, found["other_layer"]]
        if a.shape == b.shape:
            assert found["cosine"] == pytest.approx(oracle.cosine(a, b), abs=1e-4)
        else:
            assert found["cosine"] is None


def test_two_tokens(make_model: Callable[..., Any], tokenizer: Any) -> None:
    """One prompt token, one response token: attention sees a single key, so q and k get no gradient at all."""
    model = make_model("llama")
    item = Example(0, "0", (Turn("user", ""), Turn("assistant", "a")))
    truth, n_tokens, _ = expected(model, tokenizer, item, "qkvo")
    assert n_tokens == 2
    spectra = GradientAnalyzer(model, tokenizer).analyze([item]).spectra
    for found in spectra.iter_rows(named=True):
        gradient = truth[found["projection"], found["layer"]]
        size = np.linalg.norm(truth["v", found["layer"]])
        if found["projection"] in "vo":
            assert found["nuclear_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-4)
            assert found["effective_rank"] == pytest.approx(1.0, abs=1e-9)
        else:
            assert found["frobenius_norm"] <= 1e-5 * size
            assert np.linalg.norm(gradient) <= 1e-5 * size


def test_mlp_projections(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model, item = make_model("qwen3"), example(*CASES["long (tokens > d)"])
    names = ["gate", "up", "down", "v"]
    prompt = item.turns[0].content + "\n"
    ids = tokenizer(prompt + item.turns[1].content)["input_ids"]
    mask = [position >= len(tokenizer.encode(prompt)) for position in range(len(ids))]
    tables = GradientAnalyzer(model, tokenizer, projections=names).analyze([item])
    weights = {(p, layer): f"model.layers.{layer}.{HOME[p]}.weight" for p in names for layer in range(LAYERS)}
    truth = oracle.weight_gradients(model, ids, mask, list(weights.values()))
    assert tables.spectra["projection"].unique(maintain_order=True).to_list() == names
    for found in tables.spectra.iter_rows(named=True):
        gradient = truth[weights[found["projection"], found["layer"]]]
        assert found["nuclear_norm"] == pytest.approx(np.linalg.svd(gradient, compute_uv=False).sum(), rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.slow
def test_a_batch_gives_the_numbers_of_each_example_alone(
    family: str, make_model: Callable[..., Any], tokenizer: Any, sample_rows: list[dict[str, str]]
) -> None:
    model, rows = make_model(family), sample_rows[:7]
    alone = GradientAnalyzer(model, tokenizer, batch_tokens=1, max_length=120).analyze(rows)
    together = GradientAnalyzer(model, tokenizer, batch_tokens=10_000, max_length=120).analyze(rows)
    assert alone.examples.drop("loss", "nll_sum").equals(together.examples.drop("loss", "nll_sum"))
    np.testing.assert_allclose(alone.examples["loss"], together.examples["loss"], rtol=1e-5)
    for measure in ("nuclear_norm", "effective_rank", "frobenius_norm", "spectral_norm", "stable_rank"):
        np.testing.assert_allclose(alone.spectra[measure], together.spectra[measure], rtol=1e-4)
    np.testing.assert_allclose(
        alone.similarity["cosine"].drop_nulls(), together.similarity["cosine"].drop_nulls(), atol=1e-4
    )


@pytest.mark.slow  # half a second or more
@pytest.mark.parametrize("way", ["stacks, as on an accelerator", "stacks, all on threads", "each layer by itself"])
def test_how_many_matrices_are_solved_together_changes_no_number(
    way: str, make_model: Callable[..., Any], tokenizer: Any, sample_rows: list[dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rows = sample_rows[:7]
    usual = GradientAnalyzer(make_model("llama"), tokenizer, max_length=120)
    other = GradientAnalyzer(make_model("llama"), tokenizer, max_length=120)
    expected = usual.analyze(rows)
    if way == "each layer by itself":
        monkeypatch.setattr(reducer, "_WAITING", {True: 0, False: 0})
    else:
        monkeypatch.setattr(solver, "_STACK", 100_000)  # several of them
        other.pool = reducer.EigenPool(2, stacked=True, share=1.0 if way == "stacks, all on threads" else None)
    found = other.analyze(rows)
    for measure in ("nuclear_norm", "effective_rank", "frobenius_norm", "spectral_norm", "stable_rank"):
        np.testing.assert_allclose(found.spectra[measure], expected.spectra[measure], rtol=1e-5)
    assert found.similarity.drop("cosine").equals(expected.similarity.drop("cosine"))
    np.testing.assert_allclose(found.similarity["cosine"], expected.similarity["cosine"], atol=1e-6)


def test_all_layers_gives_every_pair(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model, item = make_model("llama"), example(*CASES["long (tokens > d)"])
    truth, _, _ = expected(model, tokenizer, item, "qkvo")
    similarity = GradientAnalyzer(model, tokenizer, all_layers=True).analyze([item]).similarity
    pairs = similarity.filter(kind="all_layers")
    assert pairs.height == 4 * LAYERS * (LAYERS - 1) // 2
    for found in pairs.iter_rows(named=True):
        a, b = truth[found["pair"], found["layer"]], truth[found["pair"], found["other_layer"]]
        assert found["cosine"] == pytest.approx(oracle.cosine(a, b), abs=1e-4)


def test_without_spectrum_the_measures_stay_and_the_values_go(make_model: Callable[..., Any], tokenizer: Any) -> None:
    spectra = GradientAnalyzer(make_model("llama"), tokenizer, spectrum=False).analyze([example("a", "b c")]).spectra
    assert spectra["singular_values"].null_count() == spectra.height
    assert spectra["nuclear_norm"].null_count() == 0


def test_a_model_that_changes_its_activations_in_place(tokenizer: Any) -> None:
    """OLMo clamps q, k and v in place, which autograd forbids on a leaf."""
    import torch
    import transformers as hf

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
    config = hf.OlmoConfig(vocab_size=len(tokenizer), clip_qkv=0.05, pad_token_id=0, **sizes)
    model = hf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    item = example(*CASES["short (tokens < d)"])
    truth, n_tokens, _ = expected(model, tokenizer, item, "qkvo")
    tables = GradientAnalyzer(model, tokenizer, entry_stats=True).analyze([item])
    assert tables.spectra.height == 4 * LAYERS
    for found in tables.spectra.iter_rows(named=True):
        gradient = truth[found["projection"], found["layer"]]
        check_measures(found, gradient, min(n_tokens - 1, *gradient.shape))


def test_adjacent_are_neighbours_also_where_layers_without_attention_lie_between(
    make_model: Callable[..., Any], tokenizer: Any
) -> None:
    analyzer = GradientAnalyzer(make_model("llama"), tokenizer)
    analyzer.projections = tuple(p for p in analyzer.projections if p.layer != 1)
    similarity = analyzer.analyze([example("a", "b c d")]).similarity.filter(kind="adjacent")
    assert set(similarity.select("layer", "other_layer").iter_rows()) == {(2, 3)}


def test_a_projection_used_twice_in_one_pass_is_refused(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("llama")
    model.model.layers[3] = model.model.layers[2]
    with pytest.raises(GradPrismError, match="used several times"):
        GradientAnalyzer(model, tokenizer).analyze([example("a", "b c d")])


def test_a_layer_that_no_gradient_reaches_fails_the_row(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("llama")
    attention = model.model.layers[1].self_attn
    forward = attention.forward
    attention.forward = lambda *args, **options: (forward(*args, **options)[0].detach(), None)
    examples = GradientAnalyzer(model, tokenizer).analyze([example("a", "b c d")]).examples
    assert examples["status"].to_list() == ["failed"]
    assert "no gradient reached model.layers.1.self_attn.q_proj" in examples["reason"][0]


def test_half_precision_keeps_the_small_gradients_of_a_long_response(
    make_model: Callable[..., Any], tokenizer: Any
) -> None:
    """Divided by 300 tokens in front of backward, they would fall below the smallest fp16 number."""
    model, item = make_model("llama"), example("Go on.", "Sunlight is scattered by air. " * 30)
    model.lm_head.weight.data.mul_(1e-3)
    exact = GradientAnalyzer(model, tokenizer).analyze([item]).spectra
    half = GradientAnalyzer(model.half(), tokenizer).analyze([item]).spectra
    np.testing.assert_allclose(half["effective_rank"], exact["effective_rank"], rtol=0.03)
    np.testing.assert_allclose(half["nuclear_norm"], exact["nuclear_norm"], rtol=0.03)
