"""The Vendi score against the eigenvalues of the whole kernel in fp64, and where its value is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradprism.stats.vendi import BLOCK, gram_matrix, log_vendi


def kernel_score(X: np.ndarray) -> float:
    """exp of the entropy of the eigenvalues of K/n, K (n, n) the cosines in fp64."""
    X = X.astype(np.float64)
    X /= np.linalg.norm(X, axis=1)[:, None]
    p = np.linalg.eigvalsh(X @ X.T / len(X))
    p = p[p > 1e-14]
    return float(np.exp(-(p * np.log(p)).sum()))


@given(n=st.integers(1, 40), d=st.integers(1, 40), decay=st.floats(0, 2), seed=st.integers(0, 99))
def test_either_side_gives_the_score_of_the_kernel(n, d, decay, seed):
    X = np.random.default_rng(seed).standard_normal((n, d)) * np.arange(1, d + 1) ** -decay
    assert np.exp(log_vendi(X)) == pytest.approx(kernel_score(X), rel=2e-4)


@given(n=st.integers(1, 30), d=st.integers(2, 30), seed=st.integers(0, 99))
def test_order_of_rows_rotation_and_norms_do_not_matter(n, d, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    Q, _ = np.linalg.qr(rng.standard_normal((d, d)))
    other = (X * rng.uniform(0.1, 10, (n, 1)))[rng.permutation(n)] @ Q
    assert log_vendi(other) == pytest.approx(log_vendi(X), abs=2e-4)


@pytest.mark.parametrize("n", [1, 7, 50])
def test_copies_count_as_one_and_orthogonal_rows_as_many(n):
    assert np.exp(log_vendi(np.tile([[3.0, 4.0]], (n, 1)))) == pytest.approx(1, abs=1e-6)
    assert np.exp(log_vendi(np.eye(n, 64))) == pytest.approx(n, rel=1e-6)
    assert np.exp(log_vendi(np.repeat(np.eye(5), n, axis=0))) == pytest.approx(5, rel=1e-5)


def test_blocks_and_chosen_rows_of_fp16_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((BLOCK + 100, 20)).astype(np.float16)
    rows = np.sort(rng.choice(len(X), BLOCK + 7, replace=False))
    unit = X[rows].astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1)[:, None]
    np.testing.assert_allclose(gram_matrix(X, rows), unit.T @ unit, atol=2e-3)
    assert np.exp(log_vendi(X, rows)) == pytest.approx(np.exp(log_vendi(X[rows])), rel=1e-6)
    assert np.exp(log_vendi(X, rows, dim=6)) == pytest.approx(np.exp(log_vendi(X[rows, :6])), rel=1e-6)


def test_rows_without_a_direction_are_refused():
    with pytest.raises(ValueError, match="no direction"):
        log_vendi(np.array([[0.0, 0.0], [1.0, 0.0]]))
    with pytest.raises(ValueError, match="no rows"):
        log_vendi(np.empty((0, 3)))
