"""Pairs of equal length against the largest matching there is."""

import itertools
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradprism.stats.length_match import length_pairs, nearest_pairs

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


rows = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1)), min_size=1, max_size=6)


def columns(given: list[tuple[int, int, int]], seed: int) -> np.ndarray:
    """Log response, log prompt, stratum, and a number of its own for each row."""
    table = np.array(given, dtype=float)
    table[:, :2] = np.log(table[:, :2])
    return np.column_stack([table, np.random.default_rng(seed).random(len(table))])


def best_by_trying_all(first: np.ndarray, second: np.ndarray, caliper: float) -> tuple[int, float]:
    """The most pairs, and the least total distance of so many, over every way to give rows a partner or none."""
    best = (0, 0.0)
    for partners in itertools.permutations([*range(len(second)), *[None] * len(first)], len(first)):
        chosen = [(i, j) for i, j in enumerate(partners) if j is not None]
        if all(first[i, 2] == second[j, 2] and abs(first[i, 0] - second[j, 0]) <= caliper + 1e-12 for i, j in chosen):
            total = sum(math.dist(first[i, :2], second[j, :2]) for i, j in chosen)
            best = max(best, (len(chosen), -total))
    return best[0], -best[1]


@settings(deadline=None, max_examples=30)
@given(rows.filter(lambda r: len(r) <= 4), rows.filter(lambda r: len(r) <= 4))
def test_nearest_pairs_are_the_best_of_all_ways(one: list, other: list) -> None:
    first, second = columns(one, 0), columns(other, 1)
    a, b = nearest_pairs(first, second, math.log(1.5))
    most, least = best_by_trying_all(first, second, math.log(1.5))
    assert len(a) == len({*a.tolist()}) == len({*b.tolist()}) == most
    assert sum(math.dist(first[i, :2], second[j, :2]) for i, j in zip(a, b, strict=True)) == pytest.approx(least)


@pytest.mark.slow  # many cases
@settings(deadline=None, max_examples=50)
@given(rows, rows, st.randoms())
def test_nearest_pairs_do_not_depend_on_the_order_of_the_rows(one: list, other: list, random: Random) -> None:
    first, second = columns(one, 0), columns(other, 1)
    shuffled = [random.sample(range(len(table)), len(table)) for table in (first, second)]
    a, b = nearest_pairs(first, second, math.log(1.5))
    c, d = nearest_pairs(first[shuffled[0]], second[shuffled[1]], math.log(1.5))
    again = {(shuffled[0][i], shuffled[1][j]) for i, j in zip(c, d, strict=True)}
    assert again == {*zip(a.tolist(), b.tolist(), strict=True)}


def test_large_groups_are_paired_in_ranges_and_lose_hardly_a_pair() -> None:
    random = np.random.default_rng(0)
    first, second = (
        np.column_stack([random.normal(5 + shift, 0.8, n), random.normal(4, 0.6, n), np.zeros(n), random.random(n)])
        for n, shift in ((2500, 0.0), (2200, 0.5))
    )
    a, b = nearest_pairs(first, second)
    most = len(length_pairs(np.exp(first[:, 0]), np.exp(second[:, 0]))[0])
    assert 0.98 * most <= len(a) == len({*a.tolist()}) == len({*b.tolist()}) <= most
    assert np.abs(first[a, 0] - second[b, 0]).max() <= math.log(1.05) + 1e-9


def test_a_row_of_unknown_length_has_no_pair() -> None:
    first = np.array([[1.0, 1.0, 0.0, 0.0], [np.nan, 1.0, 0.0, 1.0], [1.0, np.nan, 0.0, 2.0]])
    assert [each.tolist() for each in nearest_pairs(first, first)] == [[0], [0]]
