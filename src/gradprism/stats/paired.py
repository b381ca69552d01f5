"""Statistics of paired examples: the mean of paired differences, and what a mean curve before and after gives.

Everything resamples or relabels whole pairs. The intervals are bias-corrected and accelerated bootstrap intervals whose
level is that of Student's t: a plain bootstrap interval of few pairs is too short, since resampling divides by n and
knows no tails (the expanded interval of Hesterberg, American Statistician 69, 2015).
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, stdtrit

from gradprism.stats.bootstrap import Resampled, bca_interval
from gradprism.stats.missing import blocks

FEWEST_PAIRS = 5
"""With fewer no interval of resampled pairs can hold 95%: all of them may lie on one side with a chance of 1 in 8."""

_Features = Float[np.ndarray, " features"]


def paired_interval(
    *means: Resampled, n: Float[np.ndarray, " features"] | int, statistic: Callable[..., np.ndarray] | None = None
) -> tuple[_Features, _Features]:
    """Return the ends of the 95% interval of a mean over n pairs, or of a statistic of such means.

    `statistic` as in `bca_interval`. NaN for fewer than `FEWEST_PAIRS` pairs.
    """
    pairs = np.maximum(np.asarray(n, dtype=np.float64), 2.0)
    reach = stdtrit(pairs - 1, 0.975) * np.sqrt(pairs / (pairs - 1))
    low, high = bca_interval(*means, statistic=statistic, confidence=1 - 2 * ndtr(-reach))
    few = np.asarray(n) < FEWEST_PAIRS
    return np.where(few, np.nan, low), np.where(few, np.nan, high)


def exchange_p(
    first: Float[np.ndarray, "pairs features"],
    second: Float[np.ndarray, "pairs features"],
    statistic: Callable[[np.ndarray], np.ndarray],
    resamples: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, " statistics"]:
    """Test for no difference of a statistic of two mean curves, by exchanging first and second of random pairs.

    `statistic` maps means (..., features) to (..., statistics); the test is of the absolute difference, two-sided, and
    exact where a pair could as well have come the other way around. All values are finite. NaN for fewer than two
    pairs.
    """
    if len(first) < 2:
        return np.full(statistic(np.zeros(first.shape[1])).shape, np.nan)
    middle, half = (first + second).mean(axis=0) / 2, (first - second) / 2 / len(first)

    def difference(signs: np.ndarray) -> np.ndarray:
        shift = signs @ half  # (sets, pairs) @ (pairs, features)
        return np.asarray(np.abs(statistic(middle + shift) - statistic(middle - shift)))

    observed = difference(np.ones((1, len(first))))[0]
    threshold = observed * (1 - 1e-9) - 1e-12 * np.abs(statistic(middle))
    extreme = np.ones_like(observed)
    for start, stop in blocks(resamples, max(first.shape)):
        signs = 2.0 * rng.integers(0, 2, (stop - start, len(first)), dtype=np.int8) - 1.0
        extreme += (difference(signs) >= threshold).sum(axis=0)
    return np.asarray(extreme / (resamples + 1))
