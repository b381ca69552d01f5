"""Errors by halves against the spread over new samples, and random subsets of one size or of equal tokens."""

import numpy as np
import pytest

from gradprism.stats import subset_diversity
from gradprism.stats.subset_diversity import random_halves, random_subsets, spread_of_subsets, subsets_of_tokens
from gradprism.stats.vendi import log_vendi


def drawn(rng: np.random.Generator, n: int) -> np.ndarray:
    centres = np.random.default_rng(9).standard_normal((100, 60))
    often = 1 / np.arange(1, 101)
    return centres[rng.choice(100, n, p=often / often.sum())] + 0.3 * rng.standard_normal((n, 60))


def test_error_of_halves_is_the_spread_over_samples():
    rng = np.random.default_rng(0)
    samples = [drawn(rng, 200) for _ in range(40)]
    spread = np.std([log_vendi(sample) for sample in samples], ddof=1)
    errors = [random_halves(sample, rng, halves=20).error for sample in samples[:8]]
    assert np.mean(errors) == pytest.approx(spread, rel=0.35)


def test_groups_in_fewer_coordinates_give_the_error_of_halves(monkeypatch):
    rng = np.random.default_rng(0)
    sketches = drawn(rng, 600) @ rng.standard_normal((60, 512))
    exact = random_halves(sketches, np.random.default_rng(1), sketched=True).error
    monkeypatch.setattr(subset_diversity, "MOST_DIM", 128)
    grouped = random_halves(sketches, np.random.default_rng(1), sketched=True).error
    assert grouped == pytest.approx(exact, rel=0.4)
    assert grouped != exact


def test_errors_where_nothing_varies_and_of_too_few_rows():
    rng = np.random.default_rng(0)
    assert random_halves(np.ones((40, 4)), rng).error == pytest.approx(0, abs=1e-6)
    assert random_halves(np.eye(40), rng).error == pytest.approx(0, abs=1e-6)
    assert random_halves(np.eye(40), rng).score == pytest.approx(20)
    assert np.isnan(random_halves(np.eye(3), rng).error)


def test_subsets_take_so_many_of_each_pool_once():
    rng = np.random.default_rng(0)
    pools = [(np.arange(10), 4), (np.arange(10, 40), 5)]
    for rows in random_subsets(pools, 20, rng):
        assert len({*rows.tolist()}) == 9
        assert (rows < 10).sum() == 4


def test_subsets_of_tokens_fit_and_take_what_fits():
    rng, tokens = np.random.default_rng(0), np.array([5.0, 30.0, 10.0, 10.0, 20.0, 5.0])
    for rows in subsets_of_tokens(np.arange(6) + 50, tokens, 40, 50, rng):
        assert tokens[rows - 50].sum() <= 40
        assert len(rows)
    assert all(len(rows) == 1 for rows in subsets_of_tokens(np.arange(6), tokens, 1, 5, rng))
    assert all(len(rows) == 6 for rows in subsets_of_tokens(np.arange(6), tokens, 80, 5, rng))


def test_spread_of_orthogonal_subsets_is_their_size():
    found = spread_of_subsets(np.eye(30), random_subsets([(np.arange(30), 12)], 9, np.random.default_rng(0)))
    assert (found.low, found.mean, found.high) == pytest.approx((12, 12, 12))
