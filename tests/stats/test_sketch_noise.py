"""Scores of sketches against those of the vectors themselves, which the sketches were made of."""

import numpy as np
import pytest

from gradprism.stats.sketch_noise import entropy_before_sketching, error_of_sketching
from gradprism.stats.vendi import eigenvalue_shares, gram_matrix, log_vendi

KINDS = {
    "isotropic": lambda rng, n: rng.standard_normal((n, 900)),
    "low rank": lambda rng, n: rng.standard_normal((n, 30)),
    "power law": lambda rng, n: rng.standard_normal((n, 900)) * np.arange(1, 901) ** -0.5,
    "clusters": lambda rng, n: rng.standard_normal((20, 900))[np.arange(n) % 20] + 0.7 * rng.standard_normal((n, 900)),
    "common direction": lambda rng, n: rng.standard_normal((n, 900)) + rng.standard_normal(900),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [512, 192])  # more coordinates than rows, and fewer
def test_scores_of_sketches_are_those_of_the_vectors(kind, d):
    rng, n = np.random.default_rng(3), 400
    X = KINDS[kind](rng, n)
    X /= np.linalg.norm(X, axis=1)[:, None]
    truth = log_vendi(X)
    sketches = [X @ rng.standard_normal((X.shape[1], d)) for _ in range(3)]
    found = np.mean([log_vendi(sketch, sketched=True) for sketch in sketches])
    error = error_of_sketching(eigenvalue_shares(gram_matrix(X)), d)
    assert found == pytest.approx(truth, abs=0.03 + 2.5 * error / np.sqrt(3))
    if kind in ("isotropic", "power law"):
        assert np.mean([log_vendi(sketch) for sketch in sketches]) < truth - 0.1  # without the correction


def test_lowest_is_below_and_nothing_exceeds_the_rows():
    rng = np.random.default_rng(0)
    shares = eigenvalue_shares(gram_matrix(rng.standard_normal((500, 100))))
    found = entropy_before_sketching(shares, 500, 100)
    assert np.log(100) < found.lowest < found.value <= np.log(500)
    assert found.value == pytest.approx(np.log(500), abs=0.02)


def test_one_direction_stays_one():
    sketch = np.tile(np.random.default_rng(0).standard_normal((1, 256)), (50, 1))
    assert np.exp(log_vendi(sketch, sketched=True)) == pytest.approx(1, abs=0.02)


def test_error_is_the_spread_over_projections():
    rng = np.random.default_rng(1)
    X = KINDS["common direction"](rng, 150)
    X /= np.linalg.norm(X, axis=1)[:, None]
    logs = [log_vendi(X @ rng.standard_normal((900, 256)), sketched=True) for _ in range(40)]
    assert np.std(logs) == pytest.approx(error_of_sketching(eigenvalue_shares(gram_matrix(X)), 256), rel=0.35)
