"""What a model with special weights must measure: what autograd gives on an ordinary one with the same weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from gradprism.data.example import Example, Turn
from tests import oracle

ATTENTION = {name: f"self_attn.{name}_proj" for name in "qkvo"}
EXAMPLES = (
    Example(0, "0", (Turn("user", "Name a colour."), Turn("assistant", "Blue."))),
    Example(1, "1", (Turn("user", "Why is the sky blue?"), Turn("assistant", "Sunlight is scattered by air. " * 6))),
)


def assert_measured_as(tables: Any, plain: Any, tokenizer: Any, rel: float = 1e-4) -> None:
    """Compare tables of `EXAMPLES`, by the paper's template, with autograd and SVD in fp64 on a plain model."""
    assert tables.examples["status"].to_list() == ["ok"] * len(EXAMPLES), tables.examples["reason"].to_list()
    layers = range(plain.config.num_hidden_layers)
    names = {(p, layer): f"model.layers.{layer}.{home}.weight" for p, home in ATTENTION.items() for layer in layers}
    true_model = oracle.TrueModel(plain)
    for item, row in zip(EXAMPLES, tables.examples.iter_rows(named=True), strict=True):
        ids, mask = tokens_of(item, tokenizer)
        truth = true_model.gradients(ids, mask, list(names.values()))
        assert row["loss"] == pytest.approx(truth["loss"], rel=rel)
        found = tables.spectra.filter(row=item.row)
        assert found.height == len(names)
        for one in found.iter_rows(named=True):
            gradient = truth[names[one["projection"], one["layer"]]]
            expected = oracle.measures(gradient, min(len(ids) - 1, *gradient.shape))
            for name, value in expected.items():
                assert one[name] == pytest.approx(value, rel=rel), (one["projection"], one["layer"], name)


def tokens_of(item: Example, tokenizer: Any) -> tuple[Sequence[int], Sequence[bool]]:
    prompt = item.turns[0].content + "\n"
    ids = tokenizer(prompt + item.turns[1].content)["input_ids"]
    return ids, [position >= len(tokenizer.encode(prompt)) for position in range(len(ids))]


def with_weights(plain: Any, weights: Mapping[str, torch.Tensor]) -> Any:
    """Put weights into an ordinary model, each by its name."""
    parameters = dict(plain.named_parameters())
    for name, weight in weights.items():
        assert parameters[name].shape == weight.shape
        parameters[name].data = weight.detach().float().clone()
    return plain
