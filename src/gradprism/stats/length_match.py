"""Length-matched pairs: rows of two groups, one of each, whose lengths agree."""

import math

import numpy as np

CALIPER = math.log(1.05)  # so that any quantile of the two groups, the median too, differs by at most 5%

_OVERLAP = 0.25  # of the smaller group


def overlap_in_length(pairs: int, n_first: int, n_second: int) -> bool:
    """Return whether the groups have common support in length: at least a quarter of the smaller group pairs."""
    return pairs >= _OVERLAP * min(n_first, n_second)


def length_pairs(high: np.ndarray, low: np.ndarray, caliper: float = CALIPER) -> tuple[np.ndarray, np.ndarray]:
    """Pair rows of two groups by length, as many as can be: return the positions in `high` and in `low`, (pairs,) each.

    `high` and `low` are lengths above 0, or NaN where not known; such a row has no pair. Both are gone through from
    short to long, and two rows pair where their log lengths differ by at most the caliper; a row too short for all that
    remain stays alone. On a line no pairing has more pairs. Of rows of the same length the earlier pair first.
    """
    a, b = np.log(high), np.log(low)
    caliper += 1e-12  # 20 and 21 tokens differ by 5%, and not by a rounding more
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
