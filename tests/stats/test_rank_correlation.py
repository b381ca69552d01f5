"""Rank correlations against scipy and against the inverse of their matrix, and the coverage of their intervals."""

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr, t

from gradprism.stats.rank_correlation import Correlation, left_out_partial_spearman, partial_spearman, spearman


@pytest.fixture
def data() -> np.ndarray:
    """Five variables that depend on each other, the last two with ties."""
    random = np.random.default_rng(0)
    mixed = random.normal(size=(40, 5)) @ random.normal(size=(5, 5))
    mixed[:, 3:] = np.round(mixed[:, 3:])
    return np.exp(mixed)


def by_inverse(columns: np.ndarray) -> float:
    """Correlation of the first two given the rest, from the inverse of the matrix of rank correlations."""
    precision = np.linalg.inv(np.corrcoef(rankdata(columns, axis=0).T))
    return float(-precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1]))


def test_raw_equals_scipy(data: np.ndarray) -> None:
    found = spearman(data[:, :3], data[:, 3:])
    for i in range(3):
        for j in range(2):
            expected = spearmanr(data[:, i], data[:, 3 + j])
            assert found.value[i, j] == pytest.approx(expected.statistic, rel=1e-12)
            assert found.p[i, j] == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.n.tolist() == [[40, 40]] * 3
    np.testing.assert_allclose(spearman(data[:, :3], data[:, 3]).value, found.value[:, 0], rtol=1e-12)


@pytest.mark.parametrize("controls", [1, 2, 3])
def test_partial_equals_the_inverse_of_the_matrix(data: np.ndarray, controls: int) -> None:
    found = partial_spearman(data[:, :1], data[:, 1], data[:, 2 : 2 + controls])
    expected = by_inverse(data[:, : 2 + controls])
    assert found.value == pytest.approx([expected], rel=1e-10)
    freedom = 40 - 2 - controls
    statistic = expected * np.sqrt(freedom / (1 - expected**2))
    assert found.p == pytest.approx([2 * t.sf(abs(statistic), freedom)], rel=1e-9)
    reach = 1.959963984540054 * np.sqrt((1 + expected**2 / 2) / (40 - controls - 3))
    assert found.low == pytest.approx(np.tanh([np.arctanh(expected) - reach]))
    assert found.high == pytest.approx(np.tanh([np.arctanh(expected) + reach]))


def test_each_pair_on_its_own_rows(data: np.ndarray) -> None:
    data[[0, 5], 0], data[7, 1], data[9, 2], data[11, 4] = np.nan, np.inf, np.nan, np.nan
    raw, partial = spearman(data[:, :2], data[:, 2:4]), partial_spearman(data[:, :2], data[:, 2:4], data[:, 4:])
    for i in range(2):
        for j in range(2):
            pair = data[:, [i, 2 + j]]
            kept = np.isfinite(pair).all(axis=1)
            assert raw.value[i, j] == pytest.approx(spearmanr(*pair[kept].T).statistic, rel=1e-12)
            kept &= np.isfinite(data[:, 4])
            assert partial.value[i, j] == pytest.approx(by_inverse(data[kept][:, [i, 2 + j, 4]]), rel=1e-10)
            assert partial.n[i, j] == kept.sum()


def ends(found: Correlation) -> np.ndarray:
    return np.stack([found.value, found.low, found.high, found.p])


def test_what_is_constant_or_explained_has_no_correlation(data: np.ndarray) -> None:
    data[:, 1] = 0.1
    assert np.isnan(ends(spearman(data[:, [1]], data[:, 0]))).all()
    assert np.isnan(ends(spearman(data[:, [0]], data[:, 1]))).all()
    assert np.isnan(ends(partial_spearman(data[:, [0]], data[:, 2], data[:, [0, 3]]))).all()
    assert np.isnan(ends(partial_spearman(data[:, [2]], np.log(data[:, 0]), data[:, [0]]))).all()


def test_controls_that_say_nothing_new_change_nothing(data: np.ndarray) -> None:
    twice = np.column_stack([data[:, 2], np.log(data[:, 2]), np.ones(40)])
    found = partial_spearman(data[:, [0]], data[:, 1], twice)
    assert found.value == pytest.approx(partial_spearman(data[:, [0]], data[:, 1], data[:, [2]]).value)


def test_few_rows() -> None:
    x = np.array([[1.0, 1.0], [2.0, 3.0], [3.0, 2.0], [np.nan, 4.0]])
    found = spearman(x, np.array([1.0, 3.0, 4.0, 2.0]))
    assert found.n.tolist() == [3, 4]
    assert found.value == pytest.approx([1.0, 0.2])
    assert np.isnan(found.low).tolist() == [True, False]
    assert np.isnan(spearman(x[:1], x[:1, 0]).value).all()
    assert spearman(x[:0], x[:0, 0]).n.tolist() == [0, 0]


def test_a_monotone_relation_is_sure(data: np.ndarray) -> None:
    found = spearman(data[:, [0]], -np.log(data[:, 0]))
    assert ends(found)[:, 0] == pytest.approx([-1, -1, -1, 0])


@pytest.mark.parametrize(("rho", "n"), [(0.0, 30), (0.6, 60), (-0.8, 200)])
@pytest.mark.slow
def test_the_truth_is_covered_as_often_as_said(rho: float, n: int) -> None:
    """Normal pairs, whose rank correlation is known; Bonett & Wright's interval is a little wide where rho is high."""
    random = np.random.default_rng(1)
    inner = 0
    for _ in range(1000):
        x = random.normal(size=(n, 1))
        found = spearman(x, rho * x[:, 0] + np.sqrt(1 - rho**2) * random.normal(size=n))
        inner += found.low[0] <= 6 / np.pi * np.arcsin(rho / 2) <= found.high[0]
    assert inner / 1000 == pytest.approx(0.95, abs=0.025)


def test_given_what_both_depend_on_nothing_is_left() -> None:
    random = np.random.default_rng(2)
    cause = random.normal(size=200)
    x, y = cause[:, None] + random.normal(size=(200, 500)), cause + random.normal(size=200)
    assert (spearman(x, y).p < 0.01).all()
    partial = partial_spearman(x, y, cause[:, None])
    assert np.mean(partial.p <= 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean((partial.low <= 0) & (partial.high >= 0)) == pytest.approx(0.95, abs=0.03)


def test_each_row_left_out_equals_the_others_alone(data: np.ndarray) -> None:
    for controls in (0, 1, 2):
        x, y, given = data[:, [0, 2]], data[:, 1], data[:, 3 : 3 + controls]
        found = left_out_partial_spearman(x, y, given)
        for row in range(40):
            others = np.delete(np.column_stack([x, y, given]), row, axis=0)
            for i in range(2):
                assert found[row, i] == pytest.approx(by_inverse(others[:, [i, *range(2, 3 + controls)]]), rel=1e-9)


def test_left_out_of_few_or_constant_rows(data: np.ndarray) -> None:
    assert np.isnan(left_out_partial_spearman(data[:3, :2], data[:3, 2], data[:3, 3:4])).all()
    data[1:, 0], data[:, 3] = 1.0, 2.0
    found = left_out_partial_spearman(data[:, :2], data[:, 2], data[:, 3:4])
    assert np.isnan(found[:, 0]).tolist() == [True] + [False] * 39
    np.testing.assert_allclose(found[:, 1], left_out_partial_spearman(data[:, 1:2], data[:, 2], data[:, :0])[:, 0])
