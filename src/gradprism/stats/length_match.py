"""Length-matched pairs: rows of two groups, one of each, whose lengths agree.

`length_pairs` finds the most pairs there can be, by response length alone, in the time that sorting takes.
`nearest_pairs` finds as many whose prompts are like too, by optimal assignment (Rosenbaum, Journal of the American
Statistical Association 84, 1989), and needs scipy.
"""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

CALIPER = math.log(1.05)  # so that any quantile of the two groups, the median too, differs by at most 5%

LEAST_EFFECTIVE = 5.0
"""Rows of each group, as an effective sample size, that overlap weights must leave for common support."""
MOST_IMBALANCE = 0.1
"""Standard deviations by which weighted mean lengths may differ for common support."""

_OVERLAP = 0.25  # of the smaller group
_ROUNDING = 1e-12  # 20 and 21 tokens differ by 5%, and not by a rounding more
_LARGEST = 2048**2  # pairs of one assignment: a larger one is cut in two by length


def overlap_in_length(pairs: int, n_first: int, n_second: int) -> bool:
    """Return whether the groups have common support in length: at least a quarter of the smaller group pairs."""
    return pairs >= _OVERLAP * min(n_first, n_second)


def overlap_in_weights(n_first: float | None, n_second: float | None, imbalance: float | None) -> bool:
    """Return whether overlap weights leave enough effective rows of both groups, and of like mean lengths."""
    if n_first is None or n_second is None or imbalance is None:
        return False
    return min(n_first, n_second) >= LEAST_EFFECTIVE and imbalance <= MOST_IMBALANCE


def length_pairs(high: np.ndarray, low: np.ndarray, caliper: float = CALIPER) -> tuple[np.ndarray, np.ndarray]:
    """Pair rows of two groups by length, as many as can be: return the positions in `high` and in `low`, (pairs,) each.

    `high` and `low` are lengths above 0, or NaN where not known; such a row has no pair. Both are gone through from
    short to long, and two rows pair where their log lengths differ by at most the caliper; a row too short for all that
    remain stays alone. On a line no pairing has more pairs. Of rows of the same length the earlier pair first.
    """
    a, b = np.log(high), np.log(low)
    caliper += _ROUNDING
    order_a, order_b = (np.argsort(x, kind="stable")[: np.isfinite(x).sum()] for x in (a, b))  # NaN comes last
    pairs, i, j = [], 0, 0
    while i < len(order_a) and j < len(order_b):
        distance = a[order_a[i]] - b[order_b[j]]
        if abs(distance) <= caliper:
            pairs.append((order_a[i], order_b[j]))
        i += distance <= caliper
        j += distance >= -caliper
    paired = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return paired[:, 0], paired[:, 1]


def nearest_pairs(
    first: Float[np.ndarray, "n_first 4"], second: Float[np.ndarray, "n_second 4"], caliper: float = CALIPER
) -> tuple[np.ndarray, np.ndarray]:
    """Pair rows of two groups, as many as can be, at the least total distance: positions in each, (pairs,).

    Columns: log response tokens, log prompt tokens, a stratum, and any number that orders rows of equal lengths, so
    that pairs do not depend on the order of the rows. Two rows pair where they are of one stratum and their responses
    differ by at most the caliper; their distance is of both lengths. A row with a length that is not finite has no
    pair. Of more than a million possible pairs it is optimal within ranges of response length.
    """
    pairs = [
        _assign(first, second, *block, caliper + _ROUNDING)
        for stratum in np.unique(np.concatenate([first[:, 2], second[:, 2]]))
        for block in _blocks(first, second, *(_ordered(rows, stratum) for rows in (first, second)))
    ]
    found = np.concatenate([np.empty((0, 2), dtype=np.int64), *pairs])
    return found[:, 0], found[:, 1]


def _ordered(rows: np.ndarray, stratum: float) -> np.ndarray:
    """Return the positions of the rows of a stratum by response, prompt and the number that orders equal ones."""
    order = np.lexsort((rows[:, 3], rows[:, 1], rows[:, 0]))
    return np.asarray(order[(rows[order, 2] == stratum) & np.isfinite(rows[order, :2]).all(axis=1)])


def _blocks(
    first: np.ndarray, second: np.ndarray, one: np.ndarray, two: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut ordered positions of both groups into ranges of length that are small enough to assign."""
    if len(one) * len(two) <= _LARGEST:
        yield one, two
        return
    both = np.concatenate([first[one], second[two]])
    order = np.lexsort((both[:, 3], both[:, 1], both[:, 0]))
    is_first = order < len(one)
    cut = int(is_first[: len(order) // 2].sum())
    rest = len(order) // 2 - cut
    yield from _blocks(first, second, one[:cut], two[:rest])
    yield from _blocks(first, second, one[cut:], two[rest:])


def _assign(
    first: np.ndarray, second: np.ndarray, one: np.ndarray, two: np.ndarray, caliper: float
) -> Int[np.ndarray, "pairs 2"]:
    """Assign rows to each other, as many as can be within the caliper, at the least total distance."""
    from scipy.optimize import linear_sum_assignment

    apart = np.abs(first[one, None, :2] - second[None, two, :2])  # (n_first, n_second, 2)
    distance, allowed = np.hypot(apart[..., 0], apart[..., 1]), apart[..., 0] <= caliper
    never = distance.max(initial=0.0) * min(distance.shape) + 1.0  # more than all pairs together
    rows, columns = linear_sum_assignment(np.where(allowed, distance, never))
    within = allowed[rows, columns]
    return np.column_stack([one[rows[within]], two[columns[within]]])
