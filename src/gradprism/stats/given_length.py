"""Rank by what is left of a variable once length is taken out: the place of each row among rows of like length.

First the regression of the log (of ranks, where a value is not above 0) on a cubic in the log lengths, in units of the
spread at such lengths: short responses vary most, and would be at both ends of any ranking. Then, so that skew leaves
no rank correlation either, regressions of the ranks of what is left. This module needs no scipy.
"""

import numpy as np
import polars as pl
from jaxtyping import Float

from gradprism.stats.least_squares import ROUNDING, log_lengths, orthonormal, varies

FEWEST_ROWS = 10
"""Fewer rows than these say nothing of how a variable goes with two lengths."""
CUBIC_FROM = 50
"""From this many rows on the regression is cubic in each length; it is linear below."""
RANK_PASSES = 3
"""Times that the ranks of what is left are regressed on the ranks of the lengths."""

_LEAST_SPREAD = 0.25  # of the mean: where a fitted spread would be smaller, or below 0


def place_given_length(
    values: Float[np.ndarray, " n"], tokens: Float[np.ndarray, "n lengths"]
) -> Float[np.ndarray, " n"]:
    """Compute the place of each row, 0 (lowest) to 1 (highest), by what is left of the values given their lengths.

    y = log(values) where all are above 0, else their midranks; x = the log lengths. e = y - its least-squares fit on 1
    and x, x², x³ of each length, over the fit of |e| on the same (no less than a quarter of the mean of |e|). Then,
    `RANK_PASSES` times, the same of rank(e) on the ranks of the lengths. Rows of equal value and lengths have equal
    places, and the order of the rows does not matter. NaN where the lengths explain the values entirely. All arguments
    are finite; lengths below 1 count as 1.
    """
    order = np.lexsort((values, *tokens.T))  # one order of sums, so that rounding is the same for any order of rows
    values, lengths = values[order], log_lengths(tokens[order])
    degree = 3 if len(values) >= CUBIC_FROM else 1
    start = np.log(values) if is_ratio_scaled(values) else _ranks(values)
    left = _outside(start, _powers(lengths, degree))
    ranked = _powers(np.column_stack([_ranks(column) for column in lengths.T]), degree)
    for _ in range(RANK_PASSES):
        left = _outside(_ranks(left), ranked)
    places = np.empty(len(values))
    places[order] = (_ranks(left) - 1) / max(len(values) - 1, 1)
    return places


def is_ratio_scaled(values: Float[np.ndarray, " n"]) -> bool:
    """Return whether logs are taken: every value is above 0."""
    return bool((values > 0).all())


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Rank values from 1, equal ones by the mean of their ranks; NaN stays NaN."""
    ranks = pl.Series(values).fill_nan(None).rank("average")
    return ranks.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _powers(columns: Float[np.ndarray, "n lengths"], degree: int) -> Float[np.ndarray, "n directions"]:
    """Return orthonormal directions that 1 and the powers of each standardised column span."""
    columns = columns[:, varies(columns)]
    z = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    return orthonormal(np.column_stack([np.ones(len(z)), *(z**power for power in range(1, degree + 1))]))


def _outside(values: Float[np.ndarray, " n"], basis: Float[np.ndarray, "n directions"]) -> Float[np.ndarray, " n"]:
    """Compute the part outside the basis in units of its spread at such lengths; NaN where all of it is rounding."""
    centred = values - values.mean()
    left = centred - basis @ (basis.T @ centred)
    left = left - basis @ (basis.T @ left)  # once more: what rounding left
    whole = centred.std()
    if whole <= ROUNDING * np.abs(values).max(initial=0.0):
        return np.zeros(len(values))  # a constant: nothing varies, with length or without
    if not left.std() > ROUNDING * whole:
        return np.full(len(values), np.nan)
    size = np.abs(left)
    spread = np.maximum(basis @ (basis.T @ size), _LEAST_SPREAD * size.mean())
    return np.asarray(np.round(left / spread, 9))  # equal rows stay equal
