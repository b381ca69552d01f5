"""The lazy greedy order against a naive greedy one and the best of all sets."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradprism.stats.diverse_order import ALPHA, diverse_order, quality_of_places


def log_det(X: np.ndarray, quality: np.ndarray, rows: list[int]) -> float:
    unit = X[rows] / np.linalg.norm(X[rows], axis=1)[:, None]
    L = quality[rows, None] * (unit @ unit.T) * quality[rows]
    return float(np.linalg.slogdet(np.eye(len(rows)) + ALPHA * L)[1])


def naive_greedy(X: np.ndarray, quality: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    order, gains, value = list[int](), list[float](), 0.0
    for _ in range(k):
        left = [row for row in range(len(X)) if row not in order]
        values = np.array([log_det(X, quality, [*order, row]) for row in left])
        order.append(left[int(np.flatnonzero(values >= values.max() - 1e-6)[0])])
        gains.append(values.max() - value)
        value = values.max()
    return order, gains


@settings(max_examples=30, deadline=None)
@given(n=st.integers(4, 12), d=st.integers(1, 12), k=st.integers(1, 4), seed=st.integers(0, 999))
def test_gains_are_those_of_naive_greedy_choice_and_near_the_best_of_all(n, d, k, seed):
    rng = np.random.default_rng(seed)
    X, quality = rng.standard_normal((n, d)), rng.uniform(0.3, 3, n)
    order, gains = diverse_order(X, quality, most_rows=k)
    naive, expected = naive_greedy(X, quality, k)
    assert order.tolist() == naive
    np.testing.assert_allclose(gains, expected, atol=1e-4)
    best = max(log_det(X, quality, list(rows)) for rows in combinations(range(n), k))
    assert gains.sum() >= (1 - 1 / np.e) * best


def test_a_long_order_takes_every_row_once_and_gains_fall():
    X = np.random.default_rng(0).standard_normal((300, 20)).astype(np.float16)
    order, gains = diverse_order(X)
    assert sorted(order.tolist()) == list(range(300))
    assert (np.diff(gains) <= 1e-4).all()


def test_copies_come_last_and_equal_rows_in_the_given_order():
    X = np.repeat(np.eye(5), 2, axis=0)
    assert diverse_order(X)[0].tolist() == [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]


def test_quality_decides_among_rows_that_share_nothing():
    assert diverse_order(np.eye(4), np.array([1.0, 3.0, 2.0, 4.0]))[0].tolist() == [3, 1, 2, 0]


def test_the_order_ends_with_the_first_row_that_does_not_fit():
    tokens = np.array([10.0, 10.0, 50.0, 10.0])
    assert diverse_order(np.eye(4), tokens=tokens, most_tokens=30)[0].tolist() == [0, 1, 2]
    assert diverse_order(np.eye(4), tokens=tokens, most_tokens=500)[0].tolist() == [0, 1, 2, 3]


def test_quality_of_places_runs_from_one_over_the_weight_to_one():
    assert quality_of_places(np.array([0.0, 0.5, 1.0]), 10.0) ** 2 == pytest.approx([0.1, 10**-0.5, 1])
