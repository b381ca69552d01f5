"""Simulated measures of two groups that differ in length: what is length alone must vanish, what is more must stay."""

import numpy as np
import pytest

from gradprism.stats.permutation import permutation_p
from gradprism.stats.rank_correlation import partial_spearman, spearman
from gradprism.stats.regression import group_effect

FEATURES, N = 400, 150


@pytest.fixture(params=[0, 1, 2])
def seed(request: pytest.FixtureRequest) -> int:
    value: int = request.param
    return value


def simulated(effect: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log measures (2 N, features) = 1 + 0.7 log length + effect of the group + noise, the group, log lengths.

    Lengths of the first group are half as long again; noise is a third of what length does.
    """
    random = np.random.default_rng(seed)
    group = np.arange(2 * N) < N
    prompt = random.normal(3.0, 0.5, 2 * N)
    response = random.normal(4.5 + 0.4 * group, 0.6)
    noise = random.normal(0, 0.2, (2 * N, FEATURES))
    log_measure = 1.0 + 0.1 * prompt[:, None] + 0.7 * response[:, None] + effect * group[:, None] + noise
    return log_measure, group, np.column_stack([prompt, response])


def test_what_is_length_alone_is_found_raw_and_vanishes_at_equal_length(seed: int) -> None:
    log_measure, group, lengths = simulated(0.0, seed)
    random = np.random.default_rng(seed)
    member = group.astype(float)
    assert (permutation_p(log_measure[group], log_measure[~group], 499, random) < 0.05).all()
    assert (group_effect(log_measure, group, lengths[:, :0]).p < 0.05).all()
    assert (spearman(log_measure, member).p < 0.05).all()
    assert np.mean(group_effect(log_measure, group, lengths).p < 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(partial_spearman(log_measure, member, lengths).p < 0.05) == pytest.approx(0.05, abs=0.03)


def test_groups_that_hardly_overlap_in_length_leave_a_partial_correlation_but_no_regression_effect() -> None:
    """A limit worth knowing: ranks of the group are no straight line in ranks of length, 27 times as long here."""
    random = np.random.default_rng(3)
    group = np.arange(1000) < 500
    length = random.normal(4.0 + 3.3 * group, 0.9)[:, None]
    log_measure = 0.7 * length + random.normal(0, 0.2, (1000, FEATURES))
    assert np.mean(group_effect(log_measure, group, length).p < 0.05) == pytest.approx(0.05, abs=0.03)
    assert partial_spearman(log_measure, group.astype(float), length).value.mean() == pytest.approx(0.1, abs=0.03)


def test_an_effect_beyond_length_is_found_and_its_size(seed: int) -> None:
    log_measure, group, lengths = simulated(0.15, seed)
    found = group_effect(log_measure, group, lengths)
    assert np.mean(found.p < 0.05) > 0.99
    assert found.effect.mean() == pytest.approx(0.15, abs=0.01)
    assert np.mean((found.low <= 0.15) & (found.high >= 0.15)) == pytest.approx(0.95, abs=0.03)
    assert np.mean(partial_spearman(log_measure, group.astype(float), lengths).p < 0.05) > 0.99


def test_an_effect_that_length_hides_is_found(seed: int) -> None:
    """The longer group has the lower measure at equal length, so that the raw means agree."""
    log_measure, group, lengths = simulated(-0.28, seed)
    member = group.astype(float)
    assert np.mean(group_effect(log_measure, group, lengths[:, :0]).p < 0.05) < 0.5
    assert (group_effect(log_measure, group, lengths).effect < 0).all()
    assert np.mean(group_effect(log_measure, group, lengths).p < 0.05) > 0.99
    assert np.mean(partial_spearman(log_measure, member, lengths).p < 0.05) > 0.99
