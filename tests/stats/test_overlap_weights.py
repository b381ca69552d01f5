"""Overlap weights with regression against statsmodels, and on data whose truth is known."""

import lazy_loader
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradprism.stats.length_match import overlap_in_weights
from gradprism.stats.overlap_weights import WeightedEffect, length_splines, weighted_effect, without_lengths

sm = lazy_loader.load("statsmodels.api", suppress_warning=True)


def simulated(
    random: np.random.Generator, n: tuple[int, int], ratio: float, effect: float = 0.0, features: int = 40
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log measures that saturate with length (n, features), the group, and log prompt and response tokens."""
    group = np.arange(sum(n)) < n[0]
    prompt, response = random.normal(4, 0.6, len(group)), random.normal(5 + np.log(ratio) * group, 0.8)
    log_measure = 2 * (response - np.log(np.exp(response) + 150)) + 0.2 * prompt + effect * group
    noise = random.normal(0, 0.15, (len(group), features))
    return log_measure[:, None] + noise, group, np.column_stack([prompt, response])


def test_equal_to_statsmodels() -> None:
    values, group, lengths = simulated(np.random.default_rng(0), (60, 80), 2.0, 0.1, features=3)
    splines = length_splines(lengths, group)
    propensity = sm.GLM(group, sm.add_constant(splines), family=sm.families.Binomial()).fit().fittedvalues
    weights = np.where(group, 1 - propensity, propensity)
    found = weighted_effect(values, group, lengths)
    design = sm.add_constant(np.column_stack([group, splines]))
    for feature in range(3):
        fit = sm.WLS(values[:, feature], design, weights=weights).fit(cov_type="HC3")
        assert found.effect[feature] == pytest.approx(fit.params[1], abs=2e-4)  # the ridge of the propensity
        half = (found.high[feature] - found.low[feature]) / 2
        effective = [weights[side].sum() ** 2 / (weights[side] ** 2).sum() for side in (group, ~group)]
        assert [found.n_first[feature], found.n_second[feature]] == pytest.approx(effective, rel=5e-3)
        from scipy.stats import t

        assert half == pytest.approx(fit.bse[1] * t.ppf(0.975, sum(effective) - design.shape[1]), rel=5e-3)


@pytest.mark.slow  # half a second or more
@pytest.mark.parametrize(("n", "ratio"), [((50, 50), 5.0), ((200, 200), 5.0), ((200, 1000), 2.7)])
def test_length_alone_is_found_no_more_often_than_chance_where_regression_finds_it(n: tuple, ratio: float) -> None:
    random = np.random.default_rng(1)
    found = [weighted_effect(*simulated(random, n, ratio, features=10)) for _ in range(30)]
    assert all(overlap_in_weights(each.n_first[0], each.n_second[0], each.imbalance[0]) for each in found)
    assert np.mean([each.p < 0.05 for each in found]) <= 0.09


def test_an_effect_beyond_length_is_found_and_its_size() -> None:
    found = weighted_effect(*simulated(np.random.default_rng(2), (200, 200), 5.0, 0.14, features=200))
    assert found.effect.mean() == pytest.approx(0.14, abs=0.05)  # one draw of lengths: noise alone differs
    assert np.mean(found.p < 0.05) > 0.9


def test_without_overlap_nothing_is_supported() -> None:
    random = np.random.default_rng(3)
    for ratio in (40.0, 1e4, 1e9):
        found = weighted_effect(*simulated(random, (40, 40), ratio, features=1))
        assert not overlap_in_weights(found.n_first[0], found.n_second[0], found.imbalance[0])


def test_truncated_rows_of_one_group_alone_do_not_count() -> None:
    values, group, lengths = simulated(np.random.default_rng(4), (100, 100), 1.0, features=2)
    truncated = np.zeros(200)
    truncated[:30] = 1.0
    values[:30] += 5.0
    found = weighted_effect(values, group, np.column_stack([lengths, truncated]))
    assert np.abs(found.effect).max() < 0.2
    assert found.n_first[0] < 80


def test_constant_lengths_control_nothing_whatever_rounding_says() -> None:
    random = np.random.default_rng(5)
    values, group = random.normal(size=(40, 2)), np.arange(40) < 20
    constant = np.full((40, 2), np.log(128))
    constant[::3] = np.nextafter(np.log(128), 9)
    found = weighted_effect(values, group, constant)
    assert found.effect == pytest.approx(values[group].mean(axis=0) - values[~group].mean(axis=0))
    assert found.n_first == pytest.approx([20, 20])
    np.testing.assert_allclose(without_lengths(values, group, constant), values)


def test_missing_values_are_left_out() -> None:
    values, group, lengths = simulated(np.random.default_rng(6), (30, 30), 1.5, features=2)
    values[3, 0] = np.nan
    kept = np.arange(60) != 3
    lengths[7, 1] = np.nan
    kept[7] = False
    alone = weighted_effect(values[kept], group[kept], lengths[kept])
    assert weighted_effect(values, group, lengths).effect[0] == pytest.approx(alone.effect[0])
    none = weighted_effect(np.full((4, 1), np.nan), np.arange(4) < 2, np.zeros((4, 2)))
    assert all(np.isnan(getattr(none, name)).all() for name in WeightedEffect.__dataclass_fields__)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_it_follows_the_scale_of_the_values_and_not_the_order_of_the_rows(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    values, group, lengths = simulated(random, (25, 20), 2.0, features=2)
    order = random.permutation(45)
    found, other = (
        weighted_effect(values, group, lengths),
        weighted_effect(scale * values[order], group[order], lengths[order]),
    )
    np.testing.assert_allclose(other.effect, scale * found.effect, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(other.p, found.p, rtol=1e-4)


def test_lengths_are_taken_out_and_the_group_stays() -> None:
    values, group, lengths = simulated(np.random.default_rng(7), (200, 200), 3.0, 0.3)
    adjusted = without_lengths(values, group, lengths)
    difference = adjusted[group].mean(axis=0) - adjusted[~group].mean(axis=0)
    assert difference.mean() == pytest.approx(0.3, abs=0.05)
