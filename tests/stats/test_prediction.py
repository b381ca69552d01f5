"""Predictions of left-out rows against as many fits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from gradprism.stats.prediction import rank_gain


def error(design: np.ndarray, target: np.ndarray) -> float:
    """Sum of squared errors at rows that are left out, each by a fit of its own."""
    total = 0.0
    for row in range(len(target)):
        kept = np.arange(len(target)) != row
        fit = np.linalg.lstsq(design[kept], target[kept])[0]
        total += float(target[row] - design[row] @ fit) ** 2
    return total


def by_fits(feature: np.ndarray, target: np.ndarray, given: np.ndarray) -> tuple[float, float]:
    y, x, z = (rankdata(each, axis=0) for each in (target, feature, given))
    one = np.ones((len(y), 1))
    base = 1 - error(np.column_stack([one, z]), y) / error(one, y)
    return base, 1 - error(np.column_stack([one, z, x]), y) / error(one, y) - base


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(12, 25), controls=st.integers(0, 2))
def test_equals_as_many_fits(seed: int, n: int, controls: int) -> None:
    random = np.random.default_rng(seed)
    data = random.normal(size=(n, 4 + controls)) + random.normal(size=(n, 1))
    features, target, given = data[:, :3], data[:, 3], data[:, 4:]
    features[random.random((n, 3)) < 0.05] = np.nan
    base, gain = rank_gain(features, target, given)
    for i in range(3):
        there = np.isfinite(features[:, i])
        if there.sum() > controls + 3:
            expected = by_fits(features[there, i], target[there], given[there])
            assert (base[i], gain[i]) == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_what_is_explained_or_constant_has_no_gain() -> None:
    random = np.random.default_rng(0)
    given, target = random.normal(size=(20, 1)), random.normal(size=20)
    features = np.column_stack([np.exp(given[:, 0]), np.ones(20), random.normal(size=20), np.full(20, np.nan)])
    base, gain = rank_gain(features, target, given)
    assert np.isnan(gain).tolist() == [True, True, False, True]
    assert np.isnan(base).tolist() == [False, False, False, True]
    assert np.isnan(rank_gain(features, np.ones(20), given)[1]).all()
    assert np.isnan(rank_gain(features[:3], target[:3], given[:3])[1]).all()


def test_noise_gains_nothing_and_the_cause_nearly_all() -> None:
    random = np.random.default_rng(1)
    cause, given = random.normal(size=(300, 1)), random.normal(size=(300, 2))
    target = cause[:, 0] + 0.05 * random.normal(size=300)
    base, gain = rank_gain(np.column_stack([cause, random.normal(size=(300, 50))]), target, given)
    assert abs(base[0]) < 0.05  # two controls that say nothing
    assert base[0] + gain[0] > 0.98
    assert np.median(gain[1:]) < 0
