"""Compute the spectra of many gradients: exactly or estimated, one matrix a thread or in stacks on an accelerator."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from zlib import crc32

import torch

from gradprism.prism.device_memory import room_on
from gradprism.prism.eigen_pool import EigenPool
from gradprism.prism.estimated_spectrum import blocks_for, estimate
from gradprism.prism.factors import Draw, Factors, drawn, fast_products
from gradprism.prism.gradient import Gradient
from gradprism.prism.matrix_stack import MatrixStack
from gradprism.prism.null_draws import draw_null
from gradprism.prism.settings import PrismSettings
from gradprism.prism.spectrum import Solved, solve, spectra_of
from gradprism.prism.tail import Spectra

_STACK = 1 << 30  # least bytes of one stack of matrices: on a GPU every stack costs as many calls as another
_MOST = 1 << 14  # matrices of one stack: cuSOLVER's batched solver is reported to refuse twice as many
_SIMILAR = 0.8  # least rows of a matrix relative to the largest in its stack: at most half of the work is padding

Found = tuple[Sequence[Gradient], Spectra]


class Solver:
    """Computes the spectra of a batch's gradients, and of their draws of the null."""

    def __init__(self, settings: PrismSettings, pool: EigenPool, seeds: Sequence[int]):
        """Prepare for a batch; `seeds`, one per example, are of the random numbers of draws and estimates."""
        self._settings, self._pool, self._seeds = settings, pool, seeds

    def spectra(self, gradients: Sequence[Gradient]) -> Iterator[Found]:
        """Yield all gradients, some at a time, with their spectra (gradients, 1 + draws): their own, then of draws."""
        by_blocks: dict[int, list[Gradient]] = defaultdict(list)
        for gradient in gradients:
            by_blocks[blocks_for(gradient.factors.n_counted, self._settings.precision)].append(gradient)
        for blocks, alike in by_blocks.items():
            some, found = self._estimated(alike, blocks) if blocks else self._exact(alike)
            shape = len(some), 1 + self._settings.null_draws
            yield some, found.map(lambda each, shape=shape: each.view(*shape, *each.shape[1:]))  # type: ignore[misc]

    def _exact(self, gradients: Sequence[Gradient]) -> Found:
        """Return the gradients in another order, and their spectra, each followed by those of its draws."""
        gradients = sorted(gradients, key=lambda gradient: -gradient.factors.n_solved)
        if self._pool.stacked:
            matrices = 1 + self._settings.null_draws
            groups = _stacks(gradients, matrices, lambda item: item.n_solved**2, _are_similar)
            solved = [[self._solve(group)] for group in groups]
            for gradient in gradients:
                gradient.factors.shared.forget_gram()
        else:
            sharing: dict[int, list[Gradient]] = defaultdict(list)  # one thread forms what several projections share
            for gradient in gradients:
                sharing[id(gradient.factors.shared)].append(gradient)
            groups = list(sharing.values())
            solved = self._pool.map(lambda group: _one_by_one(group, self._draws(group)), groups)
        gradients = [gradient for group in groups for gradient in group]
        factors = [gradient.factors for gradient in gradients]
        return gradients, Spectra(spectra_of(factors, [item for group in solved for item in group]))

    def _solve(self, gradients: Sequence[Gradient]) -> Solved:
        """Compute the eigenvalues of one stack."""
        factors = [gradient.factors for gradient in gradients]
        with fast_products(factors):
            return solve(factors, self._pool.eigenvalues, self._draws(gradients))

    def _estimated(self, gradients: Sequence[Gradient], blocks: int) -> Found:
        """Return the gradients in another order, and their estimated spectra, each followed by those of its draws."""
        gradients = sorted(gradients, key=lambda gradient: (*gradient.factors.shape, -len(gradient.factors.deltas)))
        matrices = 1 + self._settings.null_draws
        groups = (
            _stacks(gradients, matrices, self._entries, _are_alike)
            if self._pool.stacked
            else [[gradient] for gradient in gradients]
        )
        found = self._pool.map(lambda group: self._estimate(group, blocks), groups)
        return [gradient for group in groups for gradient in group], Spectra.cat(found)

    def _estimate(self, gradients: Sequence[Gradient], blocks: int) -> Spectra:
        """Estimate the spectra of gradients of one shape, and of their draws."""
        all_draws = self._draws(gradients) or [[]] * len(gradients)
        cases = [
            (gradient, number, draw)
            for gradient, draws in zip(gradients, all_draws, strict=True)
            for number, draw in enumerate((None, *draws))
        ]
        seeds = [
            (self._seeds[each.row], each.projection.layer, crc32(each.projection.name.encode()), number, 1)
            for each, number, _ in cases
        ]
        factors = [gradient.factors for gradient, _, _ in cases]
        with fast_products(factors):
            if self._is_formed(factors[0]):
                keep = factors[0].is_worth_forming
                stack = MatrixStack.of_gradients([each.factors.form(draw, keep=keep) for each, _, draw in cases])
            else:
                deltas = [each.deltas if draw is None else drawn(each.deltas, draw)
                          for each, (_, _, draw) in zip(factors, cases, strict=True)]  # fmt: skip
                stack = MatrixStack.of_factors(deltas, [each.inputs for each in factors])
        found = estimate(stack, [each.n_values for each in factors], seeds, blocks, self._pool.eigenpairs)
        return found.scaled(torch.tensor([each.scale for each in factors], dtype=torch.float64))

    def _entries(self, factors: Factors) -> int:
        """Return the numbers that an estimate keeps of a gradient."""
        whole = self._is_formed(factors)
        return math.prod(factors.shape) if whole else len(factors.deltas) * sum(factors.shape)

    def _is_formed(self, factors: Factors) -> bool:
        """Return whether products are with G itself: in those with its factors, terms that cancel leave rounding."""
        return factors.is_worth_forming or self._settings.loss == "dpo"

    def _draws(self, gradients: Sequence[Gradient]) -> list[list[Draw]]:
        """Return the draws of the null for each gradient; none where none are asked for."""
        how, draws = self._settings.null, self._settings.null_draws
        return [
            draw_null(how, self._seeds[gradient.row], gradient.projection, draws, gradient.factors.deltas)
            for gradient in gradients
            if draws
        ]


def _one_by_one(gradients: Sequence[Gradient], draws: Sequence[Sequence[Draw]]) -> list[Solved]:
    """Compute eigenvalues of gradients that share their inputs, and form the gradients that their cosines need."""
    solved = [
        solve([gradient.factors], draws=[draws[index]] if draws else ()) for index, gradient in enumerate(gradients)
    ]
    for gradient in gradients:
        if gradient.factors.is_worth_forming:
            gradient.factors.form()
    gradients[0].factors.shared.forget_gram()
    return solved


def _stacks(
    gradients: Sequence[Gradient],
    matrices: int,
    entries: Callable[[Factors], int],
    fit: Callable[[Factors, Factors], bool],
) -> list[list[Gradient]]:
    """Cut sorted gradients into stacks that fit in memory; each is `matrices` of as many `entries` as the first."""
    stacks = list[list[Gradient]]()
    room = room_on(gradients[0].factors.deltas.device, _STACK, 1 / 8)
    most = 0
    for gradient in gradients:
        if not stacks or len(stacks[-1]) >= most or not fit(stacks[-1][0].factors, gradient.factors):
            stacks.append([])
            most = min(room // (8 * matrices * entries(gradient.factors) + 1), _MOST // matrices)
        stacks[-1].append(gradient)
    return stacks


def _are_similar(first: Factors, other: Factors) -> bool:
    return other.n_solved >= _SIMILAR * first.n_solved


def _are_alike(first: Factors, other: Factors) -> bool:
    return (
        first.shape == other.shape
        and first.is_worth_forming == other.is_worth_forming
        and len(other.deltas) >= _SIMILAR * len(first.deltas)
    )
