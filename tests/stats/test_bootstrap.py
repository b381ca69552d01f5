"""BCa intervals against scipy given the same draws, and their coverage on simulated data."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from gradprism.stats.bootstrap import Resampled, bca_interval, percentile_interval, resample_means, times_drawn

R = 999


@pytest.fixture
def skewed() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    return random.lognormal(size=(30, 3)), random.lognormal(0.2, 0.5, size=(25, 3))


def resampled(seed: int, *groups: np.ndarray) -> list[Resampled]:
    random = np.random.default_rng(seed)
    return [resample_means(group, R, random) for group in groups]


def from_scipy(seed: int, statistic: object, *groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Feature by feature, each with the same seed, so that all share their resamples."""
    ends = []
    for columns in zip(*(group.T for group in groups), strict=True):
        random = np.random.default_rng(seed)
        ends.append(bootstrap(columns, statistic, n_resamples=R, method="BCa", rng=random).confidence_interval)
    low, high = np.array(ends).T
    return low, high


def test_one_group_equals_scipy(skewed: tuple[np.ndarray, np.ndarray]) -> None:
    found = bca_interval(*resampled(5, skewed[0]))
    np.testing.assert_allclose(found, from_scipy(5, np.mean, skewed[0]), rtol=1e-12)


def test_two_groups_equal_scipy(skewed: tuple[np.ndarray, np.ndarray]) -> None:
    def difference(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        return first.mean(axis=axis) - second.mean(axis=axis)

    found = bca_interval(*resampled(6, *skewed))
    np.testing.assert_allclose(found, from_scipy(6, difference, *skewed), rtol=1e-11)


def test_any_statistic_of_two_groups_equals_scipy(skewed: tuple[np.ndarray, np.ndarray]) -> None:
    def relative(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        return first.mean(axis=axis) / second.mean(axis=axis) - 1

    found = bca_interval(*resampled(7, *skewed), statistic=lambda first, second: first / second - 1)
    np.testing.assert_allclose(found, from_scipy(7, relative, *skewed), rtol=1e-11)


def test_a_statistic_of_a_curve_equals_scipy() -> None:
    curves = np.random.default_rng(2).lognormal(size=(40, 4)) + np.array([0.0, 3.0, 1.0, 4.0])

    def roughness(means: np.ndarray) -> np.ndarray:
        return np.abs(np.diff(means, axis=-1)).mean(axis=-1, keepdims=True)

    def of_examples(places: np.ndarray, axis: int) -> np.ndarray:
        return np.abs(np.diff(curves[places].mean(axis=-2), axis=-1)).mean(axis=-1)

    (group,) = resampled(8, curves)
    expected = bootstrap(
        (np.arange(40),), of_examples, n_resamples=R, method="BCa", rng=np.random.default_rng(8), vectorized=True
    ).confidence_interval
    np.testing.assert_allclose(np.ravel(bca_interval(group.map(roughness))), expected, rtol=1e-12)


def test_ties_equal_scipy() -> None:
    """Small counts: many resamples have exactly the observed mean."""
    counts = np.random.default_rng(3).integers(0, 3, (12, 4)).astype(float)
    np.testing.assert_allclose(bca_interval(*resampled(9, counts)), from_scipy(9, np.mean, counts), rtol=1e-12)


def test_the_parts_by_loops(skewed: tuple[np.ndarray, np.ndarray]) -> None:
    values = skewed[0].copy()
    values[4, 1] = np.nan
    (group,) = resampled(10, values)
    draws = np.random.default_rng(10).integers(0, 30, (R, 30))
    np.testing.assert_allclose(group.observed, np.nanmean(values, axis=0))
    np.testing.assert_allclose(group.resamples, [np.nanmean(values[drawn], axis=0) for drawn in draws])
    left_out = [np.nanmean(np.delete(values, row, axis=0), axis=0) for row in range(30)]
    np.testing.assert_allclose(group.left_out, left_out)


def test_blocks_are_one_stream_of_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradprism.stats import bootstrap as module

    values = np.random.default_rng(4).normal(size=(7, 2))
    whole = resample_means(values, 100, np.random.default_rng(0)).resamples
    monkeypatch.setattr(module, "blocks", lambda total, _: [(i, min(i + 3, total)) for i in range(0, total, 3)])
    np.testing.assert_allclose(resample_means(values, 100, np.random.default_rng(0)).resamples, whole, rtol=1e-12)


def test_missing_values_leave_an_interval_of_those_there_are() -> None:
    random = np.random.default_rng(5)
    there = random.lognormal(size=(60, 1))
    among = np.full((100, 2), np.nan)
    among[:, 1] = random.normal(size=100)
    among[random.permutation(100)[:60], 0] = there[:, 0]
    found = bca_interval(resample_means(among, 9999, random))
    alone = bca_interval(resample_means(there, 9999, random))
    width = alone[1] - alone[0]
    # as many values of the 60 are drawn as happen to be, so the resamples are another draw of like spread
    assert np.abs(np.array(found)[:, 0] - np.ravel(alone)).max() < 0.05 * width
    (whole,), (part,) = resampled(11, among[:, 1:]), resampled(11, among)
    assert bca_interval(part)[0][1] == pytest.approx(bca_interval(whole)[0][0], rel=1e-12)


def test_what_does_not_vary_is_its_own_interval() -> None:
    constant = np.full((10, 1), 0.1)
    one, other = resampled(12, constant, constant * 3)
    assert np.ravel(bca_interval(one)).tolist() == [0.1, 0.1]
    assert np.ravel(bca_interval(one, other)) == pytest.approx([-0.2, -0.2], rel=1e-15)


def test_too_few_values_give_none() -> None:
    values = np.full((6, 3), np.nan)
    values[0, 1] = 1.0
    values[:2, 2] = 1.0, 2.0
    one, empty = resampled(13, values, np.empty((0, 3)))
    low, high = bca_interval(one)
    np.testing.assert_array_equal(np.isnan([low, high]), [[True, True, False]] * 2)
    np.testing.assert_array_equal(np.isnan(bca_interval(one, empty)), np.full((2, 3), True))


def test_no_resample_below_is_no_interval() -> None:
    """The roughness of pure noise only grows by resampling: there is no correction for such a bias."""
    noise = np.random.default_rng(6).normal(size=(50, 200))
    (group,) = resampled(14, noise)
    rough = group.map(lambda means: np.abs(np.diff(means, axis=-1)).mean(axis=-1, keepdims=True))
    assert (rough.resamples > rough.observed).all()
    assert np.isnan(bca_interval(rough)).all()


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.99])
def test_other_confidences_equal_scipy(skewed: tuple[np.ndarray, np.ndarray], confidence: float) -> None:
    found = bca_interval(*resampled(15, skewed[0][:, :1]), confidence=confidence)
    expected = bootstrap(
        (skewed[0][:, 0],), np.mean, n_resamples=R, confidence_level=confidence, rng=np.random.default_rng(15)
    ).confidence_interval
    np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "n_first", "n_second"),
    [
        ("normal", 60, 90),
        ("skewed", 300, 400),  # at 60 and 90 it is 93%: few examples of the tail are seen
    ],
)
def test_a_difference_of_means_is_covered_as_often_as_said(kind: str, n_first: int, n_second: int) -> None:
    """1,000 draws of both groups, one a feature; the standard error of the rate is 0.7 points."""
    random = np.random.default_rng(16)
    if kind == "normal":
        first, second = random.normal(1, 2, (n_first, 1000)), random.normal(0, 1, (n_second, 1000))
        truth = 1.0
    else:
        first, second = random.lognormal(0.5, 0.6, (n_first, 1000)), random.lognormal(0, 0.5, (n_second, 1000))
        truth = np.exp(0.5 + 0.18) - np.exp(0.125)
    low, high = bca_interval(*(resample_means(group, 1999, random) for group in (first, second)))
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(0.95, abs=0.02)


def test_percentiles_of_counted_draws_equal_scipy(skewed: tuple[np.ndarray, np.ndarray]) -> None:
    values = skewed[0][:, 0]
    times = times_drawn(30, R, np.random.default_rng(17))
    medians = np.array([[np.median(np.repeat(values, counts.astype(int)))] for counts in times])
    found = np.ravel(percentile_interval(medians))
    expected = bootstrap(
        (values,), np.median, n_resamples=R, method="percentile", rng=np.random.default_rng(17)
    ).confidence_interval
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_percentiles_of_what_is_mostly_there() -> None:
    values = np.random.default_rng(18).normal(size=(100, 3))
    values[:10, 1], values[:11, 2] = np.nan, np.nan
    low, high = percentile_interval(values)
    assert np.isnan([low, high]).tolist() == [[False, False, True]] * 2
    np.testing.assert_allclose([low[1], high[1]], np.quantile(values[10:, 1], [0.025, 0.975]))
    assert times_drawn(0, 5, np.random.default_rng(0)).shape == (5, 0)
