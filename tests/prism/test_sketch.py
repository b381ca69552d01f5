"""Sketches of whole gradients: linear, unbiased, of the deviation that the documentation states."""

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gradprism import GradientAnalyzer
from gradprism.models.projections.discovery import Projection
from gradprism.prism.example_gradients import ExampleGradients
from gradprism.prism.factors import Factors
from gradprism.prism.gradient import Gradient
from gradprism.prism.sketch import Sketcher
from gradprism.prism.tables import sketches_schema

ROWS = [{"prompt": f"Question {i}", "response": f"Answer number {i}. " * (i + 1)} for i in range(5)]


def projection(layer: int, name: str, d_out: int, d_in: int) -> Projection:
    return Projection(name, layer, name, nn.Identity(), d_out, d_in)


def sketch_of(sketcher: Sketcher, factors: list[tuple[Any, torch.Tensor, torch.Tensor]]) -> np.ndarray:
    """The sketch itself, times the norm, of a gradient over several projections, from X and D."""
    gradients = []
    for place, inputs, deltas in factors:
        norm = float(torch.linalg.matrix_norm(deltas.T @ inputs))
        gradients.append(Gradient(0, place, Factors.of(inputs, deltas), 0.0, norm))
    reading, answer = sketcher.begin(1), ExampleGradients(0.0, 0.0)
    reading.read(0, gradients)
    reading.finish([answer])
    assert answer.sketch is not None
    norm, values = answer.sketch
    return norm * values.astype(np.float64) if values is not None else np.zeros(sketcher.dimension)


def pair(seed: int, tokens: int, shapes: list[tuple[int, int]]) -> Any:
    random = torch.Generator().manual_seed(seed)
    places = [projection(layer, "q", *shape) for layer, shape in enumerate(shapes)]
    return [
        (place, torch.randn(tokens, d_in, generator=random), torch.randn(tokens, d_out, generator=random))
        for place, (d_out, d_in) in zip(places, shapes, strict=True)
    ]


@given(st.integers(1, 30), st.sampled_from([(8, 200), (200, 8), (150, 140), (5, 6)]))
@settings(max_examples=15, deadline=None)
def test_it_is_linear_however_it_is_computed(tokens: int, shape: tuple[int, int]) -> None:
    """Twice the tokens are a longer factor of another gradient: the sketch of a sum is the sum of the sketches."""
    sketcher = Sketcher(256, 0)
    (place, x, d), (_, other_x, other_d) = pair(1, tokens, [shape])[0], pair(2, 40, [shape])[0]
    whole = sketch_of(sketcher, [(place, torch.cat([x, other_x]), torch.cat([d, other_d]))])
    parts = sketch_of(sketcher, [(place, x, d)]) + sketch_of(sketcher, [(place, other_x, other_d)])
    np.testing.assert_allclose(whole, parts, atol=3e-3 * np.abs(whole).max())


def test_inner_products_are_unbiased_over_seeds() -> None:
    """Two projections that read the same inputs, one with a side that is kept as it is, and pairs of low rank."""
    shapes = [(40, 160), (200, 160)]
    first, second = pair(3, 2, shapes), pair(3, 2, shapes)
    second = [
        (place, x + 0.7 * other, d) for (place, x, d), (_, other, _) in zip(first, pair(5, 2, shapes), strict=True)
    ]
    grads = [[d.T @ x for _, x, d in each] for each in (first, second)]
    true = sum(float((a * b).sum()) for a, b in zip(*grads, strict=True))
    size = np.prod([np.sqrt(sum(float((g**2).sum()) for g in each)) for each in grads])
    errors = []
    for seed in range(100):
        sketcher = Sketcher(128, seed)
        errors.append((sketch_of(sketcher, first) @ sketch_of(sketcher, second) - true) / size)
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(len(errors))


def test_an_identity_keeps_every_inner_product() -> None:
    """No more entries than coordinates: nothing is projected."""
    sketcher = Sketcher(4096, 0)
    first, second = pair(1, 3, [(20, 30)]), pair(2, 3, [(20, 30)])
    true = float(((first[0][2].T @ first[0][1]) * (second[0][2].T @ second[0][1])).sum())
    assert sketch_of(sketcher, first) @ sketch_of(sketcher, second) == pytest.approx(true, rel=2e-3, abs=0.2)


@pytest.fixture(scope="module")
def model(make_model: Any) -> Any:
    return make_model("llama")


def sketches(model: Any, tokenizer: Any, rows: Any = ROWS, **options: Any) -> pl.DataFrame:
    found = GradientAnalyzer(model, tokenizer, sketch=512, max_length=64, **options).analyze(rows).sketches
    assert found is not None
    return found


def test_it_depends_on_neither_batch_nor_order(model: Any, tokenizer: Any) -> None:
    alone, together = sketches(model, tokenizer, batch_tokens=1), sketches(model, tokenizer, batch_tokens=10_000)
    assert alone.schema == sketches_schema(512)
    np.testing.assert_allclose(alone["sketch"].to_numpy(), together["sketch"].to_numpy(), atol=2e-4)
    turned = sketches(model, tokenizer, ROWS[::-1])
    np.testing.assert_allclose(turned["sketch"].to_numpy()[::-1], alone["sketch"].to_numpy(), atol=2e-4)
    other = sketches(model, tokenizer, sketch_seed=1)
    assert np.abs(other["sketch"].to_numpy() - alone["sketch"].to_numpy()).max() > 0.01


def test_the_norm_is_that_of_all_projections(model: Any, tokenizer: Any) -> None:
    tables = GradientAnalyzer(model, tokenizer, sketch=64, max_length=64).analyze(ROWS)
    norms = tables.spectra.group_by("row").agg((pl.col("frobenius_norm") ** 2).sum().sqrt()).sort("row")
    assert tables.sketches is not None
    assert (tables.sketches["norm"] / norms["frobenius_norm"] - 1).abs().max() < 1e-12


@pytest.mark.slow
def test_real_cosines_are_kept(smollm2: tuple[Any, Any], sample_rows: list[dict[str, str]]) -> None:
    """Of real gradients, against exact cosines by influence: deviation, bias and order."""
    model, tokenizer = smollm2
    rows = [{"prompt": row["instruction"], "response": row["output"]} for row in sample_rows[:72:9]]
    analyzer = GradientAnalyzer(model, tokenizer, sketch=4096, max_length=128)
    targets = [analyzer.target(f"t{i}", [row], rank=0) for i, row in enumerate(rows)]
    tables = analyzer.analyze(rows, targets=targets)
    exact = np.stack([tables.influence[target.name]["value"].to_numpy() for target in targets])
    assert tables.sketches is not None
    values = tables.sketches["sketch"].to_numpy().astype(np.float64)
    pairs = np.triu_indices(len(rows), 1)
    found, true = (values @ values.T)[pairs], exact[pairs]
    errors = found - true
    assert np.std(errors) < 1.5 / np.sqrt(4096)
    assert abs(np.mean(errors)) < 1.5 / np.sqrt(4096)
    order = [np.argsort(np.argsort(each)) for each in (found, true)]
    assert np.corrcoef(*order)[0, 1] > 0.9
