"""The most similar pairs against all pairs by a loop."""

from itertools import combinations

import numpy as np
import pytest

from gradprism.stats import similar_pairs
from gradprism.stats.similar_pairs import most_similar_pairs


def units(n: int, d: int = 8, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(n, d))
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize("rows_at_once", [1, 7, 1024])
@pytest.mark.parametrize("above", [0.9, 0.6, 1.0])
def test_they_are_the_best_of_all_pairs(monkeypatch: pytest.MonkeyPatch, rows_at_once: int, above: float) -> None:
    monkeypatch.setattr(similar_pairs, "_ROWS_AT_ONCE", rows_at_once)
    given = units(40)
    found = most_similar_pairs(given, above, most=20, least=4)
    every = sorted(((float(given[i] @ given[j]), i, j) for i, j in combinations(range(40), 2)), reverse=True)
    n_above = sum(cosine > above for cosine, _, _ in every)
    n = min(20, max(4, n_above))
    assert [*zip(found.first, found.second, strict=True)] == [(i, j) for _, i, j in every[:n]]
    np.testing.assert_allclose(found.cosines, [cosine for cosine, _, _ in every[:n]], atol=6e-5)
    assert found.n_above == n_above


def test_equal_pairs_stand_in_the_order_of_the_rows() -> None:
    found = most_similar_pairs(np.repeat(units(3), 3, axis=0).astype(np.float32), 0.99)
    assert [*zip(found.first, found.second, strict=True)] == [
        (base + i, base + j) for base in (0, 3, 6) for i, j in ((0, 1), (0, 2), (1, 2))
    ]


@pytest.mark.parametrize("n", [0, 1])
def test_one_row_has_no_pair(n: int) -> None:
    assert len(most_similar_pairs(units(n)).cosines) == 0
