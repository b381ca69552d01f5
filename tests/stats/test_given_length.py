"""What is left given length, against least squares written here anew, and where it must not change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from gradprism.stats.given_length import place_given_length

quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10_000)


def made(seed: int, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Values that follow the length of the response, vary most where it is short, and its lengths with the prompt's."""
    random = np.random.default_rng(seed)
    tokens = np.exp(random.normal([5, 3], [1.2, 0.7], (n, 2))).round() + 1
    spread = 3 / np.log1p(tokens[:, 0])
    return np.exp(0.8 * np.log(tokens[:, 0]) + spread * random.normal(size=n)), tokens


def one_step(y: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    design = np.column_stack([lengths**power for power in (0, 1, 2, 3)])[:, 1:]

    def fitted(target: np.ndarray) -> np.ndarray:
        return design @ np.linalg.lstsq(design, target, rcond=None)[0]

    left = y - fitted(y)
    return left / np.maximum(fitted(abs(left)), abs(left).mean() / 4)


def expected(values: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    logs, ranks = np.log(tokens), rankdata(tokens, axis=0)
    scaled = [(x - x.mean(axis=0)) / x.std(axis=0) for x in (logs, ranks)]
    left = one_step(np.log(values) if values.min() > 0 else rankdata(values), scaled[0])
    for _ in range(3):
        left = one_step(rankdata(left), scaled[1])
    return (rankdata(left) - 1) / (len(left) - 1)


@quick
@given(seeds, st.booleans())
def test_it_is_least_squares_of_logs_and_then_of_ranks(seed: int, negative: bool) -> None:
    values, tokens = made(seed)
    values = values - np.median(values) if negative else values
    np.testing.assert_allclose(place_given_length(values, tokens), expected(values, tokens), atol=1e-12)


@quick
@given(seeds, st.floats(1e-3, 1e3))
def test_neither_the_order_of_the_rows_nor_the_unit_changes_it(seed: int, factor: float) -> None:
    values, tokens = made(seed)
    places = place_given_length(values, tokens)
    shuffled = np.random.default_rng(seed).permutation(len(values))
    assert (place_given_length(values[shuffled], tokens[shuffled]) == places[shuffled]).all()
    np.testing.assert_allclose(place_given_length(values * factor, tokens), places, atol=1e-12)


@quick
@given(seeds)
def test_it_does_not_go_with_length(seed: int) -> None:
    values, tokens = made(seed, 400)
    assert spearmanr(values, tokens[:, 0])[0] > 0.5
    places = place_given_length(values, tokens)
    assert abs(spearmanr(places, tokens[:, 0])[0]) < 0.03
    assert abs(spearmanr(places, tokens[:, 1])[0]) < 0.03
    ends = [np.median(tokens[rows, 0]) for rows in (places >= 0.9, places <= 0.1)]
    middle = np.quantile(tokens[:, 0], [0.25, 0.75])
    assert middle[0] < min(ends)
    assert max(ends) < middle[1]


def test_equal_rows_have_equal_places_and_places_go_from_0_to_1() -> None:
    values, tokens = made(1, 60)
    twice = place_given_length(np.tile(values, 2), np.tile(tokens, (2, 1)))
    assert (twice[:60] == twice[60:]).all()
    places = place_given_length(values, tokens)
    assert (places.min(), places.max()) == (0, 1)


def test_a_length_that_does_not_vary_takes_nothing_out() -> None:
    values, tokens = made(2)
    with_constant, other = np.column_stack([tokens[:, 0], np.full(80, 7)]), np.column_stack([tokens[:, 0]] * 2)
    np.testing.assert_allclose(place_given_length(values, with_constant), place_given_length(values, other), atol=0.02)
    constant = np.full((80, 2), 5.0)
    assert spearmanr(place_given_length(values, constant), values)[0] == pytest.approx(1)


@pytest.mark.parametrize("rows", [12, 200])
def test_what_the_lengths_explain_and_what_is_constant(rows: int) -> None:
    _, tokens = made(3, rows)
    assert np.isnan(place_given_length(tokens[:, 0] ** 0.5, tokens)).all()
    assert (place_given_length(np.full(rows, 3.0), tokens) == 0.5).all()
