"""Loss and gradient size of each token against autograd in fp64, where hooks hold the factors of every weight."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.families import FAMILIES
from tests.families.family import LENGTHS, Family, examples

from gradprism import GradientAnalyzer
from gradprism.data.encode import Encoded
from gradprism.data.example import Example, Turn
from gradprism.prism.analyzer import failed_tables
from gradprism.prism.settings import PrismSettings
from gradprism.prism.tables import TOKENS

TURNS = (Turn("user", "a"), Turn("assistant", "b"))
CHOSEN = [family for family in FAMILIES if family.name in ("llama", "phi3", "gpt2", "gpt_neox", "falcon")]


def true_tokens(family: Family, model: Any, ids: Sequence[int], mask: Sequence[bool]) -> tuple[Any, dict[str, Any]]:
    """The losses of the loss tokens, and by projection the norms of d_t x_tᵀ, the part that is the projection's."""
    kept: dict[str, tuple[Any, Any]] = {}
    modules = dict(model.named_modules())

    def keep(path: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            output.retain_grad()
            kept[path] = args[0].detach().reshape(len(ids), -1), output

        return hook

    paths = {path.removesuffix(".weight") for path, _ in family.places().values()}
    handles = [modules[path].register_forward_hook(keep(path)) for path in paths]
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1]
    losses = -logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None]).squeeze(1)[torch.tensor(mask[1:])]
    losses.mean().backward()
    for handle in handles:
        handle.remove()
    sizes: dict[str, Any] = {}
    for (name, _), (path, cut) in family.places().items():
        x, y = kept[path.removesuffix(".weight")]
        deltas = y.grad.reshape(len(ids), -1)
        conv = type(modules[path.removesuffix(".weight")]).__name__ == "Conv1D"  # holds (d_in, d_out)
        pairs = zip(x, deltas, strict=True) if conv else zip(deltas, x, strict=True)
        sizes[name] = sizes.get(name, 0) + np.array([float(cut(torch.outer(*pair)).norm()) for pair in pairs])
    return losses.detach().numpy(), sizes


def measured(model: Any, tokenizer: Any, names: Sequence[str], batch_tokens: int) -> Any:
    encoded = [(Example(row, str(row), TURNS), Encoded(*item, False)) for row, item in enumerate(examples())]
    options = {"projections": names, "batch_tokens": batch_tokens, "tokens": True}
    return GradientAnalyzer(model, tokenizer, **options).analyze_encoded(encoded)


@pytest.mark.slow  # half a second or more
@pytest.mark.parametrize("family", CHOSEN, ids=lambda family: family.name)
def test_sizes_and_losses_equal_autograd_alone_and_in_a_batch(family: Family, tokenizer: Any) -> None:
    """In fp32, as users run it. The first rows of D of the last layer's q and o are exactly zero, as is every last."""
    model, names = family.make(), [*family.attention, *family.mlp]
    truth = [true_tokens(family, family.in_truth(model), *item) for item in examples()]
    for batch_tokens in (1, 10_000):
        tables = measured(model, tokenizer, names, batch_tokens)
        assert tables.tokens.schema == TOKENS
        for row, (found, (losses, sizes)) in enumerate(zip(tables.tokens.iter_rows(named=True), truth, strict=True)):
            n_tokens, n_scored = LENGTHS[row]
            assert found["loss"][: n_tokens - n_scored] == [None] * (n_tokens - n_scored)
            np.testing.assert_allclose(found["loss"][n_tokens - n_scored :], losses, rtol=2e-5, atol=1e-6)
            by_projection = {item["projection"]: item["gradient_size"] for item in found["projections"]}
            assert by_projection.keys() == sizes.keys()
            for name, expected in sizes.items():
                noise = 3e-7 * expected.max()  # the first token's q has no gradient: there is one key alone
                np.testing.assert_allclose(by_projection[name], expected, rtol=3e-5, atol=noise, err_msg=name)
            np.testing.assert_allclose(found["gradient_size"], sum(sizes.values()), rtol=3e-5)
            assert found["gradient_size"][-1] == 0.0  # it predicts nothing


def test_the_losses_of_tokens_average_to_that_of_the_example(
    make_model: Callable[..., Any], tokenizer: Any, sample_rows: list[dict[str, str]]
) -> None:
    """Of a model that caps its logits too. And sizes add up to no less than a gradient's norm, by the triangle."""
    for family in ("llama", "gemma3"):
        options = {"max_length": 120, "tokens": True}
        tables = GradientAnalyzer(make_model(family), tokenizer, **options).analyze(sample_rows[:3])
        mean = tables.tokens["loss"].list.mean()  # of the loss tokens: nulls are left out
        np.testing.assert_allclose(mean, tables.examples["loss"], rtol=1e-6)
        assert tables.tokens["token_ids"].list.len().to_list() == tables.examples["n_tokens"].to_list()
        norms = tables.spectra.group_by("row", maintain_order=True).agg(pl.col("frobenius_norm").sum())
        assert (tables.tokens["gradient_size"].list.sum() >= norms["frobenius_norm"] * (1 - 1e-6)).all()


def test_pieces_are_the_text_that_was_measured(make_model: Callable[..., Any], tokenizer: Any) -> None:
    rows = [{"prompt": "Näme ☃?", "completion": "日本 is written 日本."}]
    tokens = GradientAnalyzer(make_model("llama"), tokenizer, tokens=True, template="paper").analyze(rows).tokens
    assert "".join(tokens["pieces"][0]) == "Näme ☃?\n日本 is written 日本."


def test_rows_that_could_not_be_measured_have_none_and_a_run_without_has_no_table(
    make_model: Callable[..., Any], tokenizer: Any
) -> None:
    rows = [{"prompt": "a", "completion": ""}, {"prompt": "a", "completion": "b c"}]
    tables = GradientAnalyzer(make_model("llama"), tokenizer, tokens=True).analyze(rows)
    assert (tables.examples["status"].to_list(), tables.tokens["row"].to_list()) == (["skipped", "ok"], [1])
    assert GradientAnalyzer(make_model("llama"), tokenizer).analyze(rows).tokens is None
    failed = failed_tables([Example(0, "0", TURNS)], "lost", PrismSettings(tokens=True))
    assert failed.tokens is not None
    assert (failed.examples.height, failed.tokens.height, failed.tokens.schema) == (1, 0, TOKENS)
