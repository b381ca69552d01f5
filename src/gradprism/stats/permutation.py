"""Permutation tests of many features at once: the same relabellings for all, p two-sided.

The difference of means is studentised (Welch), so that the test keeps its level where the groups differ in variance
and size but not in mean: Janssen, Statistics & Probability Letters 36 (1997); Chung & Romano, Annals of Statistics 41
(2013). p counts the observed labelling among the permuted ones: Phipson & Smyth, SAGMB 9 (2010).
"""

import numpy as np
from jaxtyping import Float

from gradprism.stats.missing import blocks, count_present, shift

_TIE = 1e-9  # relative: closer than this two statistics are equal but for rounding


def permutation_p(
    first: Float[np.ndarray, "n_first features"],
    second: Float[np.ndarray, "n_second features"],
    resamples: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, " features"]:
    """Test for no difference of means: two-sided p, (1 + relabellings at least as extreme) / (1 + relabellings).

    Missing values are permuted with the rest; relabellings that leave a group fewer than two values of a feature are
    left out for that feature, which keeps the test exact. 1 for a constant feature, NaN where a group has fewer than
    two finite values.
    """
    n, n_first = len(first) + len(second), len(first)
    shifted, present, _ = shift(np.concatenate([first, second]))
    shifted = np.where(present, shifted - shifted.sum(axis=0) / np.maximum(present.sum(axis=0), 1), 0.0)
    labels = np.zeros(n)
    labels[:n_first] = 1.0
    welch = _Welch(shifted, present)
    observed = welch.squared(labels[None])[0]
    threshold = observed * (1 - 2 * _TIE) - _TIE**2
    extreme, valid = np.ones_like(observed), np.ones_like(observed)
    for start, stop in blocks(resamples, max(n, shifted.shape[1])):
        permuted = rng.permuted(np.broadcast_to(labels, (stop - start, n)), axis=1)
        statistic = welch.squared(permuted)
        extreme += (statistic >= threshold).sum(axis=0)
        valid += (~np.isnan(statistic)).sum(axis=0)
    return np.where(np.isnan(observed), np.nan, extreme / valid)


def sign_flip_p(
    differences: Float[np.ndarray, "pairs features"], resamples: int, rng: np.random.Generator
) -> Float[np.ndarray, " features"]:
    """Test paired differences, symmetric about 0 if there is no effect, by flips of their signs: two-sided p.

    The statistic is the mean over its standard error. As flips leave the sum of squares as it is, that orders them
    as the absolute sum does, and that is compared. 1 where all differences are 0, NaN for fewer than two.
    """
    present = np.isfinite(differences)
    values = np.where(present, differences, 0.0)
    observed, rounding = np.abs(values.sum(axis=0)), 1e-12 * np.abs(values).sum(axis=0)
    threshold = observed * (1 - _TIE) - rounding
    extreme = np.ones_like(observed)
    for start, stop in blocks(resamples, max(values.shape)):
        signs = 2.0 * rng.integers(0, 2, (stop - start, len(values)), dtype=np.int8) - 1.0
        extreme += (np.abs(signs @ values) >= threshold).sum(axis=0)  # (block, pairs) @ (pairs, features)
    return np.where(present.sum(axis=0) < 2, np.nan, extreme / (resamples + 1))


class _Welch:
    """Welch's t under any labelling, of values (n, features) that are centred, and 0 where missing."""

    def __init__(self, values: np.ndarray, present: np.ndarray):
        """Compute the sums that every labelling shares."""
        self.values, self.squares, self.present = values, values**2, present
        self.total, self.power, self.counts = values.sum(axis=0), self.squares.sum(axis=0), present.sum(axis=0)

    def squared(self, labels: np.ndarray) -> Float[np.ndarray, "sets features"]:
        """Compute the square of t for each labelling (1: first group, 0: second).

        NaN where a group has fewer than two values, infinite where the groups differ and neither varies, 0 where
        nothing does.
        """
        sums, power = labels @ self.values, labels @ self.squares  # (sets, n) @ (n, features)
        counts = count_present(labels, self.present)
        rest = self.counts - counts
        with np.errstate(invalid="ignore", divide="ignore"):
            difference = sums / counts - (self.total - sums) / rest
            error = _squared_error(sums, power, counts) + _squared_error(self.total - sums, self.power - power, rest)
            error[error < 1e-13 * self.power / self.counts**2] = 0.0
            squared = difference**2
            statistic = np.where(squared <= 1e-24 * self.power / self.counts, 0.0, squared / error)
            return np.where((counts < 1.5) | (rest < 1.5), np.nan, statistic)


def _squared_error(sums: np.ndarray, squares: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(squares - sums**2 / counts, 0.0) / (counts * (counts - 1)))
