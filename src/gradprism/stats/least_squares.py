"""Ordinary least squares on a design with a constant, and means of groups adjusted for covariates.

The length control of `show --by` and of `compare` is one regression: the log measure on group, log prompt tokens and
log response tokens. `adjusted_means` gives the level of each group from it, `regression.group_effect` the difference of
two groups with its error. This module needs no scipy.
"""

import numpy as np
from jaxtyping import Bool, Float

CONSTANT = 1e-9
"""A range of log lengths below this is rounding, as of windows of equally many tokens."""
ROUNDING = 1e-10  # of the norm of a variable: a residual below this is nothing


def log_lengths(tokens: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Return log prompt and log response tokens, the covariates of every length control; NaN where not known."""
    return np.asarray(np.log(tokens.clip(min=1.0)))


def varies(lengths: Float[np.ndarray, "n lengths"]) -> Bool[np.ndarray, " lengths"]:
    """Mask the log lengths that vary by more than rounding. One that is not known (NaN) counts as varying."""
    spread = lengths.max(axis=0, initial=-np.inf) - lengths.min(axis=0, initial=np.inf)
    return np.asarray(~(spread <= CONSTANT))


def solving_matrix(design: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "k n"] | None:
    """Return the pseudo-inverse of a design whose first column is constant, so that coefficients are its product.

    None where the coefficients are not unique: no more rows than columns, or columns that are linearly dependent once
    centred (within 1e-9 of their own size).
    """
    n, k = design.shape
    if n <= k:
        return None
    centred = design - np.where(np.arange(k) == 0, 0.0, design.mean(axis=0))
    size = np.linalg.norm(centred, axis=0)
    rounding = n * np.finfo(np.float64).eps * np.linalg.norm(design, axis=0)
    if (size <= rounding).any() or np.linalg.matrix_rank(centred / size, tol=1e-9) < k:
        return None
    return np.asarray(np.linalg.pinv(design / size) / size[:, None])


def orthonormal(columns: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n directions"]:
    """Return orthonormal directions that the columns span, without those that are rounding."""
    vectors, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return vectors[:, sizes > ROUNDING * sizes.max(initial=0.0)] if sizes.size else vectors


def adjusted_means(
    values: Float[np.ndarray, " n"],
    membership: Bool[np.ndarray, "n groups"],
    covariates: Float[np.ndarray, "n covariates"],
) -> Float[np.ndarray, " groups"]:
    """Compute the mean of each group at the mean covariates of all rows (analysis of covariance).

    Every row is in one group. All means are NaN where a covariate is not finite, and where groups and covariates cannot
    be told apart, such as a group without rows.
    """
    groups = membership.shape[1]
    design = np.column_stack([np.ones(len(values)), membership[:, 1:], covariates])  # effects against the first group
    solve = solving_matrix(design) if np.isfinite(covariates).all() else None
    if solve is None:
        return np.full(groups, np.nan)
    coefficients = solve @ values  # (k, n) @ (n,)
    first = coefficients[0] + covariates.mean(axis=0) @ coefficients[groups:]
    return np.asarray(first + np.concatenate([[0.0], coefficients[1:groups]]))
