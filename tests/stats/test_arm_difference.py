import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from gradprism.stats.arm_difference import arm_difference, tokens_to_reach
from gradprism.stats.multiplicity import holm


def simulated(
    rng: np.random.Generator, seeds: int, rows: int, of_rows: float, of_seeds: float, effect: float
) -> tuple[np.ndarray, np.ndarray]:
    """Losses of two ways: rows differ and gain differently, and every training shifts all rows."""
    level = rng.normal(2, 1, rows)
    gain = effect + rng.normal(0, of_rows, rows)
    noise = rng.normal(0, 0.05, (2, seeds, rows))
    shift = rng.normal(0, of_seeds, (2, seeds, 1))
    return level + gain + shift[0] + noise[0], level + shift[1] + noise[1]


def coverage(times: int, **kind: float) -> float:
    rng, hits = np.random.default_rng(1), 0
    for _ in range(times):
        first, second = simulated(rng, effect=0.1, **kind)  # type: ignore[arg-type]
        found = arm_difference(first, second, np.full(first.shape[1], 50.0))
        hits += found.low <= 0.1 <= found.high
    return hits / times


@pytest.mark.parametrize(
    "kind",
    [
        {"seeds": 3, "rows": 100, "of_rows": 0.2, "of_seeds": 0.0},
        {"seeds": 3, "rows": 100, "of_rows": 0.2, "of_seeds": 0.05},
        {"seeds": 3, "rows": 100, "of_rows": 0.0, "of_seeds": 0.05},
        {"seeds": 5, "rows": 20, "of_rows": 0.2, "of_seeds": 0.02},
    ],
)
def test_intervals_hold_the_truth_in_95_of_100(kind: dict[str, float]) -> None:
    assert 0.93 <= coverage(1500, **kind) <= 0.99


def test_without_variance_of_rows_it_is_welch() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, 4), rng.normal(0, 2, 6)
    rows = np.array([1.0, 2.0, 3.0])
    found = arm_difference(one[:, None] + rows, other[:, None] + rows, np.array([10.0, 20.0, 30.0]))
    expected = stats.ttest_ind(one, other, equal_var=False)
    interval = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.share_of_seeds == pytest.approx(1)


def test_without_variance_of_seeds_it_is_paired_t() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, 12), rng.normal(0, 2, 12)
    found = arm_difference(np.tile(one, (3, 1)), np.tile(other, (2, 1)), np.ones(12))
    expected = stats.ttest_rel(one, other)
    interval = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.share_of_seeds == pytest.approx(0)


def test_rows_count_by_their_tokens() -> None:
    first = np.array([[1.0, 2.0], [1.0, 2.0]])
    found = arm_difference(first, np.zeros((2, 2)), np.array([30.0, 10.0]))
    assert found.value == pytest.approx(1.25)


@pytest.mark.parametrize("shape", [((1, 5), (3, 5)), ((3, 5), (1, 5)), ((3, 1), (3, 1))])
def test_one_seed_or_one_row_has_no_interval(shape: tuple[tuple[int, int], tuple[int, int]]) -> None:
    rng = np.random.default_rng(0)
    found = arm_difference(rng.normal(size=shape[0]), rng.normal(size=shape[1]), np.ones(shape[0][1]))
    assert np.isfinite(found.value)
    assert np.isnan([found.low, found.high, found.p, found.visible]).all()


def test_equal_losses_have_no_difference() -> None:
    found = arm_difference(np.ones((3, 4)), np.ones((3, 4)), np.ones(4))
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_the_visible_difference_is_found_in_80_of_100() -> None:
    rng = np.random.default_rng(2)
    kind = {"seeds": 4, "rows": 80, "of_rows": 0.2, "of_seeds": 0.02}
    visible = np.median([arm_difference(*simulated(rng, effect=0.0, **kind), np.ones(80)).visible for _ in range(200)])  # type: ignore[arg-type]
    found = [arm_difference(*simulated(rng, effect=visible, **kind), np.ones(80)).p < 0.05 for _ in range(800)]  # type: ignore[arg-type]
    assert 0.74 <= np.mean(found) <= 0.88


def test_holm_against_statsmodels() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 0.2, 9)
    p[[2, 5]] = p[1]
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])
    with_gap = np.append(p, np.nan)
    np.testing.assert_allclose(holm(with_gap)[:-1], holm(p))
    assert np.isnan(holm(with_gap)[-1])


def test_tokens_after_which_a_curve_is_as_low() -> None:
    tokens, losses = np.array([0.0, 100.0, 200.0]), np.array([3.0, 2.0, 1.5])
    assert tokens_to_reach(tokens, losses, 2.5) == 50
    assert tokens_to_reach(tokens, losses, 2.0) == 100
    assert tokens_to_reach(tokens, losses, 3.5) == 0
    assert np.isnan(tokens_to_reach(tokens, losses, 1.0))
