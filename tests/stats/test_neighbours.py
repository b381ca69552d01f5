"""Neighbours against all cosines, and clusters that are far apart."""

import numpy as np
import pytest

from gradprism.stats import neighbours
from gradprism.stats.neighbours import clusters_of, near_duplicate_pairs, nearest_neighbours


def with_pairs(n: int = 400, d: int = 64, pairs: int = 30) -> np.ndarray:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)).astype(np.float32)
    X[pairs : 2 * pairs] = X[:pairs] + 0.1 * rng.standard_normal((pairs, d))
    return X


def cosines(X: np.ndarray) -> np.ndarray:
    X = X / np.linalg.norm(X, axis=1)[:, None]
    K = X @ X.T
    np.fill_diagonal(K, -2)
    return K


def test_neighbours_are_the_largest_cosines_with_other_rows():
    X = with_pairs()
    found, K = nearest_neighbours(X, 5), cosines(X)
    np.testing.assert_allclose(found.cosines, -np.sort(-K, axis=1)[:, :5], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(K, found.rows, axis=1), found.cosines, atol=1e-6)


def test_near_duplicates_are_each_pair_once_closest_first():
    X = with_pairs()
    pairs, cosine = near_duplicate_pairs(nearest_neighbours(X), 0.9)
    assert {tuple(pair) for pair in pairs.tolist()} == {(i, i + 30) for i in range(30)}
    assert (np.diff(cosine) <= 0).all()


def test_cells_of_fewer_coordinates_find_the_near_duplicates_too(monkeypatch):
    X = with_pairs(3000, 128, 200)
    monkeypatch.setattr(neighbours, "EXACT", 1000)
    monkeypatch.setattr(neighbours, "_DIM", 64)
    pairs, _ = near_duplicate_pairs(nearest_neighbours(X), 0.9)
    assert len({tuple(pair) for pair in pairs.tolist()} & {(i, i + 200) for i in range(200)}) >= 198


@pytest.mark.parametrize("n", [1, 2, 3])
def test_sets_of_a_few_rows_have_fewer_neighbours(n):
    found = nearest_neighbours(np.eye(n, 4), 8)
    assert found.rows.shape == found.cosines.shape == (n, n - 1)
    assert not len(near_duplicate_pairs(found, 0.9)[0])


def test_copies_are_neighbours_of_each_other_and_not_of_themselves():
    found = nearest_neighbours(np.ones((20, 4)), 3)
    assert (found.rows != np.arange(20)[:, None]).all()
    np.testing.assert_allclose(found.cosines, 1, atol=1e-6)


def test_clusters_that_are_far_apart_are_found_and_the_same_again():
    rng = np.random.default_rng(0)
    X = np.repeat(np.eye(6, 40), 30, axis=0) + 0.05 * rng.standard_normal((180, 40))
    found = clusters_of(X, 6, seed=1)
    assert len({*found.tolist()}) == len({tuple(found[30 * i : 30 * i + 30].tolist()) for i in range(6)}) == 6
    assert (found == clusters_of(X, 6, seed=1)).all()
    assert set(clusters_of(X[:3], 10).tolist()) == {0, 1, 2}
