"""Statistics of resamples given as counts: a row of `times` holds how often each value was drawn.

Such a resample needs no copy of its values: ranks and quantiles follow from one sorting and running sums of `times`.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

_CELLS = 2**16  # of resamples x values at a time, which stay in the cache


def drawn_auc(
    values: Float[np.ndarray, "#sets n"],
    times: Float[np.ndarray, "sets n"],
    is_first: Bool[np.ndarray, " n"],
    tie: float = 0.0,
) -> Float[np.ndarray, " sets"]:
    """Compute P(first > second) + P(first = second) / 2 within each resample; NaN where a group has nothing in it.

    `values` are finite and the same in all resamples, or others in each. Neighbours in order that differ by at most
    `tie` are equal.
    """
    area = np.empty(len(times))
    step = max(1, _CELLS // max(1, len(is_first)))
    for start in range(0, len(times), step):
        block = slice(start, start + step)
        area[block] = _auc(values if len(values) == 1 else values[block], times[block], is_first, tie)
    return area


def _auc(values: np.ndarray, times: np.ndarray, is_first: np.ndarray, tie: float) -> np.ndarray:
    order = np.argsort(values, axis=1)  # (sets or 1, n), as what follows
    ordered, is_first = np.take_along_axis(values, order, axis=1), is_first[order]
    weights = times[:, order[0]] if len(order) == 1 else np.take_along_axis(times, order, axis=1)
    of_first, of_second = weights * is_first, weights * ~is_first
    upto = np.cumsum(of_second, axis=1)
    below = upto - of_second
    begins = np.diff(ordered, axis=1, prepend=-np.inf) > tie
    if not begins.all():
        starts, stops = _ties(begins)
        below = np.take_along_axis(below, np.broadcast_to(starts, below.shape), axis=1)
        upto = np.take_along_axis(upto, np.broadcast_to(stops, upto.shape), axis=1)
    pairs = of_first.sum(axis=1) * of_second.sum(axis=1)
    wins = np.einsum("sn,sn->s", of_first, below + upto) / 2
    return np.asarray(np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))


def _ties(begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last index of the ties that each index is in, given where ties begin."""
    index, last = np.arange(begins.shape[1]), begins.shape[1] - 1
    starts = np.maximum.accumulate(np.where(begins, index, 0), axis=1)
    ends = np.roll(begins, -1, axis=1)  # the first place begins one, so the last ends one
    stops = np.minimum.accumulate(np.where(ends, index, last)[:, ::-1], axis=1)[:, ::-1]
    return starts, stops


def drawn_quantiles(
    values: Float[np.ndarray, " n"], times: Int[np.ndarray, "sets n"], levels: Sequence[float]
) -> Float[np.ndarray, "sets levels"]:
    """Compute quantiles within each resample, interpolated linearly as `np.quantile` does; NaN where none was drawn."""
    found = np.full((len(times), len(levels)), np.nan)
    order = np.argsort(values)
    upto = np.cumsum(times[:, order], axis=1, dtype=np.int64)
    drawn = upto[:, -1] if upto.shape[1] else np.zeros(len(times), dtype=np.int64)
    some = np.flatnonzero(drawn)
    upto, last, ordered = upto[some], drawn[some] - 1, values[order]
    offsets = np.arange(len(some)) * (drawn.max(initial=0) + 1)  # all resamples in one ascending list
    flat = (upto + offsets[:, None]).ravel()
    first = np.arange(len(some)) * upto.shape[1]
    for column, level in enumerate(levels):
        position = level * last
        below = np.floor(position).astype(np.int64)
        one, other = (
            ordered[np.searchsorted(flat, each + offsets, side="right") - first]
            for each in (below, np.minimum(below + 1, last))
        )
        found[some, column] = one + (position - below) * (other - one)
    return found
