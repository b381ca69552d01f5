"""Singular values of a gradient from its factors, by one symmetric eigenvalue problem in fp64.

σ(G)² are the eigenvalues of G Gᵀ. With fewer tokens than either side of G the same values are those of
Cᵀ (X Xᵀ) C with C Cᵀ = D Dᵀ, a matrix of the size of the token count, and values beyond the token count,
which an SVD of G fills with rounding noise, never appear. Squaring in fp64 keeps σ down to about 1e-8 of the
largest; in fp32 it would not (2e-2 off in effective rank). Forming G itself from fp32 factors in fp32 is enough.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from gradprism.errors import GradPrismError
from gradprism.gradients.factors import Factors, Inputs

_EPSILON = torch.finfo(torch.float64).eps


def singular_values(inputs: Float[Tensor, "tokens d_in"], deltas: Float[Tensor, "tokens d_out"]) -> Float[Tensor, " n"]:
    """Singular values of G = deltasᵀ inputs, descending, in fp64.

    n = min(rows of `deltas` that are not zero, d_out, d_in); empty where all of them are zero.
    Raises `GradPrismError` where the shapes do not fit or a value is not finite.
    """
    if inputs.ndim != 2 or deltas.ndim != 2 or len(inputs) != len(deltas):
        raise GradPrismError(
            f"singular_values: given inputs {tuple(inputs.shape)} and deltas {tuple(deltas.shape)}; "
            "expected (tokens, d_in) and (tokens, d_out) with the same number of tokens."
        )
    if not (inputs.isfinite().all() and deltas.isfinite().all()):
        raise GradPrismError("singular_values: inputs or deltas hold NaN or infinity.")
    return spectrum_of(Factors(Inputs(inputs), deltas))


def spectrum_of(factors: Factors) -> Float[Tensor, " n"]:
    """Singular values of one projection's gradient, descending, in fp64. See `singular_values`."""
    if not len(factors.deltas):
        return factors.deltas.new_zeros(0, dtype=torch.float64)
    gram = _small_gram(factors)
    eigenvalues = torch.linalg.eigvalsh(gram)
    _check(eigenvalues, gram)
    return _roots(eigenvalues) * factors.scale


def _small_gram(factors: Factors) -> Float[Tensor, "n n"]:
    """Form the smallest symmetric matrix whose eigenvalues are the squares of the (scaled) singular values."""
    if factors.is_short:
        root = _root_of_delta_gram(factors.deltas.double())
        return root.T @ factors.input_gram @ root  # (T, T)
    gradient = factors.gradient.double()
    if gradient.shape[0] > gradient.shape[1]:
        gradient = gradient.T
    return gradient @ gradient.T  # (min(d_out, d_in), same)


def _root_of_delta_gram(deltas: Float[Tensor, "rows d_out"]) -> Float[Tensor, "rows rows"]:
    """C with C Cᵀ = D Dᵀ: by Cholesky, or where tokens repeat and that fails, R of the QR of Dᵀ, transposed."""
    root, failed = torch.linalg.cholesky_ex(deltas @ deltas.T)
    if failed:
        root = torch.linalg.qr(deltas.T, mode="r").R.T
    return cast(Tensor, root)


def _check(eigenvalues: Float[Tensor, " n"], gram: Float[Tensor, "n n"]) -> None:
    """Hold what the solver gave against Σλ = trace and Σλ² = ‖·‖_F²; a solver can fail without saying so."""
    trace, square = gram.trace(), gram.square().sum()
    off = max(abs(eigenvalues.sum() / trace - 1), abs(eigenvalues.square().sum() / square - 1)) if trace > 0 else 0.0
    if not off < 1e-9:
        raise RuntimeError(
            f"the eigenvalue solver's values do not add up: off by {float(off):.1e} of the trace or norm"
        )


def _roots(eigenvalues: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Square roots, descending; eigenvalues within rounding of zero become exactly zero.

    Rounding leaves at most 2 epsilon of the largest where the true value is 0 (measured, n up to 1,000); the
    usual cut at n epsilon takes true values of steep spectra with it (1.5e-4 off in effective rank).
    """
    descending = eigenvalues.flip(0)
    noise = 4 * _EPSILON * descending[0]
    return descending.where(descending > noise, 0.0).sqrt()
