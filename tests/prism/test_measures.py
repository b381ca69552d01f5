import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradprism import effective_rank, frobenius_norm, nuclear_norm, spectral_norm, stable_rank

spectra = arrays(np.float64, st.integers(1, 50), elements=st.floats(1e-3, 1e3))


def test_measures_of_a_spectrum_worked_out_by_hand() -> None:
    values = torch.tensor([3.0, 4.0])
    assert nuclear_norm(values) == 7.0
    assert frobenius_norm(values) == 5.0
    assert spectral_norm(values) == 4.0
    assert stable_rank(values) == 25 / 16
    p = [3 / 7, 4 / 7]
    assert effective_rank(values) == pytest.approx(math.exp(-sum(x * math.log(x) for x in p)), rel=1e-14)


def test_equal_singular_values_have_full_rank_and_zeros_change_nothing() -> None:
    values = torch.cat([torch.full((7,), 0.3), torch.zeros(5)])
    assert effective_rank(values) == pytest.approx(7, rel=1e-6)
    assert stable_rank(values) == pytest.approx(7, rel=1e-6)


@given(spectra, st.floats(1e-300, 1e300))
def test_ranks_do_not_depend_on_scale(values: np.ndarray, scale: float) -> None:
    scaled = torch.from_numpy(values * scale)
    if not torch.isfinite(scaled).all() or scaled.min() < 1e-300:
        return
    assert effective_rank(scaled) == pytest.approx(float(effective_rank(torch.from_numpy(values))), rel=1e-9)
    assert stable_rank(scaled) == pytest.approx(float(stable_rank(torch.from_numpy(values))), rel=1e-9)


@given(spectra)
def test_effective_rank_lies_between_one_and_the_count(values: np.ndarray) -> None:
    assert 1 - 1e-12 <= effective_rank(torch.from_numpy(values)) <= len(values) * (1 + 1e-12)


def test_a_zero_gradient_has_norm_zero_and_no_rank() -> None:
    for values in (torch.zeros(4), torch.zeros(0)):
        assert nuclear_norm(values) == frobenius_norm(values) == spectral_norm(values) == 0.0
        assert math.isnan(effective_rank(values))
        assert math.isnan(stable_rank(values))
