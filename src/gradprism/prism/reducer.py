"""From the factors that a backward pass leaves to the rows that are reported, many layers at a time.

Backward goes on while factors wait: they are reduced together, as many layers as fit a budget of memory. Then few
threads wait for each other, and an accelerator gets all the matrices of a batch in one call.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gradprism.models.full_precision import full_products
from gradprism.models.projections.discovery import Projection
from gradprism.prism.capture import Caught
from gradprism.prism.factors import Factors, Inputs, is_worth_forming
from gradprism.prism.measures import measure_spectra
from gradprism.prism.settings import PrismSettings
from gradprism.prism.similarity import inner_products
from gradprism.prism.spectrum import Solved, eigenvalues_of, solve, spectra_of

SAME_LAYER_PAIRS = (("k", "v"), ("q", "o"))

_WAITING = {True: 1 << 28, False: 1 << 31}  # bytes of factors and gradients that may wait: on a CPU, and elsewhere
_STACK = 1 << 30  # bytes of one stack of matrices
_SIMILAR = 0.8  # of the rows of a stack's largest matrix: half of the work at most is padding
_ROWS_PER_THREAD = 64  # up to which so many threads together are faster than an H100 that takes one matrix at a time

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class ProjectionGradient:
    """What is reported of one projection's gradient for one example."""

    projection: Projection
    measures: Mapping[str, float]
    mean: float
    extremes: tuple[float, float] | None
    singular_values: list[float] | None


@dataclass(frozen=True)
class Similarity:
    """One cosine between two gradients of an example."""

    layer: int
    other_layer: int
    kind: str
    pair: str
    cosine: float | None


@dataclass
class ExampleGradients:
    """Everything measured of one example. `problem` says why there is nothing."""

    loss: float
    nll_sum: float
    problem: str | None = None
    spectra: list[ProjectionGradient] = field(default_factory=list)
    similarities: list[Similarity] = field(default_factory=list)


class EigenPool:
    """Runs small matrix problems side by side, one a thread: threaded LAPACK is slower on small ones.

    An accelerator (`stacked`) takes them in turn, and matrices in stacks. Where torch solves a stack there one matrix
    after the other (until 2.11), the small ones come back to the threads: 512 rows take an H100 4.5 ms, and 16 threads
    1.1 ms each.
    """

    def __init__(self, threads: int | None, stacked: bool = False, in_turn: bool = torch.__version__ < "2.12"):
        """`threads`: as many as torch uses where None. `in_turn`: whether a stack is solved matrix by matrix."""
        threads = threads or torch.get_num_threads()
        self.stacked = stacked
        self._rows_on_threads = _ROWS_PER_THREAD * threads if in_turn else 0
        self._pool = ThreadPoolExecutor(
            threads, thread_name_prefix="prism", initializer=torch.set_num_threads, initargs=(1,)
        )

    def map(self, work: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """Results in the order of the items; the first failure is raised."""
        return list(map(work, items) if self.stacked else self._pool.map(work, items))

    def eigenvalues(self, lower: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch n"]:
        """Of a stack of symmetric matrices, by whichever is faster."""
        if lower.shape[1] > self._rows_on_threads:
            return eigenvalues_of(lower)
        here = torch.empty_like(lower, device="cpu", pin_memory=lower.is_cuda).copy_(lower)
        return torch.stack(list(self._pool.map(eigenvalues_of, here)))


@dataclass(frozen=True)
class _Waiting:
    """One projection's factors for a whole batch, and what was summed up of them where they arose."""

    caught: Caught
    input_peaks: Float[Tensor, " batch"]  # largest |X|
    delta_peaks: Float[Tensor, "batch tokens"]  # largest |D| of each token
    means: Float[Tensor, " batch"]  # mean entry of Dᵀ X


@dataclass
class _Piece:
    """One projection's gradient of one example."""

    row: int
    projection: Projection
    factors: Factors
    mean: float
    frobenius_norm: float = math.nan


class Reducer:
    """Turns what each layer caught into rows of `answers`, which the caller puts here before backward."""

    def __init__(
        self,
        lengths: Sequence[int],
        n_predicted: Sequence[int],
        order: Mapping[Projection, int],
        settings: PrismSettings,
        pool: EigenPool,
    ):
        """`order`: the place of each projection among the rows of an example."""
        self.answers: list[ExampleGradients] = []
        self._order = order
        self._lengths = lengths
        self._n_predicted = n_predicted
        self._settings = settings
        self._pool = pool
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._above: list[dict[str, _Piece]] = [{} for _ in lengths]
        self._kept: list[list[_Piece]] = [[] for _ in lengths]

    def add(self, layer: int, caught: Sequence[Caught]) -> None:
        """Take a layer's factors; reduce all that wait once they fill their budget."""
        caught = [_on_solver_device(item) for item in caught]
        if self._waiting and self._waiting[0].means.device != caught[0].deltas.device:
            self._reduce()  # where a spread model goes on to another device: matrices are stacked on one
        valid = _valid(caught[0].deltas, self._lengths)
        summed: dict[_Place, tuple[Tensor, Tensor]] = {}
        for item in caught:
            key = _place(item.inputs)  # q, k and v read the same activations
            if key not in summed:
                summed[key] = _peaks(item.inputs, valid).amax(1), _sums(item.inputs, valid)
                self._bytes += 4 * item.inputs.numel()
            input_peaks, input_sums = summed[key]
            means = (_sums(item.deltas, valid) * input_sums).sum(1) / (item.projection.d_out * item.projection.d_in)
            self._waiting.append(_Waiting(item, input_peaks, _peaks(item.deltas, valid), means))
            self._bytes += 4 * (item.deltas.numel() + self._entries_formed(item.projection))
        if self._bytes > _WAITING[valid.device.type == "cpu"]:
            self._reduce()

    def _entries_formed(self, projection: Projection) -> int:
        """Entries of the gradients of all examples that will be formed."""
        shape = projection.d_out, projection.d_in
        return sum(is_worth_forming(length, *shape) for length in self._lengths) * math.prod(shape)

    @full_products()
    def finish(self) -> None:
        """Reduce the rest; put rows in the order of layers; compare all layers where that was asked for."""
        self._reduce()
        for answer, pieces in zip(self.answers, self._kept, strict=True):
            answer.spectra.sort(key=lambda g: self._order[g.projection])
            everything = [
                _Pair("all_layers", a.projection.name, a, b)
                for a in pieces
                for b in pieces
                if a.projection.name == b.projection.name and a.projection.layer < b.projection.layer
            ]
            self._add_similarities([[pair] for pair in everything])
            answer.similarities.sort(key=lambda s: (s.kind, s.layer, s.other_layer))

    @full_products()
    def _reduce(self) -> None:
        """Spectra, measures and cosines of everything that waits."""
        pieces = self._pieces()
        self._waiting, self._bytes = [], 0
        if not pieces:
            return
        solved, spectra = self._spectra(pieces)
        for piece, values, measures in zip(solved, spectra.tolist(), measure_spectra(spectra), strict=True):
            piece.frobenius_norm = measures["frobenius_norm"]
            gradient = ProjectionGradient(
                piece.projection,
                measures,
                piece.mean,
                piece.factors.extremes if self._settings.entry_stats else None,
                values[: piece.factors.n_values] if self._settings.spectrum else None,
            )
            self.answers[piece.row].spectra.append(gradient)
            if self._settings.all_layers:
                self._kept[piece.row].append(piece)
        self._compare(pieces)

    def _pieces(self) -> list[_Piece]:
        """Cut what waits into examples, last layer first. One with a value that is not finite gets a `problem`."""
        if not self._waiting:
            return []
        input_peaks = torch.stack([item.input_peaks for item in self._waiting]).tolist()
        means = torch.stack([item.means for item in self._waiting]).tolist()
        delta_peaks = torch.stack([item.delta_peaks for item in self._waiting]).cpu()
        largest, tokens = delta_peaks.amax(2).tolist(), _nonzero(delta_peaks)
        pieces = []
        shared: dict[tuple[int, _Place], Inputs] = {}
        for index, item in enumerate(self._waiting):
            projection = item.caught.projection
            for row, length in enumerate(self._lengths):
                if self.answers[row].problem:
                    continue
                if not math.isfinite(input_peaks[index][row] + largest[index][row]):
                    self.answers[row].problem = f"non-finite gradient at {projection.path}"
                    continue
                key = row, _place(item.caught.inputs)
                if key not in shared:
                    shared[key] = Inputs(item.caught.inputs[row, :length], input_peaks[index][row])
                factors = Factors(
                    shared[key],
                    item.caught.deltas[row, :length],
                    tokens[index][row],
                    largest[index][row],
                    divisor=float(self._n_predicted[row]),  # of the summed loss; wanted: of the mean
                )
                pieces.append(_Piece(row, projection, factors, means[index][row] / self._n_predicted[row]))
        return [piece for piece in pieces if not self.answers[piece.row].problem]

    def _spectra(self, pieces: Sequence[_Piece]) -> tuple[list[_Piece], Float[Tensor, "pieces n"]]:
        """Singular values: one matrix a thread, or in stacks of similar size. The pieces come in another order."""
        pieces = sorted(pieces, key=lambda piece: -piece.factors.n_values)
        if self._pool.stacked:
            groups = list(_stacks(pieces))
            solved = [[solve([piece.factors for piece in group], self._pool.eigenvalues)] for group in groups]
        else:
            sharing: dict[int, list[_Piece]] = defaultdict(list)  # one thread forms what several projections share
            for piece in pieces:
                sharing[id(piece.factors.shared)].append(piece)
            groups = list(sharing.values())
            solved = self._pool.map(_one_by_one, groups)
        pieces = [piece for group in groups for piece in group]
        return pieces, spectra_of([piece.factors for piece in pieces], [item for group in solved for item in group])

    def _compare(self, pieces: Sequence[_Piece]) -> None:
        """Cosines within each layer and with the next one, which was reduced before."""
        layers: dict[tuple[int, int], dict[str, _Piece]] = defaultdict(dict)
        for piece in pieces:
            layers[piece.row, piece.projection.layer][piece.projection.name] = piece
        jobs = []
        for (row, _), here in layers.items():  # last layer first
            jobs.append(list(_pairs(here, self._above[row])))
            self._above[row] = here
        self._add_similarities([job for job in jobs if job])

    def _add_similarities(self, jobs: Sequence[Sequence["_Pair"]]) -> None:
        """Cosines of all pairs; those of one job share their Gram matrices and a thread."""
        products = self._pool.map(lambda job: inner_products([(p.a.factors, p.b.factors) for p in job]), jobs)
        values = torch.cat([item.to(products[0].device) for item in products]).tolist() if products else []
        for pair, value in zip((pair for job in jobs for pair in job), values, strict=True):
            self.answers[pair.a.row].similarities.append(pair.similarity(value))


@dataclass(frozen=True)
class _Pair:
    """Two gradients of one example that are compared."""

    kind: str
    name: str
    a: _Piece
    b: _Piece

    def similarity(self, product: float) -> Similarity:
        """The row to report, given the inner product of the scaled gradients."""
        a, b = self.a, self.b
        value = None
        if a.factors.shape == b.factors.shape and a.frobenius_norm and b.frobenius_norm:
            value = product / (a.frobenius_norm / a.factors.scale) / (b.frobenius_norm / b.factors.scale)
        return Similarity(a.projection.layer, b.projection.layer, self.kind, self.name, value)


def _pairs(here: dict[str, _Piece], above: dict[str, _Piece]) -> Iterator[_Pair]:
    for a, b in SAME_LAYER_PAIRS:
        if a in here and b in here:
            yield _Pair("same_layer", f"{a}-{b}", here[a], here[b])
    for name, piece in here.items():  # what was reduced last is not the next layer where some have no attention
        if name in above and above[name].projection.layer == piece.projection.layer + 1:
            yield _Pair("adjacent", name, piece, above[name])


def _one_by_one(pieces: Sequence[_Piece]) -> list[Solved]:
    """Solve gradients that share their inputs, and form those that their cosines will need."""
    solved = [solve([piece.factors]) for piece in pieces]
    for piece in pieces:
        if piece.factors.is_worth_forming:
            piece.factors.form()
    pieces[0].factors.shared.forget_gram()
    return solved


def _stacks(pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    """Cut pieces sorted by size into stacks of similar size that fit in memory: all are padded to the largest."""
    stack: list[_Piece] = []
    for piece in pieces:
        if stack:
            largest = stack[0].factors.n_values
            if 8 * (len(stack) + 1) * largest**2 > _STACK or piece.factors.n_values < _SIMILAR * largest:
                yield stack
                stack = []
        stack.append(piece)
    if stack:
        yield stack


def _on_solver_device(caught: Caught) -> Caught:
    """Move to where fp64 exists: Apple's GPUs have none."""
    if caught.deltas.device.type != "mps":
        return caught
    return Caught(caught.projection, caught.inputs.cpu(), caught.deltas.cpu())


_Place = tuple[int, torch.Size]


def _place(values: Tensor) -> _Place:
    """What tells activations from others: one tensor may begin where another does, and be narrower."""
    return values.data_ptr(), values.shape


def _valid(values: Float[Tensor, "batch tokens d"], lengths: Sequence[int]) -> Bool[Tensor, "batch tokens"]:
    """False at padding, where activations may be anything."""
    positions = torch.arange(values.shape[1], device=values.device)
    return positions < torch.tensor(lengths).to(values.device, non_blocking=True)[:, None]


def _peaks(values: Float[Tensor, "batch tokens d"], valid: Tensor) -> Float[Tensor, "batch tokens"]:
    """Largest magnitude of each token; NaN where it holds one."""
    return values.abs().amax(2).masked_fill(~valid, 0.0)


def _sums(values: Float[Tensor, "batch tokens d"], valid: Tensor) -> Float[Tensor, "batch tokens"]:
    """Sum of each token's entries, made in fp32 or wider."""
    wide = torch.promote_types(values.dtype, torch.float32)
    return values.sum(2, dtype=wide).masked_fill(~valid, 0.0).double()


def _nonzero(peaks: Float[Tensor, "projections batch tokens"]) -> list[list[slice | Tensor]]:
    """Tokens whose row of D is not exactly zero: as a slice where they are contiguous, else as indices.

    The last token predicts nothing, and in the last layer q and o of prompt tokens reach no loss.
    """
    kept = (peaks != 0).int()
    counts, firsts = kept.sum(2).tolist(), kept.argmax(2).tolist()
    lasts = (kept.shape[2] - 1 - kept.flip(2).argmax(2)).tolist()

    def of(index: int, row: int) -> slice | Tensor:
        count, first, last = counts[index][row], firsts[index][row], lasts[index][row]
        if not count:
            return slice(0, 0)
        return slice(first, last + 1) if last + 1 - first == count else kept[index, row].nonzero().squeeze(1)

    return [[of(index, row) for row in range(kept.shape[1])] for index in range(kept.shape[0])]
