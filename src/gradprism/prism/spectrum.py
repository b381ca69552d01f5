"""Compute singular values of gradients from their factors, by symmetric eigenvalue problems in fp64.

σ(G)² are the eigenvalues of G Gᵀ. With fewer tokens than either side of G the same values are those of
Cᵀ (X Xᵀ) C with C Cᵀ = D Dᵀ, a matrix of the size of the token count, which is taken where it is sooner solved.
Values beyond the token count, which an SVD of G fills with rounding noise, are left out. Squaring in fp64 keeps σ
down to about 1e-8 of the largest; in fp32 it would not (2e-2 off in effective rank). Forming G itself from fp32
factors in fp32 is enough.

All matrices of a call are one stack, padded with zeros, and one call of the solver: on a CPU a stack is one matrix
for one thread, on an accelerator it is as many as fit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gradprism.core.errors import GradPrismError
from gradprism.prism.factors import Draw, Factors, drawn
from gradprism.prism.products import lower_product

_EPSILON = torch.finfo(torch.float64).eps


def singular_values(inputs: Float[Tensor, "tokens d_in"], deltas: Float[Tensor, "tokens d_out"]) -> Float[Tensor, " n"]:
    """Compute the singular values of G = deltasᵀ inputs, descending, in fp64.

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
    factors = Factors.of(inputs, deltas)
    return spectra_of([factors], [solve([factors])])[0]


@dataclass(frozen=True)
class Solved:
    """The eigenvalues of a stack of matrices, and the traces and norms that they are verified against; on the CPU."""

    eigenvalues: Float[Tensor, "batch n"]  # ascending
    traces: Float[Tensor, " batch"]
    norms: Float[Tensor, " batch"]  # Frobenius


def eigenvalues_of(lower: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n"]:
    """Compute the eigenvalues, ascending, of symmetric matrices given by their lower triangles."""
    found = torch.linalg.eigvalsh(lower.mT, UPLO="U")  # the same triangle, but MKL is up to a fifth faster on this one
    return cast(Tensor, found)


Solver = Callable[[Float[Tensor, "batch n n"]], Float[Tensor, "batch n"]]


def solve(factors: Sequence[Factors], solver: Solver = eigenvalues_of, draws: Sequence[Sequence[Draw]] = ()) -> Solved:
    """Compute the squares of the (scaled) singular values of some gradients: the expensive step.

    With `draws` of each gradient's rows of D also those of each draw's matrix, after the gradient's own.
    """
    lower = _small_grams(factors, draws)
    diagonals = lower.diagonal(dim1=1, dim2=2)
    squares = 2 * torch.linalg.vector_norm(lower, dim=(1, 2)).square() - diagonals.square().sum(1)
    eigenvalues = solver(lower) if lower.shape[1] else diagonals
    return Solved(eigenvalues.cpu(), diagonals.sum(1).cpu(), squares.sqrt().cpu())


def spectra_of(factors: Sequence[Factors], solved: Sequence[Solved]) -> Float[Tensor, "factors n"]:
    """Return the singular values of each gradient, descending, in fp64, padded with zeros, and those of its draws.

    `solved` covers all factors, in order. Raises `RuntimeError` where the eigenvalues do not match trace and norm.
    """
    rows = [row for stack in solved for row in stack.eigenvalues]
    eigenvalues = pad_sequence(rows, batch_first=True, padding_side="left")
    _check(eigenvalues, torch.cat([stack.traces for stack in solved]), torch.cat([stack.norms for stack in solved]))
    matrices = len(rows) // len(factors)
    scales = torch.tensor([item.scale for item in factors], dtype=torch.float64).repeat_interleave(matrices)
    counts = torch.tensor([item.n_values for item in factors]).repeat_interleave(matrices)
    roots = _roots(eigenvalues) * scales[:, None]
    return roots.where(torch.arange(roots.shape[1]) < counts[:, None], 0.0)[:, : int(counts.max())]


def _small_grams(factors: Sequence[Factors], draws: Sequence[Sequence[Draw]]) -> Float[Tensor, "batch n n"]:
    """Return lower triangles of the matrices, of `n_solved` rows, whose eigenvalues are the squares of the values."""
    all_draws = [(None, *(draws[index] if draws else ())) for index in range(len(factors))]
    size = max(item.n_solved for item in factors)
    stack = factors[0].deltas.new_zeros(len(factors), len(all_draws[0]), size, size, dtype=torch.float64)
    if not size:  # gradients of zero
        return stack.flatten(0, 1)
    cases = list(zip(factors, stack, all_draws, strict=True))
    short = [case for case in cases if case[0].is_short]
    roots = _roots_of_delta_grams([item for item, _, _ in short])
    for (item, grams, of_item), root in zip(short, roots, strict=True):
        n = item.n_values
        for gram, draw in zip(grams, of_item, strict=True):
            c = root[:n, :n] if draw is None else drawn(root[:n, :n], draw)  # D Dᵀ of the drawn rows is its square
            lower_product(c.T, item.input_gram @ c, out=gram[:n, :n])  # (T, T)
    for item, grams, of_item in cases:
        for gram, draw in zip(grams, of_item, strict=True) if not item.is_short else ():
            gradient, n = item.form(draw).double(), item.n_solved
            if gradient.shape[0] > gradient.shape[1]:
                gradient = gradient.T
            lower_product(gradient, gradient.T, out=gram[:n, :n])  # (min(d_out, d_in), same)
    return stack.flatten(0, 1).tril_()


def _roots_of_delta_grams(factors: Sequence[Factors]) -> Tensor:
    """Compute C with C Cᵀ = D Dᵀ for each gradient: (batch, rows, rows), padded on the right and below.

    By Cholesky; where that fails because tokens repeat, C is the transposed R of the QR decomposition of Dᵀ.
    """
    if not factors:
        return torch.zeros(0, 0, 0, dtype=torch.float64)
    size = max(item.n_values for item in factors)
    grams = factors[0].deltas.new_zeros(len(factors), size, size, dtype=torch.float64)
    for item, gram in zip(factors, grams, strict=True):
        deltas, n = item.deltas.double(), item.n_values
        lower_product(deltas, deltas.T, out=gram[:n, :n])  # (T, d_out) @ (d_out, T)
        gram.diagonal()[n:] = 1.0
    roots, failed = torch.linalg.cholesky_ex(grams)
    for index in failed.nonzero().flatten().tolist():
        item, n = factors[index], factors[index].n_values
        roots[index, :n, :n] = torch.linalg.qr(item.deltas.double().T, mode="r").R.T
    return cast(Tensor, roots)


def _check(
    eigenvalues: Float[Tensor, "factors n"], traces: Float[Tensor, " factors"], norms: Float[Tensor, " factors"]
) -> None:
    """Verify eigenvalues against Σλ = trace and (Σλ²)^½ = ‖·‖_F, since a solver can fail silently."""
    found = torch.linalg.vector_norm(eigenvalues, dim=1)
    off = torch.maximum((eigenvalues.sum(1) / traces - 1).abs(), (found / norms - 1).abs())
    off = off.where(~(traces <= 0), 0.0)  # NaN stays
    if not (off < 1e-9).all():
        raise RuntimeError(
            f"the eigenvalue solver's values do not add up: off by {float(off.max()):.1e} of the trace or norm"
        )


def _roots(eigenvalues: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
    """Return the square roots, descending; eigenvalues within rounding of zero become exactly zero.

    Rounding leaves at most 2 epsilon of the largest where the true value is 0 (measured, n up to 1,000); the
    usual cut at n epsilon also removes true values of steep spectra (an error of 1.5e-4 in effective rank).
    """
    descending = eigenvalues.flip(1)
    if not descending.shape[1]:
        return descending
    noise = 4 * _EPSILON * descending[:, :1]
    return descending.where(descending > noise, 0.0).sqrt()
