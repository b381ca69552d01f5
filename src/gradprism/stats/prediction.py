"""Gain in predicting a variable when one more is known: least squares, each row from all others.

The error at a row that is left out needs no second fit: it is the residual over 1 - leverage (PRESS: Allen,
Technometrics 16, 1974).
"""

import numpy as np
from jaxtyping import Float

from gradprism.stats.least_squares import orthonormal
from gradprism.stats.missing import same_rows
from gradprism.stats.rank_correlation import midranks

_FULL_LEVERAGE = 1e-9  # 1 - leverage below this: the row decides the fit alone, and nothing predicts it


def rank_gain(
    features: Float[np.ndarray, "n features"], target: Float[np.ndarray, " n"], given: Float[np.ndarray, "n controls"]
) -> tuple[Float[np.ndarray, " features"], Float[np.ndarray, " features"]]:
    """Compute R² of rank(target) ~ 1 + ranks(given), and the gain by rank(feature); each row predicted by the others.

    R² = 1 - PRESS / PRESS of the mean alone: below 0 where the others' mean predicts better. Each feature on the rows
    where it, target and controls are finite; ranks are taken once, among all of them. NaN for a feature or target
    that the controls explain entirely, and where a row alone decides a coefficient.
    """
    base, gain = np.full((2, features.shape[1]), np.nan)
    usable = np.isfinite(target) & np.isfinite(given).all(axis=1)
    for rows, same in same_rows(np.isfinite(features) & usable[:, None]):
        if rows.sum() > given.shape[1] + 2:
            found = _rank_gain(midranks(features[np.ix_(rows, same)]), midranks(target[rows][:, None]), given[rows])
            base[same], gain[same] = found
    return base, gain


def _rank_gain(features: np.ndarray, target: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = len(target)
    basis = orthonormal(midranks(given))
    leverage = (basis**2).sum(axis=1) + 1 / n
    feature, rest = (_outside(ranks, basis) for ranks in (features, target))
    size = (feature**2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        residuals = rest - feature * (feature * rest).sum(axis=0) / size  # (n, features)
        total = _press(target, np.full((n, 1), 1 / n))
        base = 1 - _press(rest, leverage[:, None]) / total
        more = 1 - _press(residuals, leverage[:, None] + feature**2 / size) / total
    return np.broadcast_to(base, more.shape), more - base


def _press(residuals: np.ndarray, leverage: np.ndarray) -> np.ndarray:
    """Sum the squared errors at left-out rows, of each column."""
    left = 1 - leverage
    return np.asarray(((residuals / np.where(left > _FULL_LEVERAGE, left, np.nan)) ** 2).sum(axis=0))


def _outside(ranks: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Compute the part of each column outside the basis; NaN where that is rounding."""
    rest = ranks - basis @ (basis.T @ ranks)
    nothing = np.linalg.norm(rest, axis=0) <= 1e-10 * np.linalg.norm(ranks, axis=0)
    return np.asarray(np.where(nothing, np.nan, rest))
