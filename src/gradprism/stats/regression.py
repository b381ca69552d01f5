"""Effect of a group beside covariates: ordinary least squares with errors that heteroscedasticity does not spoil.

The standard errors are HC3 (MacKinnon & White, Journal of Econometrics 29, 1985; Long & Ervin, American Statistician
54, 2000), with a t distribution of n - k degrees of freedom for k coefficients.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import stdtr, stdtrit

from gradprism.stats.least_squares import solving_matrix
from gradprism.stats.missing import same_rows, shift

_FULL_LEVERAGE = 1e-9  # 1 - leverage below this: the row is fitted exactly and says nothing of the error


@dataclass(frozen=True)
class Coefficient:
    """One coefficient of the regression of each feature, with its interval and two-sided p."""

    effect: Float[np.ndarray, " features"]
    low: Float[np.ndarray, " features"]
    high: Float[np.ndarray, " features"]
    p: Float[np.ndarray, " features"]


def group_effect(
    values: Float[np.ndarray, "n features"],
    group: Bool[np.ndarray, " n"],
    covariates: Float[np.ndarray, "n covariates"],
    confidence: float = 0.95,
) -> Coefficient:
    """Fit the coefficient of `group` in the regression of each feature on 1, group and covariates.

    Each feature is fitted on the rows where it and all covariates are finite. Without covariates (shape (n, 0)) it is
    the difference of the two means. NaN where those rows are no more than the coefficients, where group and covariates
    cannot be told apart, and where a row alone decides a coefficient (leverage 1: no HC3 error exists). A constant
    feature has effect 0 and p 1.
    """
    result = np.full((4, values.shape[1]), np.nan)
    shifted, present, _ = shift(values)
    design = np.column_stack([np.ones(len(values)), group, covariates])
    for rows, features in same_rows(present & np.isfinite(covariates).all(axis=1)[:, None]):
        weights = _group_weights(design[rows])
        if weights is not None:
            result[:, features] = _fit(design[rows], shifted[np.ix_(rows, features)], *weights, confidence)
    return Coefficient(*result)


def _group_weights(design: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the solving matrix (coefficients, n) and 1 - leverage (n,); None where HC3 has no answer."""
    solve = solving_matrix(design)
    if solve is None:
        return None
    remaining = 1 - np.einsum("nk,kn->n", design, solve)
    return None if remaining.min() < _FULL_LEVERAGE else (solve, remaining)


def _fit(
    design: np.ndarray, values: np.ndarray, solve: np.ndarray, remaining: np.ndarray, confidence: float
) -> np.ndarray:
    """Return effect, low, high and p (4, features) of the second column of the design."""
    coefficients = solve @ values  # (k, n) @ (n, features)
    residuals = values - design @ coefficients  # (n, features)
    effect = coefficients[1]
    error = np.sqrt((solve[1] / remaining) ** 2 @ residuals**2)
    freedom = len(design) - design.shape[1]
    reach = stdtrit(freedom, (1 + confidence) / 2) * error
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.where(effect == 0, 1.0, 2 * stdtr(freedom, -np.abs(effect / error)))
    return np.stack([effect, effect - reach, effect + reach, p])
