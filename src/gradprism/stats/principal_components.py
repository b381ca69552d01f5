"""The directions in which rows differ most, from the smaller of their two matrices of products."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_ROWS_AT_ONCE = 2048


@dataclass(frozen=True)
class PrincipalComponents:
    """The first principal components of some rows: unit axes, and the share of the variance along each."""

    mean: Float[np.ndarray, " d"]
    axes: Float[np.ndarray, "d k"]
    shares: Float[np.ndarray, " k"]

    def coordinates(self, rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """Return the coordinates of any rows along the axes, in fp64."""
        parts = [(part - self.mean) @ self.axes for part in _parts(rows)]
        return np.concatenate([*parts, np.empty((0, self.axes.shape[1]))])


def principal_components(rows: Float[np.ndarray, "n d"], k: int = 2) -> PrincipalComponents:
    """Return the first `k` principal components of rows, in fp64; fewer rows or columns than `k` leave axes of zeros.

    The coordinate of the largest size along each axis is positive, so that the signs do not depend on the solver. Of d
    columns and n rows the smaller matrix is solved, (d, d) or (n, n); no copy of more rows than d is made.
    """
    n, d = rows.shape
    mean = rows.sum(axis=0, dtype=np.float64) / max(n, 1)
    if n > d:
        products = np.zeros((d, d))
        for part in _parts(rows):
            products += (part - mean).T @ (part - mean)  # (d, rows) @ (rows, d)
        values, axes = _leading(products, k)
    else:
        centred = rows.astype(np.float64) - mean
        products = centred @ centred.T  # (n, d) @ (d, n)
        values, vectors = _leading(products, k)
        axes = centred.T @ (vectors / np.sqrt(np.where(values > 0, values, 1.0)))
    total = float(np.trace(products))
    there = values > 1e-12 * total
    axes, shares = np.where(there, axes, 0.0), np.where(there, values, 0.0) / (total or 1.0)
    found = PrincipalComponents(mean, axes, shares)
    return PrincipalComponents(mean, axes * _signs(found.coordinates(rows)), shares)


def _parts(rows: Float[np.ndarray, "n d"]) -> Iterator[Float[np.ndarray, "m d"]]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE].astype(np.float64)


def _leading(products: Float[np.ndarray, "m m"], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` largest eigenvalues and their vectors, zeros where there are fewer."""
    from scipy.linalg import eigh

    m = len(products)
    values, vectors = np.zeros(k), np.zeros((m, k))
    if m:
        found, of = eigh(products, subset_by_index=[max(m - k, 0), m - 1])
        values[: len(found)], vectors[:, : len(found)] = np.maximum(found[::-1], 0), of[:, ::-1]
    return values, vectors


def _signs(coordinates: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    if not len(coordinates):
        return np.ones(coordinates.shape[1])
    largest = np.abs(coordinates).argmax(axis=0)
    return np.where(coordinates[largest, np.arange(coordinates.shape[1])] < 0, -1.0, 1.0)
