from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
import torch

from gradprism import GradientAnalyzer, GradPrismError
from gradprism.data.encode import Encoded
from gradprism.data.example import Example, Turn
from gradprism.prism import analyzer as analyzer_module
from gradprism.prism.prism import measure_batch


@pytest.mark.slow  # every option of the analyzer
def test_the_model_is_left_as_it_was_found(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("llama").train()
    model.model.embed_tokens.weight.requires_grad_(False)
    before = {name: (p.requires_grad, p.detach().clone()) for name, p in model.named_parameters()}
    GradientAnalyzer(model, tokenizer).analyze([{"prompt": "a", "completion": "b"}])
    assert model.training
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == before[name][0]
        assert parameter.grad is None
        assert torch.equal(parameter, before[name][1])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_row_that_cannot_be_used_is_a_row_with_its_reason(make_model: Callable[..., Any], tokenizer: Any) -> None:
    rows = [
        {"prompt": "a", "completion": "fine"},
        {"prompt": "a", "completion": "  "},
        {"prompt": "a word " * 40, "completion": "never reached"},
        {"prompt": "a", "completion": ["no", "text"]},
    ]
    examples = GradientAnalyzer(make_model("llama"), tokenizer, max_length=32).analyze(rows).examples
    assert examples["status"].to_list() == ["ok", "skipped", "skipped", "skipped"]
    assert examples["reason"][1] == "empty response"
    assert "fills max_length" in examples["reason"][2]
    assert examples["loss"].to_list()[1:] == [None, None, None]


def test_a_nan_weight_fails_rows_and_writes_no_number(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("llama")
    model.model.layers[2].mlp.up_proj.weight.data[0, 0] = float("nan")
    tables = GradientAnalyzer(model, tokenizer).analyze([{"prompt": "a", "completion": "b"}])
    row = tables.examples.row(0, named=True)
    assert row["status"] == "failed"
    assert "non-finite loss" in row["reason"]
    assert row["loss"] is None
    assert tables.spectra.is_empty()
    assert tables.similarity.is_empty()


def test_an_example_with_a_non_finite_loss_leaves_its_batch_mates_alone(
    make_model: Callable[..., Any], tokenizer: Any
) -> None:
    model = make_model("llama")
    marked = tokenizer("Ω")["input_ids"]
    model.model.embed_tokens.weight.data[marked[-1]] = float("inf")
    clean = {"prompt": "one two", "completion": "three four"}
    rows = [clean, {"prompt": "Ω", "completion": "three four five"}]
    alone = GradientAnalyzer(model, tokenizer).analyze([clean])
    both = GradientAnalyzer(model, tokenizer, batch_tokens=1000).analyze(rows)
    assert both.examples["status"].to_list() == ["ok", "failed"]
    kept = both.spectra.filter(pl.col("row") == 0)
    assert kept["nuclear_norm"].to_list() == pytest.approx(alone.spectra["nuclear_norm"].to_list(), rel=1e-4)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
@pytest.mark.slow
def test_out_of_memory_halves_the_batch_and_goes_on(
    error: Exception, make_model: Callable[..., Any], tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def runs_out(model: Any, projections: Any, encoded: Any, *rest: Any) -> Any:
        sizes.append(len(encoded))
        if len(encoded) > 2 or encoded[0].n_tokens > 60:
            raise error
        return measure_batch(model, projections, encoded, *rest)

    monkeypatch.setattr(analyzer_module, "measure_batch", runs_out)
    rows = [{"prompt": "a", "completion": "b c d"} for _ in range(8)] + [{"prompt": "a", "completion": "long " * 60}]
    examples = GradientAnalyzer(make_model("llama"), tokenizer, batch_tokens=4000).analyze(rows).examples
    assert examples["status"].to_list() == ["ok"] * 8 + ["failed"]
    assert "out of memory at batch size 1" in examples["reason"][8]
    assert max(sizes[2:]) <= 8


def test_a_token_id_beyond_the_embeddings_never_reaches_the_model(
    make_model: Callable[..., Any], tokenizer: Any
) -> None:
    """On a GPU it would end every later row with it."""
    model = make_model("llama", vocab_size=len(tokenizer) - 1)
    last = tokenizer.decode([len(tokenizer) - 1])
    rows = [{"prompt": "a", "completion": text} for text in ("b", f"c{last}", "d")]
    assert tokenizer(f"c{last}")["input_ids"][-1] == len(tokenizer) - 1
    examples = GradientAnalyzer(model, tokenizer).analyze(rows).examples
    assert examples["status"].to_list() == ["ok", "skipped", "ok"]
    assert f"token id {len(tokenizer) - 1} is beyond" in examples["reason"][1]


def test_one_example_that_breaks_the_model_fails_alone(
    make_model: Callable[..., Any], tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(model: Any, projections: Any, encoded: Any, *rest: Any) -> Any:
        if any(example.n_tokens > 20 for example in encoded):
            raise IndexError("index out of range in self")
        return measure_batch(model, projections, encoded, *rest)

    monkeypatch.setattr(analyzer_module, "measure_batch", breaks)
    rows = [{"prompt": "a", "completion": text} for text in ("b", "long " * 30, "d")]
    examples = GradientAnalyzer(make_model("llama"), tokenizer).analyze(rows).examples
    assert examples["status"].to_list() == ["ok", "failed", "ok"]
    assert "IndexError: index out of range" in examples["reason"][1]


def test_a_device_that_has_failed_ends_the_run_and_not_every_later_row(
    make_model: Callable[..., Any], tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(analyzer_module, "measure_batch", fails)
    with pytest.raises(GradPrismError, match="device-side assert"):
        GradientAnalyzer(make_model("llama"), tokenizer).analyze([{"prompt": "a", "completion": "b"}])


def test_unknown_options_name_the_nearest(make_model: Callable[..., Any], tokenizer: Any) -> None:
    with pytest.raises(GradPrismError, match="max_length"):
        GradientAnalyzer(make_model("llama"), tokenizer, max_lenght=3)


def test_order_and_progress(make_model: Callable[..., Any], tokenizer: Any, sample_rows: list[dict[str, str]]) -> None:
    seen: list[int] = []
    tables = GradientAnalyzer(make_model("llama"), tokenizer, max_length=64).analyze(
        sample_rows[:6], lambda examples, tokens: seen.append(examples)
    )
    assert sum(seen) == 6
    assert tables.examples["example_id"].to_list() == [row["id"] for row in sample_rows[:6]]
    assert tables.spectra["row"].is_sorted()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_caller_that_has_turned_gradients_off(mode: Any, make_model: Callable[..., Any], tokenizer: Any) -> None:
    analyzer = GradientAnalyzer(make_model("llama"), tokenizer)
    with mode():
        examples = analyzer.analyze([{"prompt": "a", "completion": "b"}]).examples
    assert examples["status"].to_list() == ["ok"]


def test_no_more_tokens_than_the_model_has_positions(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("llama", max_position_embeddings=40)
    examples = GradientAnalyzer(model, tokenizer).analyze([{"prompt": "a", "completion": "many " * 90}]).examples
    assert examples.select("n_tokens", "truncated").row(0) == (40, True)


def test_examples_with_the_same_row_number_are_refused(make_model: Callable[..., Any], tokenizer: Any) -> None:
    twice = [Example(0, name, (Turn("user", "a"), Turn("assistant", name))) for name in ("b", "c d e")]
    with pytest.raises(GradPrismError, match="`row` numbers repeat"):
        GradientAnalyzer(make_model("llama"), tokenizer).analyze(twice)


def test_options_that_would_do_nothing_are_refused(make_model: Callable[..., Any], tokenizer: Any) -> None:
    with pytest.raises(GradPrismError, match="device, dtype together with a model that is loaded"):
        GradientAnalyzer(make_model("llama"), tokenizer, dtype="bfloat16", device="cuda")


def test_token_ids_made_elsewhere_are_held_to_the_same_rules(make_model: Callable[..., Any], tokenizer: Any) -> None:
    analyzer = GradientAnalyzer(make_model("llama"), tokenizer)
    rows = [Example(row, str(row)) for row in range(2)]
    known, beyond = (Encoded(ids, (False, True, True), truncated=False) for ids in ((1, 2, 3), (1, 2, 10**6)))
    tables = analyzer.analyze_encoded([(rows[0], known), (rows[1], beyond)])
    assert tables.examples["status"].to_list() == ["ok", "skipped"]
    assert "beyond the model's" in tables.examples["reason"][1]
    with pytest.raises(GradPrismError, match="row"):
        analyzer.analyze_encoded([(rows[0], known), (rows[0], known)])
