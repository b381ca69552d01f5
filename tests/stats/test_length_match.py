"""Pairs of equal length against the largest matching there is."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gradprism.stats.length_match import length_pairs

lengths = st.lists(st.integers(1, 60).map(float), min_size=1, max_size=9)


def most_pairs(high: list[float], low: list[float]) -> int:
    """The largest matching, by augmenting paths (Kuhn): slow, and nothing like the code."""
    partner: dict[int, int] = {}

    def augment(i: int, seen: set[int]) -> bool:
        for j, other in enumerate(low):
            if j not in seen and max(high[i], other) <= 1.05 * min(high[i], other) * (1 + 1e-12):
                seen.add(j)
                if j not in partner or augment(partner[j], seen):
                    partner[j] = i
                    return True
        return False

    return sum(augment(i, set()) for i in range(len(high)))


@settings(deadline=None)
@given(lengths, lengths)
def test_as_many_pairs_as_there_can_be_and_equal_medians(high: list[float], low: list[float]) -> None:
    a, b = length_pairs(np.array(high), np.array(low), math.log(1.05))
    assert len(a) == len(b) == len({*a}) == len({*b}) == most_pairs(high, low)
    if len(a):
        one, other = np.median(np.array(high)[a]), np.median(np.array(low)[b])
        assert max(one, other) <= 1.05 * min(one, other) * (1 + 1e-9)


def test_exactly_five_percent_is_within_five_percent() -> None:
    high, low = np.array([21.0, 42.0, 63.0, 105.0]), np.array([20.0, 40.0, 60.0, 100.0])
    assert len(length_pairs(high, low)[0]) == 4
    assert len(length_pairs(high + 0.01, low)[0]) == 0
