"""Bootstrap of means over examples, the same resamples for all features: bias-corrected, accelerated intervals.

Efron, "Better bootstrap confidence intervals", JASA 82 (1987); with several samples the acceleration is that of
`scipy.stats.bootstrap` (Efron & Tibshirani, "An introduction to the bootstrap", 1993, eq. 15.36). A statistic of the
means of several features, such as one of a curve over layers, is bootstrapped by the same resamples.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from gradprism.stats.missing import blocks, count_present, shift

_MOST_MISSING = 0.1  # of the resamples: where more have no value, the rest are no fair sample of them
_TIE = 1e-10  # of the range of all resamples: closer than this they are equal but for rounding


@dataclass(frozen=True)
class Resampled:
    """Means of each feature over a group of examples: as observed, resampled, and without each example."""

    observed: Float[np.ndarray, " features"]
    resamples: Float[np.ndarray, "resamples features"]
    left_out: Float[np.ndarray, "n features"]

    def map(self, f: Callable[[np.ndarray], np.ndarray]) -> "Resampled":
        """Apply a function (..., features) -> (..., statistics) to the means, observed, resampled and left out."""
        return Resampled(f(self.observed), f(self.resamples), f(self.left_out))

    @classmethod
    def joined(cls, *parts: "Resampled") -> "Resampled":
        """Put features of the same examples, resampled by the same draws, beside each other."""
        pairs = zip(*((part.observed, part.resamples, part.left_out) for part in parts), strict=True)
        return cls(*(np.concatenate(each, axis=-1) for each in pairs))


def resample_means(values: Float[np.ndarray, "n features"], resamples: int, rng: np.random.Generator) -> Resampled:
    """Average the finite values of n examples, of n drawn with replacement (`resamples` times), and of n - 1.

    The draws are those of `scipy.stats.bootstrap` with the same generator. A resample without a finite value of a
    feature is NaN there; to leave out an example without a value changes nothing.
    """
    n, features = values.shape
    shifted, present, origin = shift(values)
    means = np.full((resamples, features), np.nan)
    counts, total = present.sum(axis=0), shifted.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        for start, stop in blocks(resamples if n else 0, max(n, features)):
            weights = _count_draws(rng.integers(0, n, (stop - start, n)))
            means[start:stop] = weights @ shifted / count_present(weights, present)  # (block, n) @ (n, features)
        means += origin
        mean = total / counts
        left_out = np.where(present, (total - shifted) / (counts - 1), mean)
        return Resampled(origin + mean, means, origin + left_out)


def times_drawn(n: int, resamples: int, rng: np.random.Generator) -> Float[np.ndarray, "resamples n"]:
    """Count how often each of n examples is drawn when n are drawn with replacement, `resamples` times."""
    return _count_draws(rng.integers(0, n, (resamples, n))) if n else np.empty((resamples, 0))


def percentile_interval(
    resamples: Float[np.ndarray, "resamples statistics"],
) -> tuple[Float[np.ndarray, " statistics"], Float[np.ndarray, " statistics"]]:
    """Return the low and high end of the middle 95% of the resampled values.

    For statistics that jump, such as quantiles, for which the jackknife within BCa is no estimate (Efron & Tibshirani
    1993, section 11.6). NaN where more than a tenth of the resamples have no value.
    """
    ordered = np.sort(resamples, axis=0)  # NaN last
    missing = np.isnan(resamples).sum(axis=0) > _MOST_MISSING * len(resamples)
    low, high = (_quantile(ordered, np.where(missing, np.nan, tail)) for tail in (0.025, 0.975))
    return low, high


def bca_interval(
    *groups: Resampled,
    statistic: Callable[..., np.ndarray] | None = None,
    confidence: float | Float[np.ndarray, " statistics"] = 0.95,
) -> tuple[Float[np.ndarray, " statistics"], Float[np.ndarray, " statistics"]]:
    """Return the low and high end of the interval of `statistic(means of group 1, means of group 2, ...)`.

    Without a statistic that is the mean of one group, or the difference first - second of two. Where nothing varies
    both ends are the value itself (scipy: NaN). NaN where a mean has fewer than two finite values, and where every
    resample lies on one side of the observed value: then no bias correction exists, as in scipy.
    """
    compute: Callable[..., Any] = statistic or _mean_or_difference
    observed = compute(*(group.observed for group in groups))
    resamples = np.sort(compute(*(group.resamples for group in groups)), axis=0)  # NaN last
    tail = ndtri((1 - confidence) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        bias = ndtri(_share_below(resamples, observed))
        acceleration = _acceleration(compute, groups)
        shifts = [bias + tail, bias - tail]
        low, high = (ndtr(bias + shift / (1 - acceleration * shift)) for shift in shifts)
    return _quantile(resamples, low), _quantile(resamples, high)


def _mean_or_difference(first: np.ndarray, second: np.ndarray | None = None) -> np.ndarray:
    return first if second is None else first - second


def _count_draws(draws: np.ndarray) -> Float[np.ndarray, "block n"]:
    block, n = draws.shape
    flat = (draws + n * np.arange(block)[:, None]).ravel()
    return np.bincount(flat, minlength=block * n).reshape(block, n).astype(np.float64)


def _share_below(resamples: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Compute the share of resamples (sorted, NaN last) below the observed value, and half of those equal to it."""
    valid = (~np.isnan(resamples)).sum(axis=0)
    last = np.take_along_axis(resamples, np.maximum(valid - 1, 0)[None], axis=0)[0]
    tie = _TIE * (last - resamples[0])
    below = (resamples < observed - tie).sum(axis=0) + (resamples <= observed + tie).sum(axis=0)
    return np.where(valid > 0, below / (2 * valid), np.nan)


def _acceleration(compute: Callable[..., Any], groups: tuple[Resampled, ...]) -> np.ndarray:
    """Compute the skewness of the influence of one example, from the values with each left out; 0 for a constant."""
    cubes: Any = 0.0
    squares: Any = 0.0
    for index, group in enumerate(groups):
        means = [other.observed for other in groups]
        means[index] = group.left_out
        left_out = compute(*means)  # (n, statistics)
        n = len(left_out)
        influence = (left_out.mean(axis=0) - left_out) * (n - 1) / n if n else np.full((1, 1), np.nan)
        cubes, squares = cubes + (influence**3).sum(axis=0), squares + (influence**2).sum(axis=0)
    return np.where(squares == 0, 0.0, cubes / (6 * squares**1.5))


def _quantile(ordered: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Compute the quantile of each column (sorted, NaN last) at its own level, interpolated linearly."""
    last = np.maximum((~np.isnan(ordered)).sum(axis=0) - 1, 0)
    position = np.nan_to_num(level) * last
    below = np.floor(position).astype(np.int64)
    ends = [np.take_along_axis(ordered, index[None], axis=0)[0] for index in (below, np.minimum(below + 1, last))]
    return np.where(np.isnan(level), np.nan, ends[0] + (position - below) * (ends[1] - ends[0]))
