"""Norms and ranks of gradients from their singular values. They are computed nowhere else.

Each function takes singular values (..., n) in any order, zeros included (stacked spectra are padded with them),
and returns (...) in fp64, NaN where the measure is not defined. Where these are the leading values alone, `tail` has
the sums over the rest, (...) each.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gradprism.prism.tail import Tail

Values = Float[Tensor, "*spectra n"]
Result = Float[Tensor, "*spectra"]


def nuclear_norm(singular_values: Values, tail: Tail | None = None) -> Result:
    """Compute ‖G‖_* = Σ σ_i."""
    leading = singular_values.sum(-1, dtype=torch.float64)
    return leading if tail is None else leading + tail.total


def frobenius_norm(singular_values: Values, tail: Tail | None = None) -> Result:
    """Compute ‖G‖_F = (Σ σ_i²)^½ without overflow."""
    return _relative_square(singular_values, tail).sqrt() * spectral_norm(singular_values)


def spectral_norm(singular_values: Values, tail: Tail | None = None) -> Result:
    """Compute ‖G‖_2 = max σ_i; 0 for an empty spectrum."""
    return _largest(singular_values).squeeze(-1)


def stable_rank(singular_values: Values, tail: Tail | None = None) -> Result:
    """Compute ‖G‖_F² / σ_1², between 1 and the rank; NaN for a zero gradient (Rudelson & Vershynin 2007)."""
    return _unless_zero(singular_values, _relative_square(singular_values, tail))


def effective_rank(singular_values: Values, tail: Tail | None = None) -> Result:
    """Compute exp(-Σ p_i ln p_i) with p_i = σ_i / Σσ, between 1 and the rank; NaN for a zero gradient.

    Roy & Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007. Natural
    logarithms, and 0 ln 0 = 0, so that zeros in the spectrum change nothing.
    """
    scaled = _scaled(singular_values)
    total = scaled.sum(-1)
    if tail is None:
        entropy = torch.special.entr(scaled / total[..., None]).sum(-1)
    else:
        rest = _relative(singular_values, tail)
        total = total + rest.total
        entropy = total.log() - (torch.special.xlogy(scaled, scaled).sum(-1) + rest.logs) / total
    return _unless_zero(singular_values, entropy.exp())


def _relative_square(singular_values: Values, tail: Tail | None) -> Result:
    """Return ‖G‖_F² / σ_1²."""
    leading = _scaled(singular_values).square().sum(-1)
    return leading if tail is None else leading + _relative(singular_values, tail).squares


def _relative(singular_values: Values, tail: Tail) -> Tail:
    """Return the sums over singular values divided by the largest."""
    largest = spectral_norm(singular_values)
    return tail.scaled(1 / largest.where(largest > 0, 1.0))


def _largest(singular_values: Tensor) -> Tensor:
    """Return the largest singular value of each spectrum, (..., 1)."""
    if not singular_values.shape[-1]:
        return singular_values.new_zeros(*singular_values.shape[:-1], 1, dtype=torch.float64)
    return singular_values.amax(-1, keepdim=True).double()


def _scaled(singular_values: Tensor) -> Tensor:
    """Divide singular values by the largest, in fp64, so that neither squares nor sums overflow."""
    largest = _largest(singular_values)
    return singular_values.double() / largest.where(largest > 0, 1.0)


def _unless_zero(singular_values: Tensor, values: Tensor) -> Tensor:
    return values.where(spectral_norm(singular_values) > 0, torch.nan)
