"""One batch through the model: a forward and an activation-only backward pass, reduced layer by layer."""

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from gradprism.data.encode import Encoded
from gradprism.gradients.capture import Caught, capturing
from gradprism.gradients.factors import Factors, Inputs
from gradprism.gradients.loss import Batch, ResponseHead
from gradprism.gradients.measures import Measures
from gradprism.gradients.similarity import cosine
from gradprism.gradients.spectrum import spectrum_of
from gradprism.models.projections import Projection
from gradprism.recipe import PrismSettings

SAME_LAYER_PAIRS = (("k", "v"), ("q", "o"))

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class ProjectionGradient:
    """What is reported of one projection's gradient for one example."""

    projection: Projection
    measures: Measures
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

    On an accelerator the work is queued on the device in turn.
    """

    def __init__(self, threads: int | None):
        """`threads`: as many as torch uses where None."""
        self._n_threads = threads or torch.get_num_threads()
        self._pool = ThreadPoolExecutor(
            self._n_threads, thread_name_prefix="prism", initializer=torch.set_num_threads, initargs=(1,)
        )

    def map(self, work: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """Results in the order of the items; the first failure is raised."""
        return list(self._pool.map(work, items))


def measure_batch(
    head: ResponseHead,
    projections: Sequence[Projection],
    encoded: Sequence[Encoded],
    settings: PrismSettings,
    pool: EigenPool,
) -> list[ExampleGradients]:
    """Losses, spectra and similarities of each example; the same numbers whatever else is in the batch.

    The model behind `head` must be frozen (see `capture.frozen`). Raises `LogitsChangedError` at most once for a
    model: measured again, the head takes the model's own way.
    """
    batch = Batch.of(encoded, head.device)
    reducer = _LayerReducer(batch.lengths, [example.n_response_tokens for example in encoded], settings, pool)
    with torch.inference_mode(False), torch.enable_grad(), capturing(projections, reducer.reduce) as awaited:
        loss = head.loss(batch)
        answers = [
            ExampleGradients(mean, total, None if math.isfinite(mean) else f"non-finite loss ({mean})")
            for mean, total in zip(loss.means, loss.nll_sum.tolist(), strict=True)
        ]
        reducer.answers = answers
        if any(answer.problem is None for answer in answers):
            loss.backward()
            if awaited:
                raise RuntimeError(f"no gradient reached {', '.join(p.path for p in next(iter(awaited.values())))}")
    reducer.finish()
    return answers


@dataclass(frozen=True)
class _Piece:
    """One projection's gradient of one example, in hand while its layer and the next one are reduced."""

    projection: Projection
    factors: Factors
    frobenius_norm: float


class _LayerReducer:
    """Turns what each layer caught into rows, keeping at most two layers' factors (all, for `all_layers`)."""

    def __init__(self, lengths: Sequence[int], n_predicted: Sequence[int], settings: PrismSettings, pool: EigenPool):
        self.answers: list[ExampleGradients] = []
        self._lengths = lengths
        self._n_predicted = n_predicted
        self._settings = settings
        self._pool = pool
        self._above: list[dict[str, _Piece]] = [{} for _ in lengths]
        self._kept: list[list[_Piece]] = [[] for _ in lengths]

    def reduce(self, layer: int, caught: Sequence[Caught]) -> None:
        """Measure a layer for every example of the batch that has no problem yet."""
        work = [(row, item) for row, answer in enumerate(self.answers) if answer.problem is None for item in caught]
        work.sort(key=lambda job: -self._lengths[job[0]] * job[1].projection.d_out)  # no thread ends on a large one
        shared = self._shared_inputs(work)
        measured = self._pool.map(lambda job: self._measure(job[0], job[1], shared), work)
        here: list[dict[str, _Piece]] = [{} for _ in self._lengths]
        for (row, item), result in zip(work, measured, strict=True):
            if result is None:
                self.answers[row].problem = f"non-finite gradient at {item.projection.path}"
                continue
            piece, gradient = result
            here[row][item.projection.name] = piece
            self.answers[row].spectra.append(gradient)
        self._compare(layer, here)
        self._above = here
        if self._settings.all_layers:
            for row, pieces in enumerate(here):
                self._kept[row].extend(pieces.values())

    def finish(self) -> None:
        """Put rows in the order of layers; compare all layers where that was asked for."""
        order = self._settings.projection_names
        for answer, pieces in zip(self.answers, self._kept, strict=True):
            answer.spectra.sort(key=lambda g: (g.projection.layer, order.index(g.projection.name)))
            pairs = [
                (a, b)
                for a in pieces
                for b in pieces
                if a.projection.name == b.projection.name and a.projection.layer < b.projection.layer
            ]
            cosines = self._pool.map(lambda pair: _cosine(*pair), pairs)
            answer.similarities.extend(
                Similarity(a.projection.layer, b.projection.layer, "all_layers", a.projection.name, value)
                for (a, b), value in zip(pairs, cosines, strict=True)
            )
            answer.similarities.sort(key=lambda s: (s.kind, s.layer, s.other_layer))

    def _shared_inputs(self, work: Sequence[tuple[int, Caught]]) -> dict[tuple[int, int], Inputs]:
        """One `Inputs` for all projections of an example that read the same activations."""
        distinct = {(row, item.inputs.data_ptr()): item.inputs for row, item in work}
        made = self._pool.map(
            lambda job: Inputs(_on_solver_device(job[1][job[0][0], : self._lengths[job[0][0]]])), list(distinct.items())
        )
        return dict(zip(distinct, made, strict=True))

    def _measure(
        self, row: int, item: Caught, shared: dict[tuple[int, int], Inputs]
    ) -> tuple[_Piece, ProjectionGradient] | None:
        deltas = _on_solver_device(item.deltas[row, : self._lengths[row]])  # of the summed loss; wanted: of the mean
        factors = Factors(shared[row, item.inputs.data_ptr()], deltas, divisor=float(self._n_predicted[row]))
        if not math.isfinite(factors.scale):
            return None
        values = spectrum_of(factors)
        measures = Measures.of(values)
        gradient = ProjectionGradient(
            item.projection,
            measures,
            factors.mean,
            factors.extremes if self._settings.entry_stats else None,
            values.tolist() if self._settings.spectrum else None,
        )
        return _Piece(item.projection, factors, measures.frobenius_norm), gradient

    def _compare(self, layer: int, here: Sequence[dict[str, _Piece]]) -> None:
        jobs = [
            (row, other_layer, kind, pair, a, b)
            for row, pieces in enumerate(here)
            for other_layer, kind, pair, a, b in self._pairs(layer, pieces, self._above[row])
        ]
        cosines = self._pool.map(lambda job: _cosine(job[4], job[5]), jobs)
        for (row, other_layer, kind, pair, _, _), value in zip(jobs, cosines, strict=True):
            self.answers[row].similarities.append(Similarity(layer, other_layer, kind, pair, value))

    def _pairs(
        self, layer: int, here: dict[str, _Piece], above: dict[str, _Piece]
    ) -> Iterable[tuple[int, str, str, _Piece, _Piece]]:
        for a, b in SAME_LAYER_PAIRS:
            if a in here and b in here:
                yield layer, "same_layer", f"{a}-{b}", here[a], here[b]
        for name, piece in here.items():  # what was reduced last is not the next layer where some have no attention
            if name in above and above[name].projection.layer == layer + 1:
                yield layer + 1, "adjacent", name, piece, above[name]


def _on_solver_device(values: Tensor) -> Tensor:
    """Move to where fp64 exists: Apple's GPUs have none."""
    return values.cpu() if values.device.type == "mps" else values


def _cosine(a: _Piece, b: _Piece) -> float | None:
    return cosine(a.factors, b.factors, a.frobenius_norm, b.frobenius_norm)
