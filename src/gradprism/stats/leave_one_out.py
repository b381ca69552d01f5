"""Compute what each row adds to the Vendi score of a set: the score with all rows, less the score without it.

Exact for every row from one eigendecomposition. Let M = Xᵀ X = U diag(μ) Uᵀ of n unit rows; without row x it is
M - x xᵀ. From det(M + s - x xᵀ) = det(M + s) (1 - r(s)), r(s) = xᵀ (M + s)⁻¹ x = Σ (u_k·x)² / (μ_k + s), and from
t ln t = ∫₀^∞ (t/(1 + s) - 1 + s/(t + s)) ds, by parts

    tr g(M - x xᵀ) - tr g(M) = ∫₀^∞ (-ln(1 - r(s)) - 1/(1 + s)) ds - 1,    g(t) = t ln t

so that one more product, of (u_k·x)² with the weights of a sum over s, gives all rows. The log of the score is
ln n - tr g(M) / n, and without the row ln(n - 1) - tr g(M - x xᵀ) / (n - 1).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradprism.stats.vendi import MOST_DIM, gram_matrix, shares_of, unit_rows

_POINTS = 192
_FINEST, _COARSEST = 1e-6, 1e5  # of the smallest eigenvalue above 0, and of the number of rows
_LEAST = 1e-7  # of 1 - r, which rounding could make 0 or less


@dataclass(frozen=True)
class LeaveOneOut:
    """The eigenvalues of a set as parts of their sum, and the log of its Vendi score less that without each row."""

    shares: Float[np.ndarray, " r"]
    losses: Float[np.ndarray, " n"]


def leave_one_out(values: Float[np.ndarray, "n d"]) -> LeaveOneOut:
    """Compute how much the log of the Vendi score falls without each row; less than 0 where it rises.

    A row that shares nothing with others adds about 1 to the score, a copy of one of many takes a little away.
    Sketches are taken as they are: noise lowers all scores alike. NaN for a set of one row.
    """
    n, d = values.shape
    gram = gram_matrix(values)
    eigenvalues, vectors = np.linalg.eigh(gram if len(gram) <= MOST_DIM else gram.astype(np.float32))
    eigenvalues = eigenvalues.astype(np.float64)
    shares = shares_of(eigenvalues)
    r = len(shares)
    above = eigenvalues[-r:]
    s = np.geomspace(_FINEST * above[0], _COARSEST * n, _POINTS)
    resolvent = (1 / (above[:, None] + s)).astype(np.float32)  # (r, points)
    if n <= d:  # u_k·x_i = sqrt(μ_k) V_ik of the kernel's eigenvectors
        squares = iter([(vectors[:, -r:] ** 2 * above).astype(np.float32)])
    else:
        basis = vectors[:, -r:].astype(np.float32)
        squares = ((unit @ basis) ** 2 for unit in unit_rows(values))  # (block, d) @ (d, r)
    changes = np.concatenate([_change(square @ resolvent, s) for square in squares])  # (block, r) @ (r, points)
    return LeaveOneOut(shares, _loss_of_log(float((above * np.log(above)).sum()), changes, n))


def _change(r: Float[np.ndarray, "block points"], s: Float[np.ndarray, " points"]) -> Float[np.ndarray, " block"]:
    """Integrate over s what the trace of g changes by without each row."""
    integrand = -np.log(np.maximum(1 - r.astype(np.float64), _LEAST)) - 1 / (1 + s)
    first = integrand[:, 0] * s[0]  # below the first point
    return np.asarray(np.trapezoid(integrand * s, np.log(s), axis=1) + first - 1)


def _loss_of_log(trace: float, changes: Float[np.ndarray, " n"], n: int) -> Float[np.ndarray, " n"]:
    """Subtract the log of the score without each row from that with it."""
    if n < 2:
        return np.full(n, np.nan)
    return np.asarray(np.log(n) - np.log(n - 1) - trace / n + (trace + changes) / (n - 1))
