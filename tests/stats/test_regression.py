"""Group effects against statsmodels, and where no answer exists."""

import lazy_loader
import numpy as np
import pytest

from gradprism.stats.regression import Coefficient, group_effect

sm = lazy_loader.load("statsmodels.api", suppress_warning=True)


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values whose spread grows with a covariate, 25 of group 1 and 45 of group 0."""
    random = np.random.default_rng(0)
    group = np.arange(70) < 25
    covariates = random.normal(4, 1, (70, 2)) + group[:, None]
    noise = random.normal(size=(70, 6)) * np.exp(covariates[:, :1] / 4)
    return 3.0 * group[:, None] + covariates @ random.normal(size=(2, 6)) + noise + 1000.0, group, covariates


def expected(values: np.ndarray, group: np.ndarray, covariates: np.ndarray, alpha: float) -> list[float]:
    rows = np.isfinite(values) & np.isfinite(covariates).all(axis=1)
    design = np.column_stack([np.ones(len(values)), group, covariates])[rows]
    fit = sm.OLS(values[rows], design).fit(cov_type="HC3", use_t=True)
    return [fit.params[1], *fit.conf_int(alpha)[1], fit.pvalues[1]]


def numbers(found: Coefficient) -> np.ndarray:
    return np.stack([found.effect, found.low, found.high, found.p], axis=1)


@pytest.mark.parametrize("n_covariates", [0, 1, 2])
@pytest.mark.parametrize("confidence", [0.95, 0.9])
def test_equal_to_statsmodels(
    data: tuple[np.ndarray, np.ndarray, np.ndarray], n_covariates: int, confidence: float
) -> None:
    values, group, covariates = data[0], data[1], data[2][:, :n_covariates]
    found = numbers(group_effect(values, group, covariates, confidence))
    for feature in range(6):
        wanted = expected(values[:, feature], group, covariates, 1 - confidence)
        np.testing.assert_allclose(found[feature], wanted, rtol=1e-9)


def test_each_feature_on_its_own_rows(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    values, group, covariates = data
    values[[1, 30], 1], values[[1, 30], 3], values[5:15, 2], covariates[50, 0] = np.nan, np.nan, np.inf, np.nan
    found = numbers(group_effect(values, group, covariates))
    for feature in range(6):
        wanted = expected(values[:, feature], group, covariates, 0.05)
        np.testing.assert_allclose(found[feature], wanted, rtol=1e-9)


def test_without_covariates_it_is_the_difference_of_means(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    values, group, _ = data
    found = group_effect(values, group, np.empty((70, 0)))
    np.testing.assert_allclose(found.effect, values[group].mean(axis=0) - values[~group].mean(axis=0), rtol=1e-10)


def test_scales_of_the_covariates_do_not_matter(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    values, group, covariates = data
    scaled = numbers(group_effect(values, group, covariates * [1e-6, 1e6] + [0.0, 1e8]))
    np.testing.assert_allclose(scaled, numbers(group_effect(values, group, covariates)), rtol=1e-6)


@pytest.mark.parametrize(
    "why", ["one group", "a covariate is the group", "a covariate is constant", "twins", "one row of a group", "n <= k"]
)
def test_no_answer(data: tuple[np.ndarray, np.ndarray, np.ndarray], why: str) -> None:
    values, group, covariates = data
    match why:
        case "one group":
            group[:] = True
        case "a covariate is the group":
            covariates[:, 0] = 2.0 * group - 1
        case "a covariate is constant":
            covariates[:, 1] = 0.1
        case "twins":
            covariates[:, 1] = 3 * covariates[:, 0] - 0.7
        case "one row of a group":
            group[:] = np.arange(70) == 3
        case _:
            values[4:] = np.nan
    assert np.isnan(numbers(group_effect(values, group, covariates))).all()


def test_only_the_feature_without_an_answer_gets_none(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    values, group, covariates = data
    values[group, 2] = np.nan
    values[:, 4] = 0.3
    found = numbers(group_effect(values, group, covariates))
    assert np.isnan(found).all(axis=1).tolist() == [False, False, True, False, False, False]
    assert found[4].tolist() == [0.0, 0.0, 0.0, 1.0]
