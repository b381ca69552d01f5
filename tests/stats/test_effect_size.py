"""The area under the curve against scipy and against all pairs, and the coverage of its interval."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from gradprism.stats.effect_size import auc, auc_interval, cliffs_delta


@pytest.fixture
def tied() -> tuple[np.ndarray, np.ndarray]:
    """Small whole numbers, some missing, one feature with none in the first group."""
    random = np.random.default_rng(0)
    first, second = random.integers(0, 6, (17, 5)).astype(float), random.integers(1, 8, (23, 5)).astype(float)
    first[2, 1], second[[4, 7], 2], first[:, 4], second[3, 3] = np.nan, np.nan, np.nan, np.inf
    return first, second


def test_auc_is_u_over_all_pairs(tied: tuple[np.ndarray, np.ndarray]) -> None:
    found = auc(*tied)
    for feature in range(4):
        first, second = (group[np.isfinite(group[:, feature]), feature] for group in tied)
        u = mannwhitneyu(first, second).statistic
        assert found[feature] == pytest.approx(u / len(first) / len(second), rel=1e-12)
    assert np.isnan(found[4])


def test_auc_and_delta_by_all_pairs(tied: tuple[np.ndarray, np.ndarray]) -> None:
    signs = np.sign(tied[0][:, None, 0] - tied[1][None, :, 0])
    assert auc(*tied)[0] == pytest.approx(np.mean((signs > 0) + (signs == 0) / 2))
    assert cliffs_delta(auc(*tied))[0] == pytest.approx(signs.mean())


def test_the_interval_by_all_pairs(tied: tuple[np.ndarray, np.ndarray]) -> None:
    low, high = auc_interval(*tied, confidence=0.9)
    for feature in range(4):
        first, second = (group[np.isfinite(group[:, feature]), feature] for group in tied)
        above = (first[:, None] > second) + (first[:, None] == second) / 2  # DeLong's kernel
        value = above.mean()
        variance = above.mean(axis=1).var(ddof=1) / len(first) + above.mean(axis=0).var(ddof=1) / len(second)
        reach = norm.ppf(0.95) * np.sqrt(variance) / (value * (1 - value))
        ends = [1 / (1 + np.exp(-(np.log(value / (1 - value)) + sign * reach))) for sign in (-1, 1)]
        assert [low[feature], high[feature]] == pytest.approx(ends, rel=1e-10)
    assert np.isnan([low[4], high[4]]).all()


def test_groups_that_do_not_overlap() -> None:
    high, low = np.arange(20.0)[:, None] + 100, np.arange(30.0)[:, None]
    at_one, at_zero = auc_interval(high, low), auc_interval(low, high)
    assert np.ravel(at_one) == pytest.approx([0.025 ** (1 / 20), 1.0])  # Clopper and Pearson for 20 of 20
    assert np.ravel(at_zero) == pytest.approx([0.0, 1 - 0.025 ** (1 / 20)])


def test_too_few_and_constant_values() -> None:
    first, second = np.full((5, 2), 3.0), np.full((4, 2), 3.0)
    second[1:, 1] = np.nan
    assert auc(first, second).tolist() == [0.5, 0.5]
    np.testing.assert_array_equal(auc_interval(first, second), [[0.5, np.nan], [0.5, np.nan]])
    assert np.isnan(auc(first[:0], second)).all()
    assert np.isnan(auc_interval(first, second[:0])).all()


@pytest.mark.parametrize(("shift", "sizes"), [(0.0, (30, 30)), (1.0, (40, 80)), (2.5, (100, 150))])
def test_the_truth_is_covered_as_often_as_said(shift: float, sizes: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    first, second = random.normal(shift, 2, (sizes[0], 2000)), random.normal(0, 1, (sizes[1], 2000))
    truth = norm.cdf(shift / np.sqrt(5))
    low, high = auc_interval(first, second)
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(0.95, abs=0.02)


def test_ends_are_always_a_probability() -> None:
    random = np.random.default_rng(2)
    first, second = random.normal(3, 1, (6, 500)), random.normal(0, 1, (5, 500))
    low, high = auc_interval(first, second)
    value = auc(first, second)
    assert (value == 1).any()
    assert ((low >= 0) & (low <= value) & (value <= high) & (high <= 1)).all()
