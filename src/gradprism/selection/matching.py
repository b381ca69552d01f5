"""Two groups matched in length: the rows that pair, and the caliper that keeps rows where few do."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence

import numpy as np

from gradprism.core.errors import GradPrismError
from gradprism.stats.length_match import length_pairs, overlap_in_length
from gradprism.stats.ranking import Indices

Sides = Sequence[tuple[Indices, Indices]]
"""Rows of `high` and of `low` in each stratum, those first that are to be kept of rows of one length."""

_HUNDREDTHS = range(1, 101)  # the calipers to try


def matched_rows(sides: Sides, lengths: np.ndarray, caliper: float) -> tuple[Indices, Indices]:
    """Return the rows of `high` and of `low` that pair in length within their stratum, as many of one as of the other.

    `lengths` are those of every candidate.
    """
    found = [
        (high[pairs[0]], low[pairs[1]])
        for high, low in sides
        for pairs in [length_pairs(lengths[high], lengths[low], math.log1p(caliper))]
    ]
    none = np.array([], dtype=np.int64)
    return np.concatenate([none, *(high for high, _ in found)]), np.concatenate([none, *(low for _, low in found)])


def refuse_empty_match(sides: Sides, lengths: np.ndarray, unit: str, caliper: float) -> None:
    """Raise `GradPrismError` that says why no row has a partner, and which caliper would keep rows."""
    high, low = _sizes(sides)
    if not high or not low:
        raise GradPrismError(
            f"--match-length: {high:,} rows in high and {low:,} in low are left to pair. Expected rows in both; "
            "--where, --tokens and missing values take rows away before."
        )
    medians = " and ".join(f"{np.median(lengths[np.concatenate(side)]):,.0f}" for side in zip(*sides, strict=True))
    raise GradPrismError(
        f"--match-length leaves no row: no length in high is within {caliper:.0%} of one in low (median {medians} "
        f"{unit}). {caliper_hint(sides, lengths) or 'No caliper up to 1 keeps a row'}. --given length ranks by what "
        "is left after length instead."
    )


def lacks_support(sides: Sides, pairs: int) -> bool:
    """Return whether so few rows pair that the groups have no common support in length."""
    return not overlap_in_length(pairs, *_sizes(sides))


def caliper_hint(sides: Sides, lengths: np.ndarray) -> str | None:
    """Name the smallest caliper, in hundredths, at which the groups have common support in length, or else any row.

    None where not even a caliper of 1, lengths that differ by a factor of 2, pairs any.
    """

    def pairs(hundredths: int) -> int:
        return len(matched_rows(sides, lengths, hundredths / 100)[0])

    def smallest(is_enough: Callable[[int], bool]) -> int | None:
        place = bisect_left(_HUNDREDTHS, True, key=lambda hundredths: is_enough(pairs(hundredths)))
        return _HUNDREDTHS[place] if place < len(_HUNDREDTHS) else None

    found = smallest(lambda n: not lacks_support(sides, n)) or smallest(bool)
    return None if found is None else f"--caliper {found / 100:g} keeps {_counted(pairs(found))} in each group"


def _counted(rows: int) -> str:
    return f"{rows:,} row" + "s" * (rows != 1)


def _sizes(sides: Sides) -> tuple[int, int]:
    return sum(len(high) for high, _ in sides), sum(len(low) for _, low in sides)
