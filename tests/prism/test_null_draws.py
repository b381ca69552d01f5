"""The null of relative measures against an SVD in fp64 of the same draws."""

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from gradprism import GradientAnalyzer
from gradprism.models.projections.discovery import Projection
from gradprism.prism.eigen_pool import EigenPool
from gradprism.prism.factors import Factors
from gradprism.prism.measures import NULL_COLUMNS, known_measures
from gradprism.prism.null_draws import draw_null, seed_of, summarise_draws
from gradprism.prism.spectrum import solve, spectra_of
from gradprism.prism.tail import Spectra

ROWS = [{"prompt": f"Question {i}", "response": f"Answer number {i}. " * (3 * i + 1)} for i in range(4)]


def measures_of(matrix: np.ndarray, most: int) -> tuple[float, float]:
    values = np.linalg.svd(matrix, compute_uv=False)[:most]
    p = values[values > 0] / values.sum()
    return float(np.exp(-(p * np.log(p)).sum())), float(values.sum())


def again(deltas: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
    """The rows of D by a draw, by matrices: a diagonal of signs, or a permutation."""
    n = len(deltas)
    return (torch.diag(draw) if draw.is_floating_point() else torch.eye(n, dtype=deltas.dtype)[draw]) @ deltas


@pytest.mark.parametrize("tokens", [3, 11, 40])  # fewer than both sides, than one, and more
@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("how", ["permuted", "signs"])
def test_draws_equal_an_svd_in_fp64(tokens: int, stacked: bool, how: Any) -> None:
    random = torch.Generator().manual_seed(tokens)
    pairs = [
        (torch.randn(tokens, 16, generator=random), torch.randn(tokens, 10, generator=random)),
        (torch.randn(tokens + 1, 16, generator=random), torch.randn(tokens + 1, 10, generator=random)),
    ]
    factors = [Factors.of(*each) for each in pairs]
    places = [Projection("q", layer, "q", nn.Identity(), 10, 16) for layer in range(2)]
    draws = [draw_null(how, 5, place, 3, item.deltas) for place, item in zip(places, factors, strict=True)]
    if stacked:
        solved = [solve(factors, EigenPool(1, stacked=True).eigenvalues, draws)]
    else:
        solved = [solve([item], draws=[each]) for item, each in zip(factors, draws, strict=True)]
    spectra = spectra_of(factors, solved).view(2, 4, -1)
    summaries = summarise_draws(Spectra(spectra[:, 1:]))
    for (inputs, deltas), own, each, found in zip(pairs, draws, spectra, summaries, strict=True):
        plain = measures_of((deltas.T @ inputs).double().numpy(), len(inputs))
        assert float(each[0].sum()) == pytest.approx(plain[1], rel=1e-5)
        drawn = [measures_of((again(deltas.double(), draw).T @ inputs.double()).numpy(), len(inputs)) for draw in own]
        for column, values in zip(("effective_rank", "nuclear_norm"), np.array(drawn).T, strict=True):
            assert found[f"null_{column}"] == pytest.approx(values.mean(), rel=1e-5)
            assert found[f"null_{column}_error"] == pytest.approx(values.std(ddof=1) / 3**0.5, rel=2e-3, abs=1e-9)


@pytest.mark.parametrize(("how", "values"), [("signs", {-1.0, 1.0}), ("permuted", {*range(50)})])
def test_draws_depend_on_text_and_place_alone(how: Any, values: set[float]) -> None:
    place, other = (Projection(name, 3, name, nn.Identity(), 10, 16) for name in "qk")
    rows = torch.ones(50, 10)
    first, second = draw_null(how, seed_of([1, 2, 3]), place, 2, rows)
    assert {*first.tolist()} == {*second.tolist()} == values
    assert torch.equal(first, draw_null(how, seed_of([1, 2, 3]), place, 2, rows)[0])
    for changed in (
        draw_null(how, seed_of([1, 2, 4]), place, 1, rows),
        draw_null(how, seed_of([1, 2, 3]), other, 1, rows),
    ):
        assert not torch.equal(first, changed[0])


@pytest.mark.parametrize("how", ["permuted", "signs"])
def test_a_row_of_rounding_changes_no_other(how: Any) -> None:
    """The first token's query has a gradient of exactly 0 in one batch and of 1e-10 in another."""
    place = Projection("q", 0, "q", nn.Identity(), 10, 16)
    rows = torch.randn(20, 10, generator=torch.Generator().manual_seed(0))
    for shorter, longer in zip(
        draw_null(how, 3, place, 2, rows), draw_null(how, 3, place, 2, torch.cat([1e-9 * rows[:1], rows])), strict=True
    ):
        first = longer[0].item()
        assert first == (0 if how == "permuted" else 1)
        assert torch.equal(longer[1:] - (1 if how == "permuted" else 0), shorter)
    assert [draw.numel() for draw in draw_null(how, 3, place, 2, rows[:0])] == [0, 0]


def test_relative_measures_are_ratios_and_the_others_stay_as_they_are(make_model: Any, tokenizer: Any) -> None:
    model = make_model("llama")
    plain = GradientAnalyzer(model, tokenizer, max_length=64).analyze(ROWS).spectra
    for batch_tokens in (1, 10_000):
        analyzer = GradientAnalyzer(model, tokenizer, max_length=64, null_draws=3, batch_tokens=batch_tokens)
        found = analyzer.analyze(ROWS).spectra
        both = found.select(plain.columns).drop("singular_values"), plain.drop("singular_values")
        for name in ("effective_rank", "nuclear_norm"):
            assert (both[0][name] / both[1][name] - 1).abs().max() < 1e-6
            assert (found[f"null_{name}_error"] < found[f"null_{name}"]).all()
            measure = known_measures()[f"relative_{name}"]
            assert measure.expression is not None
            ratio = found.select((measure.expression() * pl.col(f"null_{name}") / pl.col(name)).alias("one"))["one"]
            assert (ratio - 1).abs().max() < 1e-12
        if batch_tokens == 1:
            first = found
    assert (first["null_effective_rank"] / found["null_effective_rank"] - 1).abs().max() < 1e-5
    assert {*NULL_COLUMNS} <= {*found.columns}


def test_a_single_draw_has_no_error(make_model: Any, tokenizer: Any) -> None:
    found = GradientAnalyzer(make_model("llama"), tokenizer, max_length=64, null_draws=1).analyze(ROWS[:1]).spectra
    assert found["null_effective_rank"].null_count() == 0
    assert found["null_effective_rank_error"].null_count() == found.height
