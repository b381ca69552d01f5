import inspect
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracle import effective_rank as oracle_rank
from tests.oracle import spectrum

from gradprism import GradPrismError, effective_rank, singular_values
from gradprism.prism.factors import Factors, Inputs
from gradprism.prism.spectrum import solve, spectra_of


@st.composite
def factor_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """(X, D): random shapes and ranks, with repeated tokens and zero rows mixed in."""
    tokens, d_in, d_out = (draw(st.integers(1, 40)) for _ in range(3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rank_x, rank_d = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    x = random.standard_normal((tokens, rank_x)) @ random.standard_normal((rank_x, d_in))
    d = random.standard_normal((tokens, rank_d)) @ random.standard_normal((rank_d, d_out))
    if draw(st.booleans()):  # repeated tokens: rows of both factors stand several times
        again = random.integers(tokens, size=tokens)
        x, d = x[again], d[again]
    if draw(st.booleans()):
        d[random.random(tokens) < 0.3] = 0.0
    if draw(st.booleans()):
        x[random.random(tokens) < 0.2] = 0.0
    return x, d


@settings(deadline=None, max_examples=300)
@given(factor_pairs())
@pytest.mark.slow
def test_equals_an_fp64_svd_of_the_gradient(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, d = pair
    kept = int((d != 0).any(axis=1).sum())
    found = singular_values(torch.from_numpy(x), torch.from_numpy(d)).numpy()
    most = min(kept, x.shape[1], d.shape[1])
    expected = spectrum(d.T @ x, most)
    assert len(found) == most
    assert np.all(np.diff(found) <= 0)
    if most and expected[0] > 0:
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-7 * expected[0])
        assert found.sum() == pytest.approx(expected.sum(), rel=2e-6)
        real = expected[expected > 1e-12 * expected[0]]
        assert effective_rank(torch.from_numpy(found)) == pytest.approx(oracle_rank(real), rel=1e-4)


@settings(deadline=None, max_examples=100)
@given(st.lists(factor_pairs(), min_size=1, max_size=6))
@pytest.mark.slow
def test_a_stack_gives_what_each_gradient_gives_alone(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    factors = [Factors.of(torch.from_numpy(x), torch.from_numpy(d)) for x, d in pairs]
    for (x, d), values in zip(pairs, spectra_of(factors, [solve(factors)]), strict=True):
        alone = singular_values(torch.from_numpy(x), torch.from_numpy(d))
        assert not values[len(alone) :].any()
        np.testing.assert_allclose(values[: len(alone)], alone, atol=2e-7 * float(alone.max()) if len(alone) else 0)


@settings(deadline=None, max_examples=60)
@given(factor_pairs(), st.sampled_from([1e-30, 1e-15, 1e15, 1e30]), st.sampled_from([1e-30, 1.0, 1e30]))
def test_extreme_scales_change_the_values_by_that_factor_only(
    pair: tuple[np.ndarray, np.ndarray], scale_x: float, scale_d: float
) -> None:
    x, d = (torch.from_numpy(part) for part in pair)
    plain, scaled = singular_values(x, d), singular_values(x * scale_x, d * scale_d)
    np.testing.assert_allclose(scaled / (scale_x * scale_d), plain, rtol=1e-7, atol=1e-7 * float(plain.sum() + 1e-300))
    if plain.sum() > 0:
        assert effective_rank(scaled) == pytest.approx(float(effective_rank(plain)), rel=1e-5)
        assert 1 - 1e-9 <= effective_rank(scaled) <= len(scaled) * (1 + 1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_fp32_factors_whose_gradient_leaves_the_range_of_fp32(scale: float) -> None:
    random = torch.Generator().manual_seed(0)
    x, d = torch.randn(9, 12, generator=random), torch.randn(9, 20, generator=random)
    expected = spectrum(d.double().numpy().T @ x.double().numpy(), 9) * scale * scale
    found = singular_values(x * scale, d * scale)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_one_token_repeated_has_rank_one() -> None:
    x, d = torch.randn(1, 16).repeat(10, 1), torch.randn(1, 24).repeat(10, 1)
    values = singular_values(x, d)
    assert effective_rank(values) == pytest.approx(1.0, abs=1e-5)


def test_steep_spectra_keep_their_small_values() -> None:
    """σ_i = 10^-i/2 down to 1e-7 of the largest: a cut at n epsilon would lose the lower ones."""
    random = np.random.default_rng(0)
    sigma = 10.0 ** -np.arange(0, 7.5, 0.5)
    u = np.linalg.qr(random.standard_normal((40, len(sigma))))[0]
    v = np.linalg.qr(random.standard_normal((30, len(sigma))))[0]
    found = singular_values(torch.from_numpy(v.T.copy()), torch.from_numpy((u * sigma).T.copy())).numpy()
    np.testing.assert_allclose(found[:12], sigma[:12], rtol=1e-4)


def test_all_rows_zero_gives_an_empty_spectrum() -> None:
    assert singular_values(torch.ones(5, 3), torch.zeros(5, 4)).shape == (0,)


@pytest.mark.parametrize(
    ("inputs", "deltas", "says"),
    [
        (torch.ones(3, 2), torch.ones(4, 2), "same number of tokens"),
        (torch.ones(3), torch.ones(3, 2), "(3,)"),
        (torch.tensor([[float("nan")]]), torch.ones(1, 1), "NaN"),
        (torch.ones(1, 1), torch.tensor([[float("inf")]]), "infinity"),
    ],
)
def test_misfits_say_what_was_given(inputs: torch.Tensor, deltas: torch.Tensor, says: str) -> None:
    unchecked = inspect.unwrap(singular_values)  # in tests the shapes in the signature would speak first
    with pytest.raises(GradPrismError, match=re.escape(says)):
        unchecked(inputs, deltas)


@pytest.mark.parametrize("tokens", [79, 90, 100, 101])
def test_around_the_smaller_side_the_sooner_way_gives_the_same(tokens: int) -> None:
    random = torch.Generator().manual_seed(tokens)
    x, d = (torch.randn(tokens, width, generator=random) for width in (100, 120))
    x *= 0.9 ** torch.arange(100)  # down to 3e-5 of the largest
    factors = Factors.of(x, d)
    assert factors.is_short == (tokens < 80)
    (found,) = spectra_of([factors], [solve([factors])])
    expected = torch.linalg.svdvals(d.double().T @ x.double())[:tokens]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7 * float(expected[0]))
    assert float(effective_rank(found)) == pytest.approx(float(effective_rank(expected)), rel=1e-6)


def test_terms_that_cancel_are_not_formed_in_fp32() -> None:
    random = torch.Generator().manual_seed(0)
    x, d = (torch.randn(90, width, generator=random) for width in (200, 220))
    noise = 1e-3 * torch.randn(90, 200, generator=random)
    inputs, deltas = torch.cat([x, x + noise]), torch.cat([d, -d])  # 180 rows, most of which cancels
    factors = Factors(Inputs(inputs, 1.0), deltas, slice(0, 180), 1.0, cancel=True)
    (found,) = spectra_of([factors], [solve([factors])])
    expected = torch.linalg.svdvals(deltas.double().T @ inputs.double())
    expected = expected.where(expected > 1e-9 * expected[0], 0.0)
    assert float(effective_rank(found)) == pytest.approx(float(effective_rank(expected)), rel=1e-4)


def test_a_solver_that_returns_nothing_sensible_is_an_error() -> None:
    factors = Factors.of(torch.randn(4, 6), torch.randn(4, 5))
    solved = solve([factors])
    for name in ("eigenvalues", "traces", "norms"):
        with pytest.raises(RuntimeError, match="do not add up"):
            spectra_of([factors], [replace(solved, **{name: getattr(solved, name) * torch.nan})])


@pytest.mark.parametrize("tokens", [150, 180, 240])
def test_few_directions_among_many_tokens_keep_the_noise_of_fp32_alone(tokens: int) -> None:
    random = torch.Generator().manual_seed(0)
    x, d = (torch.randn(1, 200, generator=random).expand(tokens, 200) for _ in range(2))  # one token, repeated
    (found,) = spectra_of([Factors.of(x, d)], [solve([Factors.of(x, d)])])
    assert float(effective_rank(found)) == pytest.approx(1, abs=1e-6 if tokens <= 160 else 5e-4)
