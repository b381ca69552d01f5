"""The pairs of rows that are most alike, of all pairs, by blocks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_ROWS_AT_ONCE = 1024
_DIGITS = 4  # of a cosine: rows of fp32 that are equal are not to differ


@dataclass(frozen=True)
class SimilarPairs:
    """Pairs of rows in the order of their cosines, and how many of all pairs are above a threshold."""

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    cosines: Float[np.ndarray, " pairs"]
    n_above: int


def most_similar_pairs(
    units: Float[np.ndarray, "n d"], above: float = 0.9, most: int = 50, least: int = 5
) -> SimilarPairs:
    """Return the pairs of unit rows whose cosine is over `above`, at most `most`, and no fewer than `least`.

    All n (n - 1) / 2 pairs are compared. Cosines are rounded to four digits; equal ones stand in the order of the rows.
    """
    kept: np.ndarray = np.empty((0, 2), dtype=np.int64)
    cosines, n_above = np.empty(0), 0
    for start in range(0, len(units), _ROWS_AT_ONCE):
        block = units[start : start + _ROWS_AT_ONCE] @ units[start:].T  # (rows, d) @ (d, rest)
        block[np.tri(*block.shape, dtype=np.bool_)] = -np.inf  # itself, and pairs that were seen the other way round
        n_above += int(np.count_nonzero(block > above))
        floor = cosines[-1] - 10.0**-_DIGITS if len(cosines) == most else -np.inf
        found = _largest(block, floor, most)
        pairs = np.stack(np.unravel_index(found, block.shape), axis=1) + start
        values = block.ravel()[found].astype(np.float64).round(_DIGITS)
        kept, cosines = np.concatenate([kept, pairs]), np.concatenate([cosines, values])
        order = np.lexsort((kept[:, 1], kept[:, 0], -cosines))[:most]
        kept, cosines = kept[order], cosines[order]
    n = max(int(np.count_nonzero(cosines > above)), least)
    return SimilarPairs(kept[:n, 0], kept[:n, 1], cosines[:n], n_above)


def _largest(block: Float[np.ndarray, "rows rest"], floor: float, most: int) -> Int[np.ndarray, " found"]:
    """Return the places in the flat block of its largest values over `floor`, at most `most`."""
    found = np.flatnonzero(block > floor)
    if len(found) > most:
        found = found[np.argpartition(-block.ravel()[found], most)[:most]]
    return found
