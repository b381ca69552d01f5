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
        rest = design[rows]
        solve = solving_matrix(rest)
        if solve is not None:
            cells = np.ix_(rows, features)
            result[:, features] = fit_group(rest, shifted[cells], solve, len(rest) - rest.shape[1], confidence)
    return Coefficient(*result)


def fit_group(
    design: Float[np.ndarray, "n k"],
    values: Float[np.ndarray, "n features"],
    solve: Float[np.ndarray, "k n"],
    freedom: float,
    confidence: float,
) -> Float[np.ndarray, "4 features"]:
    """Return effect, low, high and p of the second column of a design; weights are in its rows, and those of `values`.

    `solve` is the pseudo-inverse of the design, `freedom` that of Student's t. NaN where a row alone decides a
    coefficient.
    """
    remaining = 1 - np.einsum("nk,kn->n", design, solve)
    if remaining.min() < _FULL_LEVERAGE:
        return np.full((4, values.shape[1]), np.nan)
    coefficients = solve @ values  # (k, n) @ (n, features)
    residuals = values - design @ coefficients  # (n, features)
    effect = coefficients[1]
    error = np.sqrt((solve[1] / remaining) ** 2 @ residuals**2)
    reach = stdtrit(freedom, (1 + confidence) / 2) * error
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.where(effect == 0, 1.0, 2 * stdtr(freedom, -np.abs(effect / error)))
    return np.stack([effect, effect - reach, effect + reach, p])
