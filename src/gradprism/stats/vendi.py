"""Vendi score of a set of vectors: how many vectors that share nothing are as diverse as these.

Friedman & Dieng, "The Vendi score: a diversity evaluation metric for machine learning", TMLR 2023: exp of the entropy
of the eigenvalues of K/n, where K holds the cosines of n vectors. It is 1 for copies of one vector, n for orthogonal
ones, and the number of groups where rows are copies within equal groups. The eigenvalues come from the smaller of
X Xᵀ (n, n) and Xᵀ X (d, d), which share those above 0.

Inner products of *sketches* (random projections to `d` coordinates) are noisy cosines. Noise spreads the eigenvalues,
and no more than d of them are above 0, so that the score of sketches is too low: at half of d vectors that share
nothing by a fifth. `log_vendi(..., sketched=True)` takes that out, see `gradprism.stats.sketch_noise`.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from gradprism.stats.sketch_noise import entropy_before_sketching

BLOCK = 4096
"""Rows that are read and multiplied at a time."""
MOST_DIM = 1024
"""Coordinates of sketches that are enough for scores of many subsets: the correction takes care of the rest."""

_LARGE = 256
_NOTHING = 1e-8  # of the sum of the eigenvalues: what is below this is rounding of fp32 products


def unit_rows(
    values: Float[np.ndarray, "n d"], rows: Int[np.ndarray, " m"] | None = None, dim: int | None = None
) -> Iterator[Float[np.ndarray, "block d"]]:
    """Yield rows divided by their norms, in blocks of fp32, of the first `dim` coordinates. A row of zeros is an error.

    `values` may be mapped from a file: no more than a block of it is read at a time.
    """
    n = len(values) if rows is None else len(rows)
    for start in range(0, n, BLOCK):
        chosen = slice(start, start + BLOCK) if rows is None else rows[start : start + BLOCK]
        block = np.asarray(values[chosen, :dim], dtype=np.float32)
        norms = np.linalg.norm(block, axis=1, keepdims=True)
        if not (norms > 0).all():
            raise ValueError("a row is zero or not finite: it has no direction")
        yield np.divide(block, norms)


def gram_matrix(
    values: Float[np.ndarray, "n d"], rows: Int[np.ndarray, " m"] | None = None, dim: int | None = None
) -> Float[np.ndarray, "k k"]:
    """Compute the smaller of X Xᵀ and Xᵀ X of unit rows X, k = min(m, d)."""
    m = len(values) if rows is None else len(rows)
    d = values.shape[1] if dim is None else min(dim, values.shape[1])
    if m <= d:
        unit = np.concatenate([np.empty((0, d), dtype=np.float32), *unit_rows(values, rows, dim)])
        return np.asarray(unit @ unit.T, dtype=np.float64)  # (m, d) @ (d, m)
    gram = np.zeros((d, d))
    for unit in unit_rows(values, rows, dim):
        gram += unit.T @ unit  # (d, block) @ (block, d): numpy computes half of it
    return gram


def eigenvalue_shares(gram: Float[np.ndarray, "k k"]) -> Float[np.ndarray, " r"]:
    """Return the eigenvalues above 0, ascending, as parts of their sum."""
    return shares_of(np.linalg.eigvalsh(gram).astype(np.float64))


def shares_of(eigenvalues: Float[np.ndarray, " k"]) -> Float[np.ndarray, " r"]:
    """Return the eigenvalues that are no rounding as parts of their sum."""
    kept = eigenvalues[eigenvalues > _NOTHING * eigenvalues.sum()]
    return np.asarray(kept / kept.sum())


def entropy(shares: Float[np.ndarray, " r"]) -> float:
    """Compute -Σ p ln p."""
    return float(-(shares * np.log(shares)).sum())


def log_vendi(
    values: Float[np.ndarray, "n d"],
    rows: Int[np.ndarray, " m"] | None = None,
    *,
    sketched: bool = False,
    dim: int | None = None,
) -> float:
    """Compute the log of the Vendi score of some rows; with `sketched` that of the vectors before they were sketched.

    `dim`: use the first coordinates alone. Values and `rows` must not be empty.
    """
    m = len(values) if rows is None else len(rows)
    if not m:
        raise ValueError("no rows have no diversity")
    return log_vendi_of(gram_matrix(values, rows, dim), m, _dim(values, dim) if sketched else None)


def log_vendi_of(gram: Float[np.ndarray, "k k"], n: int, dim: int | None = None) -> float:
    """Compute the log of the Vendi score of n unit vectors from their Gram matrix; of sketches where `dim` is given.

    The eigenvalues of a large matrix are computed in fp32, as its products are: their error is 1e-7 of the largest.
    """
    shares = eigenvalue_shares(gram if len(gram) < _LARGE else gram.astype(np.float32))
    return entropy(shares) if dim is None else entropy_before_sketching(shares, n, dim).value


def _dim(values: np.ndarray, dim: int | None) -> int:
    return int(values.shape[1]) if dim is None else min(dim, int(values.shape[1]))
