"""Spearman correlation of many features with others, raw or given further variables.

Ranks are midranks. Given other variables, both sides are the residuals of their ranks after a linear regression on the
ranks of those. The interval is Fisher's z with the standard error of Bonett & Wright, Psychometrika 65 (2000), one
degree of freedom less for each variable that is given.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri, stdtr
from scipy.stats import rankdata

from gradprism.stats.least_squares import ROUNDING, orthonormal
from gradprism.stats.missing import blocks, same_rows


@dataclass(frozen=True)
class Correlation:
    """Correlations, their intervals, two-sided p, and numbers of rows. Shape (features,) or (features, others)."""

    value: Float[np.ndarray, "..."]
    low: Float[np.ndarray, "..."]
    high: Float[np.ndarray, "..."]
    p: Float[np.ndarray, "..."]
    n: Int[np.ndarray, "..."]


def spearman(x: Float[np.ndarray, "n features"], y: Float[np.ndarray, "n ..."]) -> Correlation:
    """Correlate the ranks of each feature with those of y (n,), or with each of its columns (n, others).

    Each pair is taken on the rows where both are finite. NaN where one of them is constant there; the interval also
    below 4 rows, p below 3.
    """
    return partial_spearman(x, y, np.empty((len(x), 0)))


def partial_spearman(
    x: Float[np.ndarray, "n features"],
    y: Float[np.ndarray, "n ..."],
    given: Float[np.ndarray, "n controls"],
) -> Correlation:
    """Correlate as `spearman` does, given further variables, on the rows where those are finite too.

    NaN also where x or y is entirely explained by those variables, to rounding. Only what is linear in the ranks of
    `given` is taken out: of two groups that hardly overlap in it (medians 27 times apart)
    a correlation of about 0.1 stays although nothing else differs.
    """
    others = y[:, None] if y.ndim == 1 else y
    value, n = _correlated(x, others, given)
    shape = (x.shape[1], *y.shape[1:])
    value, n = value.reshape(shape), n.reshape(shape)
    effective = n - given.shape[1]
    return Correlation(value, *_interval(value, effective), _two_sided_p(value, effective), n)


def left_out_partial_spearman(
    x: Float[np.ndarray, "n features"], y: Float[np.ndarray, " n"], given: Float[np.ndarray, "n controls"]
) -> Float[np.ndarray, "n features"]:
    """Correlate each feature with y given `given` without each row in turn, on the n - 1 others.

    All values are finite. NaN as by `partial_spearman`.
    """
    n = len(y)
    found = np.full(x.shape, np.nan)
    if n - 1 <= given.shape[1] + 1:
        return found
    for start, stop in blocks(n, n * (given.shape[1] + 2)):
        left = np.arange(start, stop)
        controls = [_ranks_without(column, left) for column in given.T]
        basis = _orthonormal_sets(np.stack(controls, axis=2) if controls else np.empty((len(left), n, 0)))
        target = _residuals_of_sets(_ranks_without(y, left), basis)
        for feature in range(x.shape[1]):
            ranks = _residuals_of_sets(_ranks_without(x[:, feature], left), basis)
            found[left, feature] = np.einsum("sn,sn->s", ranks, target)
    return np.asarray(np.clip(found, -1.0, 1.0))


def _ranks_without(values: np.ndarray, left: np.ndarray) -> Float[np.ndarray, "sets n"]:
    """Compute midranks about their mean without each of the rows `left`, which has 0 itself."""
    n, out = len(values), values[left, None]
    ranks = rankdata(values) - (values > out) - (values == out) / 2 - n / 2
    ranks[np.arange(len(left)), left] = 0.0
    return np.asarray(ranks)


def _orthonormal_sets(controls: Float[np.ndarray, "sets n k"]) -> Float[np.ndarray, "sets n k"]:
    """Return orthonormal directions that the controls of each set span; 0 in place of those that are rounding."""
    vectors, sizes, _ = np.linalg.svd(controls, full_matrices=False)
    real = sizes > ROUNDING * sizes.max(axis=1, initial=0.0, keepdims=True)
    return np.asarray(vectors * real[:, None])


def _residuals_of_sets(ranks: Float[np.ndarray, "sets n"], basis: np.ndarray) -> Float[np.ndarray, "sets n"]:
    """Compute the part of each row outside the basis (sets, n, k), scaled to length 1; NaN where that is rounding."""
    size = np.linalg.norm(ranks, axis=1, keepdims=True)
    rest = ranks
    for _ in range(2):  # once more: what rounding left
        inside = np.einsum("snk,sn->sk", basis, rest)
        rest = rest - np.einsum("snk,sk->sn", basis, inside)
    left = np.linalg.norm(rest, axis=1, keepdims=True)
    return np.asarray(rest / np.where(left > ROUNDING * size, left, np.nan))


def _correlated(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlate each feature with each of the others: values and numbers of rows, (features, others) each."""
    value = np.full((x.shape[1], y.shape[1]), np.nan)
    n = np.zeros(value.shape, dtype=np.int64)
    usable = np.isfinite(given).all(axis=1)[:, None]
    for rows_of_y, others in same_rows(np.isfinite(y) & usable):
        for rows, features in same_rows(np.isfinite(x) & rows_of_y[:, None]):
            pairs = np.ix_(features, others)
            n[pairs] = rows.sum()
            if rows.sum() > given.shape[1] + 1:
                basis = orthonormal(midranks(given[rows]))
                left, right = (
                    _residuals(midranks(columns), basis)
                    for columns in (x[np.ix_(rows, features)], y[np.ix_(rows, others)])
                )
                value[pairs] = np.clip(left.T @ right, -1.0, 1.0)  # (features, n) @ (n, others)
    return value, n


def midranks(values: np.ndarray) -> np.ndarray:
    """Compute midranks of each column about their mean, which is the same without and with ties."""
    return np.asarray(rankdata(values.T, axis=1)).T - (len(values) + 1) / 2


def _residuals(ranks: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Compute the part of each column outside the basis, scaled to length 1; NaN where that is rounding."""
    size = np.linalg.norm(ranks, axis=0)
    rest = ranks - basis @ (basis.T @ ranks)
    rest = rest - basis @ (basis.T @ rest)  # once more: what rounding left
    left = np.linalg.norm(rest, axis=0)
    return np.asarray(rest / np.where(left > ROUNDING * size, left, np.nan))


def _interval(value: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95% intervals."""
    with np.errstate(invalid="ignore", divide="ignore"):
        reach = ndtri(0.975) * np.sqrt((1 + value**2 / 2) / np.where(n > 3, n - 3, np.nan))
        middle = np.arctanh(value)
        return np.tanh(middle - reach), np.tanh(middle + reach)


def _two_sided_p(value: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Compute the two-sided p by Student's t with n - 2 degrees of freedom."""
    freedom = np.where(n > 2, n - 2, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        p: np.ndarray = 2 * stdtr(freedom, -np.abs(value) * np.sqrt(freedom / ((1 - value) * (1 + value))))
    return p
