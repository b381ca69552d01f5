"""Singular values of gradients from their factors, by symmetric eigenvalue problems in fp64.

σ(G)² are the eigenvalues of G Gᵀ. With fewer tokens than either side of G the same values are those of
Cᵀ (X Xᵀ) C with C Cᵀ = D Dᵀ, a matrix of the size of the token count, and values beyond the token count,
which an SVD of G fills with rounding noise, never appear. Squaring in fp64 keeps σ down to about 1e-8 of the
largest; in fp32 it would not (2e-2 off in effective rank). Forming G itself from fp32 factors in fp32 is enough.

All matrices of a call are one stack, padded with zeros, and one call of the solver: on a CPU a stack is one matrix
for one thread, on an accelerator it is as many as fit.
"""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from gradprism.errors import GradPrismError
from gradprism.gradients.factors import Factors
from gradprism.gradients.products import lower_product

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
    return spectra_of([Factors.of(inputs, deltas)])[0]


def spectra_of(factors: Sequence[Factors]) -> list[Float[Tensor, " _"]]:
    """Singular values of each gradient, descending, in fp64, on the CPU. See `singular_values`."""
    grams = _small_grams(factors)
    if not grams.shape[1]:
        return [torch.zeros(0, dtype=torch.float64) for _ in factors]
    eigenvalues = torch.linalg.eigvalsh(grams)  # reads the lower triangles
    _check(eigenvalues, grams)
    roots = _roots(eigenvalues.cpu())
    return [row[: item.n_values] * item.scale for row, item in zip(roots, factors, strict=True)]


def _small_grams(factors: Sequence[Factors]) -> Float[Tensor, "batch n n"]:
    """Lower triangles of the smallest matrices whose eigenvalues are the squares of the (scaled) singular values."""
    size = max(item.n_values for item in factors)
    stack = factors[0].deltas.new_zeros(len(factors), size, size, dtype=torch.float64)
    short = [(item, gram) for item, gram in zip(factors, stack, strict=True) if item.is_short]
    roots = _roots_of_delta_grams([item for item, _ in short])
    for (item, gram), root in zip(short, roots, strict=True):
        n = item.n_values
        c = root[:n, :n]
        lower_product(c.T, item.input_gram @ c, out=gram[:n, :n])  # (T, T)
    for item, gram in zip(factors, stack, strict=True):
        if not item.is_short:
            gradient, n = item.form().double(), item.n_values
            if gradient.shape[0] > gradient.shape[1]:
                gradient = gradient.T
            lower_product(gradient, gradient.T, out=gram[:n, :n])  # (min(d_out, d_in), same)
    return stack.tril_()


def _roots_of_delta_grams(factors: Sequence[Factors]) -> Tensor:
    """C with C Cᵀ = D Dᵀ: by Cholesky, or where tokens repeat and that fails, R of the QR of Dᵀ, transposed.

    (batch, rows, rows), padded on the right and below.
    """
    size = max((item.n_values for item in factors), default=0)
    if not size:
        return torch.zeros(len(factors), 0, 0, dtype=torch.float64)
    grams = torch.eye(size, dtype=torch.float64, device=factors[0].deltas.device).repeat(len(factors), 1, 1)
    for item, gram in zip(factors, grams, strict=True):
        deltas, n = item.deltas.double(), item.n_values
        lower_product(deltas, deltas.T, out=gram[:n, :n])  # (T, d_out) @ (d_out, T)
    roots, failed = torch.linalg.cholesky_ex(grams)
    for index in failed.nonzero().flatten().tolist():
        item, n = factors[index], factors[index].n_values
        roots[index, :n, :n] = torch.linalg.qr(item.deltas.double().T, mode="r").R.T
    return cast(Tensor, roots)


def _check(eigenvalues: Float[Tensor, "batch n"], lower: Float[Tensor, "batch n n"]) -> None:
    """Hold what the solver gave against Σλ = trace and Σλ² = ‖·‖_F²; a solver can fail without saying so."""
    diagonals = lower.diagonal(dim1=1, dim2=2)
    trace = diagonals.sum(1)
    square = 2 * torch.stack([torch.dot(m, m) for m in lower.flatten(1)]) - diagonals.square().sum(1)
    off = torch.maximum(
        (eigenvalues.sum(1) - trace).abs() / trace, (eigenvalues.square().sum(1) - square).abs() / square
    )
    worst = float(off.where(trace > 0, 0.0).max())
    if not worst < 1e-9:
        raise RuntimeError(f"the eigenvalue solver's values do not add up: off by {worst:.1e} of the trace or norm")


def _roots(eigenvalues: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
    """Square roots, descending; eigenvalues within rounding of zero become exactly zero.

    Rounding leaves at most 2 epsilon of the largest where the true value is 0 (measured, n up to 1,000); the
    usual cut at n epsilon takes true values of steep spectra with it (1.5e-4 off in effective rank).
    """
    descending = eigenvalues.flip(1)
    noise = 4 * _EPSILON * descending[:, :1]
    return descending.where(descending > noise, 0.0).sqrt()
