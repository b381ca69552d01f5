"""Estimate the spectra of large gradients: their leading singular values, and sums over the rest.

Eigenvalues of a matrix of some thousand rows take fp64, and most of the time on a GPU. Spectra of gradients are steep:
a few hundred values have nearly all of the nuclear norm, and products in fp32 are enough to find them.

- Leading values are those of G within a block Krylov subspace (Musco and Musco, NeurIPS 2015), a basis of 64 columns a
  block.
- What the rest adds to Σ σ and Σ σ ln σ is estimated by stochastic Lanczos quadrature (Ubaru, Chen and Saad, SIAM J.
  Matrix Anal. Appl. 38 (2017)) on G without that subspace. For s Gauss quadrature is too large and Gauss-Radau with a
  node at 0 too small (Golub and Meurant, Matrices, Moments and Quadrature (2010)): their mean is nearly unbiased. How
  many values are 0, since there are fewer tokens than columns, is known, and taken out of the Gauss rule, which errs
  most there. The sum of squares is known too, which halves the noise of probes.
- The two parts are not independent: only the last block has products with the rest. Each leading value and the rest of
  its vector form a 2 x 2 matrix, whose eigenvalues take the place of its diagonal.

The standard error has the noise of probes, and shares of the distance of the two rules and of the last correction that
make it as large as errors are, over real gradients and most power laws (`benchmarks/estimated_tail.py`).

Random numbers depend on the text, the layer and the projection, so that an estimate is the same in any batch or order.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradprism.prism.matrix_stack import MatrixStack, Vectors
from gradprism.prism.settings import Precision, PrismSettings
from gradprism.prism.tail import Spectra, Tail

BLOCK = 64  # columns of the basis found at once
_ROWS_PER_BLOCK = 168  # of the smaller side, or tokens: a basis is at most three eighths of them
_BLOCKS: dict[Precision, tuple[int, int]] = {"balanced": (5, 8), "fast": (3, 4)}  # fewest and most
PROBES = 12
_TINY = 1e-300
_SHIFT = 1e-13  # of the trace: keeps the Cholesky decomposition of a Gram matrix in fp64 from failing
_KNOWN = 1e-6  # least part of Σ σ² that the rest must have to be known as a difference
_OF_RULES, _OF_COUPLING = 1 / 4, 1 / 4  # of the distance of the two rules, and of the correction
_ROUNDING = (1e-5, 1e-4)  # of nuclear norm and effective rank: the noise of fp32 counts as values beyond the rank
_UNLIKE = 5.0  # standard errors between the known and the probed sum of squares: not of the same matrix

Eigenpairs = Callable[[Float[Tensor, "batch n n"]], tuple[Float[Tensor, "batch n"], Float[Tensor, "batch n n"]]]


def describe_estimates(precision: Precision) -> str | None:
    """Say what is estimated by a precision; None where nothing is."""
    if precision not in _BLOCKS:
        return None
    fewest, most = _BLOCKS[precision]
    found = f"the {values_found(fewest)} to {values_found(most)} largest, and sums over the rest"
    return f"of {fewest * _ROWS_PER_BLOCK} values and more estimated: {found}"


def blocks_for(n_values: int, precision: Precision) -> int:
    """Return the blocks of the basis for a gradient with at most so many values; 0 where they are computed exactly.

    An estimate depends on nothing else, so that a gradient is estimated in all batches or in none.
    """
    fewest, most = _BLOCKS.get(precision, (math.inf, 0))
    blocks = min(n_values // _ROWS_PER_BLOCK, most)
    return blocks if blocks >= fewest else 0


def steps_for(columns: int) -> int:
    """Return the steps of the quadrature: where many small values are far from 0, few make sums that are too small.

    With one more the matrices of its rules would have more than the 32 rows that a GPU solves in one call.
    """
    return 16 if columns <= 4096 else 31


def values_found(blocks: int) -> int:
    """Return how many leading values are told singly: a third of the basis, of which the last are 30% too small."""
    return BLOCK * blocks // 3


def values_stored(n_values: int, settings: PrismSettings) -> int:
    """Return how many singular values are stored of a gradient with at most so many."""
    found = values_found(blocks_for(n_values, settings.precision)) or n_values
    return found if settings.kept_values is None else min(found, settings.kept_values)


def estimate(
    matrices: MatrixStack,
    n_values: Sequence[int],
    seeds: Sequence[Sequence[int]],
    blocks: int,
    eigenpairs: Eigenpairs = torch.linalg.eigh,
) -> Spectra:
    """Estimate the spectra of a stack of gradients in fp32, on their device; the result is on the CPU.

    `n_values` are the most singular values that each can have, `seeds` what its random numbers depend on.
    """
    signs, probes = _draw(seeds, matrices)
    basis, images, rest = _krylov(matrices, signs, blocks)
    squares, vectors = (found.to(matrices.device) for found in eigenpairs(_wide_gram(images)))
    _check(squares, basis, images, matrices)
    squares = squares.clamp_min(0)  # ascending
    remaining = (matrices.squares - squares.sum(1)).clamp_min(0)
    possible = torch.tensor(n_values, dtype=torch.float64, device=matrices.device)
    sums, by_probe, by_rule = _quadrature(matrices, basis, probes, remaining, possible)
    coupling = _coupling(matrices, rest, squares, vectors)
    sums = sums + coupling
    leading = squares.sqrt().flip(1)
    tail = Tail((possible - leading.shape[1]).clamp_min(0), sums[:, 0].clamp_min(0), remaining, sums[:, 1])
    errors = _standard_errors(leading, tail, by_probe, [_OF_RULES * by_rule, _OF_COUPLING * coupling])
    found = Spectra(leading, tail, errors).scaled(matrices.norms.where(matrices.norms > 0, 1.0))
    return found.cut(values_found(blocks)).map(Tensor.cpu)


def _wide_gram(images: Float[Tensor, "batch long k"]) -> Float[Tensor, "batch k k"]:
    wide = images.double()
    return wide.mT @ wide


def _check(squares: Tensor, basis: Tensor, images: Tensor, matrices: MatrixStack) -> None:
    """Verify the eigenvalues by Σλ = ‖G V‖² ≤ ‖G‖², and that columns of the basis V are orthogonal, and short in vain.

    A decomposition that fails leaves others; where G has few directions, columns of rounding alone are short.
    """
    gram = (basis.mT @ basis).double()
    lengths = gram.diagonal(dim1=1, dim2=2).clamp_min(_TINY)
    traces = torch.linalg.vector_norm(images, dim=1, dtype=torch.float64).square()
    weights = traces.sqrt() / lengths  # of cosines between columns, which count where G has something in both
    shared = (weights[:, None] @ (gram - torch.diag_embed(lengths)).abs() @ weights[..., None]).flatten()
    lost = (traces * (1 / lengths - 1).abs()).sum(1)
    found = squares.sum(1)
    off = torch.maximum((found - traces.sum(1)).abs() / 1e-9, (found - matrices.squares) / 1e-4)  # ‖G‖ is 1
    off = torch.maximum(off, (shared + lost) / 1e-4)
    if not (off <= 1).all():
        raise RuntimeError("an estimated spectrum does not add up: its leading values are not those of the gradient")


def _draw(
    seeds: Sequence[Sequence[int]], matrices: MatrixStack
) -> tuple[Float[Tensor, "batch short 1"], Float[Tensor, "batch short probes"]]:
    """Draw the signs of the random block's rows, and the probes, of each matrix."""
    n = matrices.short
    drawn = [np.random.default_rng(seed).integers(0, 2, (n, 1 + PROBES), dtype=np.int8) for seed in seeds]
    signs = torch.from_numpy(np.stack(drawn)).to(matrices.device).float() * 2 - 1
    return signs[:, :, :1], signs[:, :, 1:]


@lru_cache(maxsize=8)
def _block(n: int, device: torch.device) -> Float[Tensor, "n block"]:
    """Return one block of normal random numbers, the same at every call."""
    return torch.randn(n, BLOCK, generator=torch.Generator().manual_seed(0)).to(device)


def _krylov(
    matrices: MatrixStack, signs: Float[Tensor, "batch short 1"], blocks: int
) -> tuple[Float[Tensor, "batch short k"], Float[Tensor, "batch long k"], Float[Tensor, "batch short block"]]:
    """Return an orthonormal basis of a right Krylov subspace, G times it, and what Gᵀ G times its last block adds."""
    block = _orthonormal(
        matrices.transposed_times(_orthonormal(matrices.times(signs * _block(matrices.short, matrices.device)))[0])
    )[0]
    basis, images = block, []
    for index in range(blocks):
        images.append(matrices.times(block))
        left, triangle = _orthonormal(images[-1])
        block = rest = _outside(basis, matrices.transposed_times(left))
        if index < blocks - 1:
            for _ in range(3):  # a direction of rounding alone has parts in the basis until it is a unit long
                block = _orthonormal(_outside(basis, block))[0]
            basis = torch.cat([basis, block], 2)
    return basis, torch.cat(images, 2), rest.double() @ triangle


def _outside(basis: Float[Tensor, "batch short k"], vectors: Vectors) -> Vectors:
    """Project vectors onto the complement of a basis; twice, since once leaves rounding."""
    for _ in range(2):
        vectors = torch.baddbmm(vectors, basis, basis.mT @ vectors, alpha=-1)
    return vectors


def _orthonormal(
    vectors: Float[Tensor, "batch rows columns"],
) -> tuple[Float[Tensor, "batch rows columns"], Float[Tensor, "batch columns columns"]]:
    """Return an orthonormal basis Q in fp32 and R in fp64 with Q R = the vectors, by two Cholesky decompositions.

    A stack of QR decompositions on a GPU would be one after the other. In fp32 a block of few directions fails.
    """
    q, r = vectors.double(), None
    for _ in range(2):
        gram = q.mT @ q
        diagonal = gram.diagonal(dim1=1, dim2=2)
        diagonal += _SHIFT * diagonal.sum(1, keepdim=True) + _TINY
        triangle = torch.linalg.cholesky_ex(gram)[0].mT  # the check of another function would wait for the device
        q = torch.linalg.solve_triangular(triangle, q, upper=True, left=False)
        r = triangle if r is None else triangle @ r
    return q.float(), cast(Tensor, r)


def _functions(squares: Tensor) -> Float[Tensor, "... 2"]:
    """Return s and s ln s of the squares of singular values."""
    roots = squares.sqrt()
    return torch.stack([roots, 0.5 * torch.special.xlogy(roots, squares.clamp_min(_TINY))], -1)


def _quadrature(
    matrices: MatrixStack,
    basis: Float[Tensor, "batch short k"],
    probes: Float[Tensor, "batch short probes"],
    remaining: Float[Tensor, " batch"],
    n_values: Float[Tensor, " batch"],
) -> tuple[Float[Tensor, "batch 2"], Float[Tensor, "batch probes 2"], Float[Tensor, "batch 2"]]:
    """Estimate the sums of both functions over what the basis leaves, whose squares add up to `remaining`.

    Returns the sums, each probe's distance from them, and the distance of the two rules.
    """

    def apply(vectors: Tensor) -> Tensor:
        return _outside(basis, matrices.transposed_times(matrices.times(vectors)))

    steps = steps_for(matrices.short)
    sizes, diagonal, off = _lanczos(apply, _outside(basis, probes), steps)
    squares, pivots = off.square(), diagonal[..., 0]
    for step in range(1, steps):
        pivots = torch.addcdiv(diagonal[..., step], squares[..., step - 1], pivots.clamp_min(_TINY), value=-1)
    at_zero = (squares[..., -1] / pivots.clamp_min(_TINY)).clamp_max(1.0)  # makes 0 an eigenvalue: Gauss-Radau
    nodes, weights = _rule(torch.cat([diagonal, at_zero[..., None]], -1), off, sizes)
    radau, traces = _sums(nodes, weights), (weights * nodes).sum(-1)
    share_of_zeros = (matrices.short - n_values) / (matrices.short - basis.shape[2])
    weights[..., 0] = (weights[..., 0] - share_of_zeros[:, None] * sizes).clamp_min(0)
    left, diagonal, off = _lanczos(lambda vectors: nodes.mT * vectors, weights.mT.sqrt(), steps)
    gauss = _sums(*_rule(diagonal, off[..., :-1], left))
    values = (gauss + radau) / 2
    apart = traces - traces.mean(1, keepdim=True)
    variance = apart.square().mean(1)
    slopes = (apart[..., None] * values).mean(1) / variance.clamp_min(_TINY)[:, None]
    gap = traces.mean(1) - remaining
    known = (remaining > _KNOWN * matrices.squares) & (gap.abs() <= _UNLIKE * (variance / PROBES).sqrt())
    slopes = slopes.where(known[:, None], 0.0)
    sums = values.mean(1) - slopes * gap[:, None]
    by_probe = values - values.mean(1, keepdim=True) - slopes[:, None] * apart[..., None]
    return sums, by_probe, (gauss - radau).mean(1)


def _lanczos(
    apply: Callable[[Tensor], Tensor], start: Float[Tensor, "batch n probes"], steps: int
) -> tuple[Float[Tensor, "batch probes"], Float[Tensor, "batch probes steps"], Float[Tensor, "batch probes steps"]]:
    """Return the squared norms of starting vectors, and the entries of the tridiagonal matrices that they lead to."""
    batch, n, probes = start.shape
    image = start.mT.reshape(batch * probes, n, 1)
    known = image.new_empty(batch * probes, steps, n)
    tiny = torch.finfo(image.dtype).tiny
    entries, off = list[Tensor](), [torch.linalg.vector_norm(image, dim=1, dtype=torch.float64)]
    for step in range(steps):
        known[:, step] = image[:, :, 0] / off[-1].to(image.dtype).clamp_min(tiny)
        image = apply(known[:, step].view(batch, probes, n).mT).mT.reshape(batch * probes, n, 1)
        so_far = known[:, : step + 1]
        for _ in range(2):  # once leaves rounding
            parts = so_far @ image
            entries.append(parts[:, step])
            image = torch.baddbmm(image, so_far.mT, parts, alpha=-1)
        off.append(torch.linalg.vector_norm(image, dim=1, dtype=torch.float64))
    first, *others = torch.stack(off, -1).view(batch, probes, steps + 1).unbind(-1)
    diagonal = torch.stack(entries, -1).double().view(batch, probes, steps, 2).sum(-1)
    return first.square(), diagonal, torch.stack(others, -1)


def _rule(
    diagonal: Float[Tensor, "batch probes nodes"], off: Float[Tensor, "batch probes _"], sizes: Tensor
) -> tuple[Float[Tensor, "batch probes nodes"], Float[Tensor, "batch probes nodes"]]:
    """Return the nodes, ascending, and the weights of the quadrature rules of tridiagonal matrices."""
    tridiagonal = torch.diag_embed(diagonal) + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    nodes, vectors = torch.linalg.eigh(tridiagonal)
    return nodes.clamp_min(0), vectors[..., 0, :].square() * sizes[..., None]


def _sums(
    nodes: Float[Tensor, "batch probes nodes"], weights: Float[Tensor, "batch probes nodes"]
) -> Float[Tensor, "batch probes 2"]:
    return (weights[..., None] * _functions(nodes)).sum(-2)


def _coupling(
    matrices: MatrixStack,
    rest: Float[Tensor, "batch short block"],
    squares: Float[Tensor, "batch k"],
    vectors: Float[Tensor, "batch k k"],
) -> Float[Tensor, "batch 2"]:
    """Return what both sums change by where each leading value and the rest of its vector are taken together."""
    of_last = vectors[:, -BLOCK:]  # (batch, block, k)
    image = matrices.times(rest.float()).double()
    sizes = (rest @ of_last).square().sum(1)
    others = (image @ of_last).square().sum(1) / sizes.clamp_min(_TINY)
    others = torch.minimum(others, squares)
    middle, half = (squares + others) / 2, (((squares - others) / 2).square() + sizes).sqrt()
    after = _functions(middle + half) + _functions((middle - half).clamp_min(0))
    return (after - _functions(squares) - _functions(others)).sum(1)


def _standard_errors(
    leading: Float[Tensor, "batch k"],
    tail: Tail,
    by_probe: Float[Tensor, "batch probes 2"],
    errors: Sequence[Float[Tensor, "batch 2"]],
) -> Float[Tensor, "batch 2"]:
    """Return the standard errors of nuclear norm and effective rank: of probes, of other `errors`, and of rounding."""
    total = leading.sum(1) + tail.total
    logs = torch.special.xlogy(leading, leading).sum(1) + tail.logs
    total = total.clamp_min(_TINY)
    rank = (total.log() - logs / total).exp()
    to_rank = torch.stack([rank * (total + logs) / total.square(), -rank / total], 1)  # d rank / d sums
    slopes = torch.stack([torch.eye(2, dtype=total.dtype, device=total.device)[0].expand_as(to_rank), to_rank], 2)
    noise = (by_probe @ slopes).square().sum(1) / (PROBES - 2) / PROBES
    rounding = torch.stack([_ROUNDING[0] * total, _ROUNDING[1] * rank], 1)
    others = torch.stack([*((error[:, None] @ slopes)[:, 0] for error in errors), rounding])
    return (noise + others.square().sum(0)).sqrt()
