"""Sums over what is there, by loops."""

import numpy as np

from gradprism.stats.missing import blocks, count_present, same_rows, shift


def gappy() -> np.ndarray:
    values = np.random.default_rng(0).normal(1e9, 1, (11, 6))
    values[3, 1], values[[0, 4], 2], values[[4, 0], 3], values[:, 4] = np.nan, np.inf, np.nan, np.nan
    return values


def test_shifted_values_are_those_less_the_first_there_is() -> None:
    values = gappy()
    shifted, present, origin = shift(values)
    np.testing.assert_array_equal(present, np.isfinite(values))
    np.testing.assert_array_equal(origin, [*values[0, :2], *values[1, 2:4], np.nan, values[0, 5]])
    np.testing.assert_array_equal((shifted + origin)[present], values[present])
    assert (shifted[~present] == 0).all()


def test_counts_by_a_loop() -> None:
    _, present, _ = shift(gappy())
    weights = np.random.default_rng(1).integers(0, 4, (5, 11)).astype(float)
    expected = [
        [sum(w for w, there in zip(row, column, strict=True) if there) for column in present.T] for row in weights
    ]
    np.testing.assert_array_equal(count_present(weights, present), expected)


def test_features_are_put_together_by_their_rows() -> None:
    _, present, _ = shift(gappy())
    sets = {tuple(np.flatnonzero(features)): rows for rows, features in same_rows(present)}
    assert sorted(sets) == [(0, 5), (1,), (2, 3), (4,)]
    for features, rows in sets.items():
        np.testing.assert_array_equal(rows, present[:, features[0]])


def test_blocks_cover_all_once_and_are_neither_large_nor_few() -> None:
    assert list(blocks(0, 3)) == []
    assert list(blocks(9999, 10_000)) == [(start, min(start + 800, 9999)) for start in range(0, 9999, 800)]
    cut = list(blocks(9999, 500))
    assert [start for start, _ in cut] == [0, *(stop for _, stop in cut[:-1])]
    assert cut[-1][1] == 9999
    assert all((stop - start) * 500 <= 2**21 for start, stop in cut)
