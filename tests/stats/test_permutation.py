"""Permutation p: uniform where there is nothing, exact against scipy, and able to see what is there."""

import numpy as np
import pytest
from scipy.stats import kstest, permutation_test, ttest_ind

from gradprism.stats.permutation import permutation_p, sign_flip_p

FEATURES = 2000


def welch(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    result: np.ndarray = ttest_ind(first, second, axis=axis, equal_var=False).statistic
    return result


@pytest.mark.parametrize("sizes", [(20, 20), (12, 40)])
def test_p_is_uniform_where_there_is_no_difference(sizes: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    first, second = (random.normal(size=(n, FEATURES)) for n in sizes)
    p = permutation_p(first, second, 999, random)
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.015)


def test_p_is_uniform_for_pairs() -> None:
    random = np.random.default_rng(1)
    p = sign_flip_p(random.normal(size=(25, FEATURES)), 999, random)
    assert kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize(("sizes", "spreads"), [((20, 80), (3, 1)), ((80, 20), (3, 1)), ((40, 40), (3, 1))])
def test_unequal_variances_keep_the_level(sizes: tuple[int, int], spreads: tuple[float, float]) -> None:
    """A difference of means that is not studentised would reject 25% of the first and 0.1% of the second."""
    random = np.random.default_rng(2)
    first, second = (random.normal(0, spread, (n, FEATURES)) for n, spread in zip(sizes, spreads, strict=True))
    assert np.mean(permutation_p(first, second, 499, random) <= 0.05) == pytest.approx(0.05, abs=0.015)


def test_p_is_that_of_all_relabellings() -> None:
    """Few examples, 70 relabellings: each is drawn many times; the draws' own error is 0.005."""
    random = np.random.default_rng(3)
    first, second = random.normal(size=(4, 6)) + np.arange(6) / 2, random.normal(size=(4, 6))
    found = permutation_p(first, second, 19_999, random)
    for feature in range(6):
        exact = permutation_test((first[:, feature], second[:, feature]), welch, vectorized=True, n_resamples=np.inf)
        assert found[feature] == pytest.approx(exact.pvalue, abs=0.015)


def test_p_of_pairs_is_that_of_all_flips() -> None:
    random = np.random.default_rng(4)
    differences = random.normal(size=(8, 5)) + np.arange(5) / 4
    found = sign_flip_p(differences, 19_999, random)
    signs = 1 - 2 * ((np.arange(256)[:, None] >> np.arange(8)) & 1)
    for feature, values in enumerate(differences.T):
        flipped = signs * values
        t = flipped.mean(axis=1) / (flipped.std(axis=1, ddof=1) / np.sqrt(8))
        exact = np.mean(np.abs(t) >= np.abs(t[0]) * (1 - 1e-12))
        assert found[feature] == pytest.approx(exact, abs=0.015)


def test_many_examples_agree_with_the_t_test() -> None:
    random = np.random.default_rng(5)
    first, second = random.normal(0, 2, (300, 20)) + 0.1, random.normal(size=(500, 20))
    expected = ttest_ind(first, second, equal_var=False).pvalue
    np.testing.assert_allclose(permutation_p(first, second, 9999, random), expected, atol=0.02)


def test_a_shift_is_seen() -> None:
    random = np.random.default_rng(6)
    first, second = random.normal(0.8, 1, (50, 200)), random.normal(0, 1, (50, 200))
    assert np.mean(permutation_p(first, second, 999, random) <= 0.05) > 0.95
    assert np.mean(sign_flip_p(first - second, 999, random) <= 0.05) > 0.95


def test_the_least_p_is_one_in_all() -> None:
    random = np.random.default_rng(7)
    first = random.normal(100, 1, (40, 1))
    assert permutation_p(first, first - 100, 999, random) == pytest.approx([1 / 1000])
    assert sign_flip_p(first, 999, random) == pytest.approx([1 / 1000])


@pytest.mark.slow
def test_missing_values_leave_the_test_of_those_there_are() -> None:
    random = np.random.default_rng(8)
    first, second = random.normal(size=(60, FEATURES)), random.normal(size=(80, FEATURES))
    first[random.random(first.shape) < 0.3] = np.nan
    second[random.random(second.shape) < 0.1] = np.nan
    p = permutation_p(first, second, 999, random)
    assert kstest(p, "uniform").pvalue > 0.01
    expected = ttest_ind(first, second, equal_var=False, nan_policy="omit").pvalue
    assert np.abs(p - expected).mean() < 0.02
    assert kstest(sign_flip_p(first, 999, random), "uniform").pvalue > 0.01


def test_other_columns_do_not_matter() -> None:
    random = np.random.default_rng(9)
    first, second = random.normal(size=(30, 3)), random.normal(size=(20, 3))
    alone = permutation_p(first[:, :1], second[:, :1], 99, np.random.default_rng(1))
    first[::2, 1], second[:, 2] = np.nan, np.nan
    assert permutation_p(first, second, 99, np.random.default_rng(1))[0] == alone[0]


def test_what_is_constant_has_p_1_and_what_is_not_there_none() -> None:
    random = np.random.default_rng(10)
    first, second = np.full((10, 3), 0.1), np.full((12, 3), 0.1)
    first[1:, 1], second[:, 2] = np.nan, np.nan
    np.testing.assert_array_equal(permutation_p(first, second, 99, random), [1.0, np.nan, np.nan])
    differences = np.zeros((10, 2))
    differences[1:, 1] = np.nan
    np.testing.assert_array_equal(sign_flip_p(differences, 99, random), [1.0, np.nan])
    assert np.isnan(permutation_p(first[:0], second, 99, random)).all()


def test_two_different_constants_are_as_different_as_can_be() -> None:
    p = permutation_p(np.full((10, 1), 0.3), np.full((10, 1), 0.1), 999, np.random.default_rng(11))
    assert p == pytest.approx([1 / 1000])


def test_a_large_offset_changes_nothing() -> None:
    random = np.random.default_rng(12)
    first, second = random.integers(0, 50, (15, 4)) / 8, random.integers(0, 50, (15, 4)) / 8
    near = permutation_p(first, second, 499, np.random.default_rng(0))
    far = permutation_p(first + 2.0**20, second + 2.0**20, 499, np.random.default_rng(0))
    np.testing.assert_array_equal(near, far)
