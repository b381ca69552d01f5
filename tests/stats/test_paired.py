"""Paired statistics against scipy and full enumeration, and by simulation: coverage, and p under no difference."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from gradprism.stats.bootstrap import Resampled, resample_means
from gradprism.stats.layer_curves import mean_absolute_difference
from gradprism.stats.multiplicity import benjamini_hochberg
from gradprism.stats.paired import FEWEST_PAIRS, exchange_p, paired_interval
from gradprism.stats.permutation import sign_flip_p


@pytest.mark.parametrize("n", [5, 12, 40])
def test_the_interval_is_scipys_bca_at_the_level_of_students_t(n: int) -> None:
    before, after = np.random.default_rng(n).gamma(3.0, size=(2, n))
    found = resample_means((after - before)[:, None], 2999, np.random.default_rng(1))
    low, high = paired_interval(found, n=n)
    level = 1 - 2 * stats.norm.cdf(stats.t.ppf(0.025, n - 1) * np.sqrt(n / (n - 1)))
    reference = stats.bootstrap((after - before,), np.mean, n_resamples=2999, confidence_level=level, method="BCa",
                                rng=np.random.default_rng(1)).confidence_interval  # fmt: skip
    np.testing.assert_allclose([low[0], high[0]], reference, rtol=1e-9)


def test_each_feature_has_the_level_of_its_own_number_of_pairs() -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    values[8:, 1] = np.nan
    both = paired_interval(resample_means(values, 999, np.random.default_rng(2)), n=np.array([30, 8]))
    alone = paired_interval(resample_means(values[:, :1], 999, np.random.default_rng(2)), n=30)
    np.testing.assert_allclose([end[0] for end in both], [end[0] for end in alone])
    assert both[1][1] - both[0][1] > both[1][0] - both[0][0]


@pytest.mark.parametrize("n", [1, 2, FEWEST_PAIRS - 1])
def test_few_pairs_have_no_interval(n: int) -> None:
    found = resample_means(np.arange(float(n))[:, None], 499, np.random.default_rng(0))
    assert np.isnan(paired_interval(found, n=n)).all()


def test_pairs_that_all_change_alike_have_an_interval_of_no_width() -> None:
    found = resample_means(np.full((9, 1), 0.25), 499, np.random.default_rng(0))
    assert [end[0] for end in paired_interval(found, n=9)] == [0.25, 0.25]


@pytest.mark.parametrize(
    ("n", "draw", "mean"),
    [
        (12, lambda rng, size: rng.normal(size=size), 0.0),
        (20, lambda rng, size: rng.normal(size=size), 0.0),
        (20, lambda rng, size: rng.gamma(4.0, size=size), 4.0),
        (40, lambda rng, size: rng.standard_t(5, size=size), 0.0),
        (100, lambda rng, size: rng.exponential(size=size), 1.0),
    ],
)
def test_intervals_cover_the_truth_in_95_of_100(n: int, draw, mean: float) -> None:  # type: ignore[no-untyped-def]
    held = []
    for seed in range(4):
        rng = np.random.default_rng([n, seed])
        low, high = paired_interval(resample_means(draw(rng, (n, 600)), 999, rng), n=n)
        held += [*((low <= mean) & (mean <= high))]
    assert 0.93 <= np.mean(held) <= 0.97


def test_sign_flips_are_scipys_permutation_test_of_samples() -> None:
    change = np.random.default_rng(3).normal(0.4, 1.0, size=9)
    exact = stats.permutation_test((change, np.zeros(9)), lambda x, y, axis: np.mean(x - y, axis), vectorized=True,
                                   permutation_type="samples", n_resamples=np.inf).pvalue  # fmt: skip
    found = sign_flip_p(change[:, None], 40_000, np.random.default_rng(0))[0]
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact / 40_000))


@pytest.mark.parametrize("test", ["sign flips", "exchange"])
def test_p_is_uniform_where_nothing_differs(test: str) -> None:
    found = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        first, second = rng.gamma(2.0, size=(2, 14, 6)).cumsum(axis=2)
        if test == "sign flips":
            found += [*sign_flip_p(first[:, :1] - second[:, :1], 499, rng)]
        else:
            found += [*exchange_p(first, second, lambda m: mean_absolute_difference(m)[..., None], 499, rng)]
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_exchange_is_the_full_enumeration_of_exchanged_pairs() -> None:
    first, second = np.random.default_rng(5).gamma(2.0, size=(2, 9, 5))
    second[:, 2] += 1.5

    def mad(rows: np.ndarray) -> float:
        return float(np.abs(np.diff(rows.mean(axis=0))).mean())

    changes = [
        abs(mad(np.where(swapped, second, first)) - mad(np.where(swapped, first, second)))
        for bits in product([False, True], repeat=9)
        for swapped in [np.array(bits)[:, None]]
    ]
    exact = np.mean(np.array(changes) >= changes[0] * (1 - 1e-9))
    found = exchange_p(first, second, lambda m: mean_absolute_difference(m)[..., None], 40_000,
                       np.random.default_rng(0))[0]  # fmt: skip
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact / 40_000))


def test_joined_features_are_resampled_together() -> None:
    values = np.random.default_rng(1).normal(size=(25, 2))
    both = resample_means(values, 499, np.random.default_rng(4))
    joined = Resampled.joined(both.map(lambda m: m[..., :1]), both.map(lambda m: m[..., 1:]))
    np.testing.assert_array_equal(joined.resamples, both.resamples)
    difference = joined.map(lambda m: m[..., :1] - m[..., 1:])
    alone = resample_means(values[:, :1] - values[:, 1:], 499, np.random.default_rng(4))
    np.testing.assert_allclose(difference.resamples, alone.resamples, atol=1e-12)


def test_adjusted_p_is_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).uniform(size=30) ** 2
    families = ["layers"] * 25 + ["means"] * 5
    expected = np.concatenate([multitest.multipletests(part, method="fdr_bh")[1] for part in (p[:25], p[25:])])
    np.testing.assert_allclose(benjamini_hochberg(p, families), expected)
