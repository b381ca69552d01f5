"""Measures of one gradient, each from its singular values. The only place where they are computed.

Singular values come in any order and may hold zeros. NaN is returned where a measure is not defined.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


def nuclear_norm(singular_values: Float[Tensor, " n"]) -> float:
    """‖G‖_* = Σ σ_i."""
    return float(singular_values.double().sum())


def frobenius_norm(singular_values: Float[Tensor, " n"]) -> float:
    """‖G‖_F = (Σ σ_i²)^½, computed without overflow."""
    return float(torch.linalg.vector_norm(_scaled(singular_values))) * _largest(singular_values)


def spectral_norm(singular_values: Float[Tensor, " n"]) -> float:
    """‖G‖_2 = max σ_i; 0 for an empty spectrum."""
    return _largest(singular_values)


def stable_rank(singular_values: Float[Tensor, " n"]) -> float:
    """‖G‖_F² / σ_1², between 1 and the rank; NaN for a zero gradient (Rudelson & Vershynin 2007)."""
    if not _largest(singular_values):
        return float("nan")
    return float(_scaled(singular_values).square().sum())


def effective_rank(singular_values: Float[Tensor, " n"]) -> float:
    """exp(-Σ p_i ln p_i) with p_i = σ_i / Σσ, between 1 and the rank; NaN for a zero gradient.

    Roy & Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007. Natural
    logarithms, and 0 ln 0 = 0, so that zeros in the spectrum change nothing.
    """
    if not _largest(singular_values):
        return float("nan")
    scaled = _scaled(singular_values)
    return float(torch.special.entr(scaled / scaled.sum()).sum().exp())


@dataclass(frozen=True)
class Measures:
    """The scalar measures of one gradient."""

    nuclear_norm: float
    effective_rank: float
    frobenius_norm: float
    spectral_norm: float
    stable_rank: float

    @classmethod
    def of(cls, singular_values: Float[Tensor, " n"]) -> "Measures":
        """All measures of one spectrum."""
        return cls(
            nuclear_norm(singular_values),
            effective_rank(singular_values),
            frobenius_norm(singular_values),
            spectral_norm(singular_values),
            stable_rank(singular_values),
        )


def _largest(singular_values: Tensor) -> float:
    return float(singular_values.max()) if singular_values.numel() else 0.0


def _scaled(singular_values: Tensor) -> Tensor:
    """Divide by the largest, in fp64, so that neither squares nor sums leave the range."""
    return singular_values.double() / (_largest(singular_values) or 1.0)
