"""The difference between two ways to train, over evaluation rows that both share and seeds that each has of its own.

Two things vary: which rows an evaluation happens to hold, and what a seed makes of a training. The first is paired (the
same rows for both), the second is not. With three seeds a bootstrap over seeds sees two thirds of their variance and
covers too rarely (`benchmarks/arm_coverage.py`), so the variances are estimated and added, with a t interval by
Welch-Satterthwaite degrees of freedom (Satterthwaite, Biometrics Bulletin 2 (1946)).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

_LEVEL = 0.95
_POWER = 0.8


@dataclass(frozen=True)
class ArmDifference:
    """Mean loss of one way less that of another, nats a token."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided; NaN where the variance is not known: one seed, or one row."""
    visible: float
    """The smallest difference that would be found in 80 of 100 such comparisons."""
    share_of_seeds: float
    """Part of the variance that more seeds would make smaller; the rest is that of the evaluation rows."""


def arm_difference(
    first: Float[np.ndarray, "seeds rows"],
    second: Float[np.ndarray, "other_seeds rows"],
    weights: Float[np.ndarray, " rows"],
) -> ArmDifference:
    """Estimate the difference of weighted mean losses, with its 95% interval.

    `first` and `second` are mean losses of each row (nats a token) in every seed; `weights` the rows' tokens.
    """
    w = weights / weights.sum()
    by_row = first.mean(0) - second.mean(0)
    value = float(w @ by_row)
    n = len(w)
    of_rows = float((w**2) @ (by_row - value) ** 2) * n / (n - 1) if n > 1 else np.nan
    of_seeds = [_variance_of_mean(losses @ w) for losses in (first, second)]
    variance = of_rows + sum(of_seeds)
    if not np.isfinite(variance):
        return ArmDifference(value, np.nan, np.nan, np.nan, np.nan, np.nan)
    if variance == 0:
        return ArmDifference(value, value, value, float(value == 0), 0.0, 0.0)
    parts = [(of_rows, n - 1), *((part, len(x) - 1) for part, x in zip(of_seeds, (first, second), strict=True))]
    freedom = variance**2 / sum(part**2 / df for part, df in parts)
    error = float(np.sqrt(variance))
    reach = float(stats.t.ppf((1 + _LEVEL) / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(value) / error, freedom))
    visible = reach + float(stats.t.ppf(_POWER, freedom)) * error
    return ArmDifference(value, value - reach, value + reach, p, visible, sum(of_seeds) / variance)


def _variance_of_mean(values: Float[np.ndarray, " seeds"]) -> float:
    return float(np.var(values, ddof=1) / len(values)) if len(values) > 1 else np.nan


def tokens_to_reach(tokens: Float[np.ndarray, " points"], losses: Float[np.ndarray, " points"], goal: float) -> float:
    """Return the tokens after which a curve first comes down to `goal`, between points by a line; NaN for never."""
    below = np.flatnonzero(losses <= goal)
    if not len(below):
        return np.nan
    at = int(below[0])
    if at == 0:
        return float(tokens[0])
    before, after = losses[at - 1], losses[at]
    return float(tokens[at - 1] + (tokens[at] - tokens[at - 1]) * (before - goal) / (before - after))
