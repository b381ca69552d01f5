"""Missing values in a matrix of examples by features: every value that is not finite counts as missing."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float


def shift(
    values: Float[np.ndarray, "n features"],
) -> tuple[Float[np.ndarray, "n features"], Bool[np.ndarray, "n features"], Float[np.ndarray, " features"]]:
    """Subtract the first present value of each feature: return the rest (0 where missing), a mask, and that origin.

    So sums are products with the shifted values, a constant feature is exactly 0 in all of them, and little is lost
    to cancellation where the spread is far below the mean. The origin is NaN where a feature has no value at all.
    """
    present = np.isfinite(values)
    if not len(values):
        return values, present, np.full(values.shape[1], np.nan)
    first = present.argmax(axis=0)
    origin = np.where(present.any(axis=0), values[first, np.arange(values.shape[1])], np.nan)
    return np.where(present, values - origin, 0.0), present, origin


def mean_present(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Average the present values over one axis; NaN where there is none."""
    present = np.isfinite(values)
    n = present.sum(axis=axis)
    total = np.where(present, values, 0.0).sum(axis=axis)
    return np.asarray(np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0))


def count_present(
    weights: Float[np.ndarray, "sets n"], present: Bool[np.ndarray, "n features"]
) -> Float[np.ndarray, "sets features_or_one"]:
    """Count the present values in each weighted set; one column for all features where nothing is missing."""
    if present.all():
        return np.asarray(weights.sum(axis=1, keepdims=True))
    counts = np.repeat(weights.sum(axis=1, keepdims=True), present.shape[1], axis=1)
    partly = ~present.all(axis=0)
    counts[:, partly] = weights @ present[:, partly].astype(np.float64)  # (sets, n) @ (n, features with gaps)
    return counts


def same_rows(
    present: Bool[np.ndarray, "n features"],
) -> Iterator[tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " features"]]]:
    """Yield each distinct mask of present rows with the mask of the features that have exactly those rows."""
    packed = np.packbits(present, axis=0).T  # (features, n / 8)
    _, first, which = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    for index, feature in enumerate(first):
        yield present[:, feature], which.ravel() == index


def blocks(total: int, width: int) -> Iterator[tuple[int, int]]:
    """Cut `total` sets into blocks (start, stop): of 16 MiB when each set is `width` wide, yet of at least 800 sets.

    Small blocks stay in the cache; with fewer sets a product takes longer to pack its matrix than to multiply.
    """
    step = max(800, 2**21 // max(1, width))
    for start in range(0, total, step):
        yield start, min(start + step, total)
