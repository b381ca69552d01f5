"""Entropy of the eigenvalues of a kernel, from those of its sketch.

Let K be the kernel of n unit vectors, K̂ that of their random projections to d coordinates, both divided by their
traces. K̂ is a sample covariance of K from d samples, so its eigenvalues are spread around those of K. With the degrees
of freedom df(κ) = tr K (K + κ)⁻¹, for large n and d

    df(κ) = tr K̂ (K̂ + λ)⁻¹   where   κ = λ / (1 - df(κ) / d)

(Marchenko & Pastur 1967 in the form of Silverstein & Bai, Journal of Multivariate Analysis 54, 1995; as the implicit
ridge of random features in Jacot et al., ICML 2020). And since t ln t = ∫₀^∞ (t/(1 + κ) - t/(t + κ)) dκ,

    -tr K ln K = ∫₀^∞ (df(κ) - 1/(1 + κ)) dκ.

So one set of eigenvalues and a sum over λ give the entropy before sketching. Where n < d all of df is seen. Where n ≥ d
it is seen above κ₀ = d / Σ 1/λ̂ only; below, it lies between d and n. There `value` takes the curve m t/(t + κ) with
m ≤ n that continues df in value and slope, and `lowest` takes d. benchmarks/diversity.py has both beside the truth.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_POINTS = 600
_FINEST, _COARSEST = 1e-4, 1e5  # of the smallest eigenvalue, and of their sum


@dataclass(frozen=True)
class SketchedEntropy:
    """Entropy of a kernel as its sketch tells it, and the least that it can be."""

    value: float
    lowest: float


def entropy_before_sketching(shares: Float[np.ndarray, " r"], n: int, dim: int) -> SketchedEntropy:
    """Estimate the entropy of the eigenvalues of a kernel of n vectors from those of a sketch to `dim` coordinates.

    `shares`: the eigenvalues above 0 of the sketch, as parts of their sum. The result is at most ln n, and no less
    than the entropy of the sketch. Its error is that of one random projection: see `error_of_sketching`.
    """
    shares = np.sort(shares)[-dim:]  # a kernel computed from n > d rows has more by rounding
    ridge = np.geomspace(_FINEST * shares.min(), _COARSEST, _POINTS)[:, None]
    kept = (shares / (shares + ridge)).sum(axis=1)  # df: (points, r) -> (points,)
    lost = (dim - len(shares) + (ridge / (shares + ridge)).sum(axis=1)) / dim  # 1 - df / d, without cancellation
    kappa = ridge[:, 0] / lost
    seen = float(np.trapezoid((kept - 1 / (1 + kappa)) * kappa, np.log(kappa)))
    first, ends = float(kappa[0]), _ends(kept, kappa, n)
    value, lowest = (min(seen + end - np.log1p(first), np.log(n)) for end in ends)
    sketched = float(-(shares * np.log(shares)).sum())
    return SketchedEntropy(max(float(value), sketched), max(float(lowest), sketched))


def _ends(kept: np.ndarray, kappa: np.ndarray, n: int) -> tuple[float, float]:
    """Integrate df from 0 to the first point: continued by its value and slope, and at the least."""
    df, first = float(kept[0]), float(kappa[0])
    least = df * first
    slope = float((kept[0] - kept[1]) / (kappa[1] - kappa[0]))
    if slope <= 0 or n <= df:
        return least, least
    most = df**2 / (df - slope * first) if slope * first < df else float(n)  # m, from value and slope at κ₀
    most = min(most, float(n))
    if most <= df * (1 + 1e-9):
        return least, least
    scale = first * df / (most - df)  # t, so that m t/(t + κ₀) = df
    return most * scale * float(np.log1p(first / scale)), least


def error_of_sketching(shares: Float[np.ndarray, " r"], dim: int) -> float:
    """Estimate the standard deviation of the entropy over random projections to `dim` coordinates, to first order.

    An eigenvalue p of a kernel divided by its trace has the variance 2p²/d in a sketch, so with the entropy h that of
    -Σ p ln p is 2/d Σ p² (ln p + h)².
    """
    surprise = np.log(shares)
    surprise -= (shares * surprise).sum()
    return float(np.sqrt(2 / dim * (shares**2 * surprise**2).sum()))
