"""Adjusted means against a textbook fit, and against the effect that the regression with errors gives."""

import numpy as np
import pytest

from gradprism.stats.least_squares import adjusted_means, log_lengths, solving_matrix
from gradprism.stats.regression import group_effect

RANDOM = np.random.default_rng(5)
GROUP = np.repeat([0, 1, 2], [12, 7, 9])
MEMBERSHIP = GROUP[:, None] == np.arange(3)
COVARIATES = RANDOM.normal(3, 0.5, (28, 2)) + GROUP[:, None]
VALUES = 0.4 * GROUP + COVARIATES @ [0.7, -0.2] + RANDOM.normal(0, 0.1, 28)


def test_adjusted_means_are_predictions_at_the_mean_covariates() -> None:
    import statsmodels.api as sm

    fit = sm.OLS(VALUES, np.column_stack([MEMBERSHIP.astype(float), COVARIATES])).fit()
    at_mean = np.column_stack([np.eye(3), np.tile(COVARIATES.mean(axis=0), (3, 1))])
    np.testing.assert_allclose(adjusted_means(VALUES, MEMBERSHIP, COVARIATES), fit.predict(at_mean), rtol=1e-10)


def test_two_adjusted_means_differ_by_the_group_effect() -> None:
    two = GROUP < 2
    means = adjusted_means(VALUES[two], MEMBERSHIP[two, :2], COVARIATES[two])
    effect = group_effect(VALUES[two, None], GROUP[two] == 1, COVARIATES[two]).effect
    assert means[1] - means[0] == pytest.approx(effect[0], rel=1e-10)


def test_without_covariates_they_are_the_raw_means() -> None:
    means = [VALUES[group == GROUP].mean() for group in range(3)]
    np.testing.assert_allclose(adjusted_means(VALUES, MEMBERSHIP, COVARIATES[:, :0]), means)


@pytest.mark.parametrize("empty", [0, 2])
def test_a_group_without_rows_leaves_nothing_determined(empty: int) -> None:
    rows = empty != GROUP
    assert np.isnan(adjusted_means(VALUES[rows], MEMBERSHIP[rows], COVARIATES[rows])).all()


def test_what_least_squares_cannot_tell_apart_has_no_mean() -> None:
    unknown = np.where(np.arange(56).reshape(28, 2) == 3, np.nan, COVARIATES)
    constant = np.column_stack([COVARIATES[:, 0], np.full(28, 2.0)])
    for covariates in (unknown, constant, MEMBERSHIP[:, 1:].astype(float)):
        assert np.isnan(adjusted_means(VALUES, MEMBERSHIP, covariates)).all()
    assert np.isnan(adjusted_means(VALUES[:5], MEMBERSHIP[:5], COVARIATES[:5])).all()
    assert np.isnan(adjusted_means(VALUES[:0], MEMBERSHIP[:0], COVARIATES[:0])).all()
    assert solving_matrix(np.ones((4, 2))) is None


def test_log_lengths_of_no_tokens_are_0_and_of_unknown_ones_unknown() -> None:
    tokens = np.array([[0.0, 1.0], [np.e, np.nan]])
    np.testing.assert_array_equal(log_lengths(tokens), [[0.0, 0.0], [1.0, np.nan]])
