"""Effect size free of units: the probability that one group exceeds the other.

That is the area under the ROC curve, U / (n1 n2) of Mann and Whitney, and (1 + Cliff's delta) / 2. Its variance is that
of DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988), from placements, which midranks give at once (Sun & Xu, IEEE
Signal Processing Letters 21, 2014).
"""

import numpy as np
from jaxtyping import Float
from scipy.special import expit, logit, ndtri
from scipy.stats import rankdata

from gradprism.stats.missing import mean_present

_Features = Float[np.ndarray, " features"]


def auc(first: Float[np.ndarray, "n_first features"], second: Float[np.ndarray, "n_second features"]) -> _Features:
    """Compute P(first > second) + P(first = second) / 2 over all pairs of finite values; NaN where a group has none."""
    below, _ = _placements(first, second)
    return mean_present(below, axis=0)


def auc_interval(
    first: Float[np.ndarray, "n_first features"],
    second: Float[np.ndarray, "n_second features"],
    confidence: float = 0.95,
) -> tuple[_Features, _Features]:
    """Return the low and high end of the interval of `auc`: DeLong's variance on the logit scale, so within 0 and 1.

    At an auc of 1 that variance is 0. There the low end is (alpha / 2) ^ (1 / m), m the smaller group: m pairs that
    share no example all agree, and that is the bound of Clopper and Pearson for them, which is conservative; at 0 the
    mirror image. A constant feature has 0.5 at both ends. NaN where a group has fewer than two finite values.
    """
    below, above = _placements(first, second)
    value, tail = mean_present(below, axis=0), (1 - confidence) / 2
    least = np.minimum(np.isfinite(first).sum(axis=0), np.isfinite(second).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(_squared_error(below) + _squared_error(above))
        spread = -ndtri(tail) * error / (value * (1 - value))
        low, high = expit(logit(value) - spread), expit(logit(value) + spread)
        surely = tail ** (1 / least)
    low = np.select([least < 2, value == 1, value == 0], [np.nan, surely, 0.0], low)
    high = np.select([least < 2, value == 1, value == 0], [np.nan, 1.0, 1 - surely], high)
    return low, high


def cliffs_delta(auc: _Features) -> _Features:
    """Compute P(first > second) - P(first < second) from the auc (Cliff, Psychological Bulletin 114, 1993)."""
    return 2 * auc - 1


def _placements(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute for each of `first` the share of `second` below it, for each of `second` that of `first` above.

    Ties count half. NaN where missing, and where the other group has no value.
    """
    n_first, n_second = np.isfinite(first).sum(axis=0), np.isfinite(second).sum(axis=0)
    pooled = _midranks(np.concatenate([first, second]))
    with np.errstate(invalid="ignore", divide="ignore"):
        below = (pooled[: len(first)] - _midranks(first)) / n_second
        above = 1 - (pooled[len(first) :] - _midranks(second)) / n_first
    return below, above


def _squared_error(values: np.ndarray) -> _Features:
    """Compute the variance of the mean."""
    n = np.isfinite(values).sum(axis=0)
    return np.asarray(np.nansum((values - mean_present(values, axis=0)) ** 2, axis=0) / (n - 1) / n)


def _midranks(values: np.ndarray) -> np.ndarray:
    """Rank the finite values of each column, from 1, ties by their mean; NaN where missing."""
    present = np.isfinite(values)
    ranks = rankdata(np.where(present, values, np.inf).T, axis=1).T
    return np.where(present, ranks, np.nan)
