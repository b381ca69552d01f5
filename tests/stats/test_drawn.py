"""Statistics of counts of draws against the same statistics of the drawn values themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradprism.stats import drawn as module
from gradprism.stats.drawn import drawn_auc, drawn_quantiles


def by_pairs(first: np.ndarray, second: np.ndarray) -> float:
    wins = [(a > b) + (a == b) / 2 for a in first for b in second]
    return float(np.mean(wins)) if wins else np.nan


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 9), sets=st.integers(1, 4), shared=st.booleans())
def test_auc_is_that_of_the_values_drawn(seed: int, n: int, sets: int, shared: bool) -> None:
    """Small integers, so that many tie."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 4, (1 if shared else sets, n)).astype(float)
    times, is_first = random.integers(0, 3, (sets, n)).astype(float), random.random(n) < 0.5
    found = drawn_auc(values, times, is_first)
    for i, counts in enumerate(times.astype(int)):
        own = values[0 if shared else i]
        pair = (np.repeat(own[side], counts[side]) for side in (is_first, ~is_first))
        assert found[i] == pytest.approx(by_pairs(*pair), nan_ok=True)


def test_what_differs_by_rounding_is_a_tie() -> None:
    values = 3.0 + 1e-13 * np.random.default_rng(0).normal(size=(5, 20))
    times, is_first = np.ones((5, 20)), np.arange(20) < 8
    assert drawn_auc(values, times, is_first, tie=1e-9).tolist() == [0.5] * 5
    assert (drawn_auc(values, times, is_first) != 0.5).any()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    values, times, is_first = random.normal(size=(7, 6)), random.integers(0, 3, (7, 6)), np.arange(6) < 3
    whole = drawn_auc(values, times.astype(float), is_first)
    monkeypatch.setattr(module, "_CELLS", 12)
    np.testing.assert_array_equal(drawn_auc(values, times.astype(float), is_first), whole)


def test_no_rows() -> None:
    assert np.isnan(drawn_auc(np.empty((1, 0)), np.empty((3, 0)), np.empty(0, dtype=bool))).all()
    assert np.isnan(drawn_quantiles(np.empty(0), np.empty((3, 0), dtype=np.int64), [0.5])).tolist() == [[True]] * 3


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 9), sets=st.integers(1, 5))
def test_quantiles_are_those_of_the_values_drawn(seed: int, n: int, sets: int) -> None:
    random = np.random.default_rng(seed)
    values, times = random.integers(0, 5, n) / 7, random.integers(0, 4, (sets, n))
    levels = [0.0, 0.025, 0.5, 0.95, 1.0]
    found = drawn_quantiles(values, times, levels)
    for row, counts in zip(found, times, strict=True):
        drawn = np.repeat(values, counts)
        expected = np.quantile(drawn, levels) if len(drawn) else [np.nan] * 5
        np.testing.assert_allclose(row, expected, atol=1e-15)
