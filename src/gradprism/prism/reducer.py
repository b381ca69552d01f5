"""Reduce the factors that a backward pass captures to measures and cosines, many layers at a time.

Backward continues while factors are collected: as many layers as fit a budget of memory are reduced together. So
threads rarely wait for each other, and an accelerator gets all the matrices of a batch in one call.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gradprism.models.full_precision import full_products
from gradprism.models.projections.discovery import Projection
from gradprism.prism.capture import Caught
from gradprism.prism.device_memory import room_on
from gradprism.prism.eigen_pool import EigenPool
from gradprism.prism.example_gradients import ExampleGradients, Similarity
from gradprism.prism.factors import Factors, Inputs, is_worth_forming
from gradprism.prism.gradient import Gradient, Reading
from gradprism.prism.measured import measured_gradients
from gradprism.prism.null_draws import ROUNDING
from gradprism.prism.settings import PrismSettings
from gradprism.prism.similarity import inner_products, stacked_inner_products
from gradprism.prism.solver import Solver
from gradprism.prism.token_sizes import TokenSizes
from gradprism.prism.token_summaries import (
    StorageKey,
    nonzero_tokens,
    storage_key,
    token_peaks,
    token_sums,
    valid_tokens,
)

SAME_LAYER_PAIRS = (("k", "v"), ("q", "o"))

_WAITING = {True: 1 << 28, False: 1 << 31}  # least bytes of factors and gradients that wait: on a CPU, and elsewhere


@dataclass(frozen=True)
class _BatchFactors:
    """One projection's factors for a whole batch, and their summaries, computed on the device they are on."""

    caught: Caught
    input_peaks: Float[Tensor, "batch tokens"]  # largest |X| of each token
    input_sums: Float[Tensor, "batch tokens"]
    delta_peaks: Float[Tensor, "batch tokens"]
    delta_sums: Float[Tensor, "batch tokens"]


class Reducer:
    """Adds measures and cosines to `answers`, one per example, which the caller sets before backward."""

    def __init__(
        self,
        lengths: Sequence[int],
        n_predicted: Sequence[int],
        order: Mapping[Projection, int],
        settings: PrismSettings,
        pool: EigenPool,
        seeds: Sequence[int] = (),
        readings: Sequence[Reading] = (),
        spectra: bool = True,
    ):
        """Begin a batch; `order` is the position of each projection among the rows of an example.

        `seeds`, one per example, are of the random numbers that draws of the null and estimates need. Without `spectra`
        no measures and cosines are computed: gradients are for the `readings` alone.
        """
        self.answers: list[ExampleGradients] = []
        self._order = order
        self._lengths = lengths
        self._n_predicted = n_predicted
        self._settings = settings
        self._pool = pool
        self._waiting: list[_BatchFactors] = []
        self._bytes = self._room = 0
        self._token_sizes = TokenSizes() if settings.tokens else None
        self._readings, self._spectra = readings, spectra
        self._solver = Solver(settings, pool, seeds)
        self._above: list[dict[str, Gradient]] = [{} for _ in lengths]
        self._kept: list[list[Gradient]] = [[] for _ in lengths]

    def add(self, caught: Sequence[Caught]) -> None:
        """Collect a layer's factors; reduce all that are collected once they exceed the budget of memory."""
        caught = [_on_solver_device(item) for item in caught]
        device = caught[0].deltas.device
        if self._waiting and self._waiting[0].delta_sums.device != device:
            self._reduce()  # a spread model continues on another device, and matrices are stacked on one device only
        if self._token_sizes:
            self._token_sizes.add(caught)
        if not self._waiting:
            self._room = room_on(device, _WAITING[device.type == "cpu"], 1 / 4)
        summed: dict[StorageKey, tuple[Tensor, Tensor]] = {}
        for item in caught:
            key = storage_key(item.inputs)  # q, k and v read the same activations
            if key not in summed:
                summed[key] = token_peaks(item.inputs), token_sums(item.inputs)
                self._bytes += 4 * item.inputs.numel()
            self._waiting.append(_BatchFactors(item, *summed[key], token_peaks(item.deltas), token_sums(item.deltas)))
            self._bytes += 4 * (item.deltas.numel() + self._entries_formed(item.projection))
        if self._bytes > self._room:
            self._reduce()

    @property
    def token_sizes(self) -> list[dict[str, list[float]]]:
        """The gradient sizes of each example's tokens, by projection; nothing unless the settings say so."""
        return self._token_sizes.by_example(self._lengths, self._n_predicted) if self._token_sizes else []

    def _entries_formed(self, projection: Projection) -> int:
        """Return the number of entries of the gradients, over all examples, that will be formed."""
        shape = projection.d_out, projection.d_in
        return sum(is_worth_forming(length, *shape) for length in self._lengths) * math.prod(shape)

    @full_products()
    def finish(self) -> None:
        """Reduce the remaining layers, sort the rows by layer, and compare all layers where the settings say so."""
        self._reduce()
        for answer, gradients in zip(self.answers, self._kept, strict=True):
            answer.spectra.sort(key=lambda g: self._order[g.projection])
            all_pairs = [
                _Pair("all_layers", a.projection.name, a, b)
                for a in gradients
                for b in gradients
                if a.projection.name == b.projection.name and a.projection.layer < b.projection.layer
            ]
            self._add_similarities([[pair] for pair in all_pairs])
            answer.similarities.sort(key=lambda s: (s.kind, s.layer, s.other_layer))
        for reading in self._readings:
            reading.finish(self.answers)

    @full_products()
    def _reduce(self) -> None:
        """Compute spectra, measures and cosines of the collected factors."""
        gradients = self._cut_into_examples()
        self._waiting, self._bytes = [], 0
        if not gradients:
            return
        if self._spectra:
            self._measure(gradients)
            self._compare(gradients)
        else:
            pairs = [(gradient.factors, gradient.factors) for gradient in gradients]
            squares = stacked_inner_products(pairs) if self._pool.stacked else inner_products(pairs).tolist()
            for gradient, square in zip(gradients, squares, strict=True):
                gradient.frobenius_norm = math.sqrt(max(square, 0.0)) * gradient.factors.scale
        of_rows: dict[int, list[Gradient]] = defaultdict(list)
        for gradient in gradients:
            of_rows[gradient.row].append(gradient)
        for reading in self._readings:
            self._pool.map(lambda item, reading=reading: reading.read(*item), of_rows.items())  # type: ignore[misc]

    def _measure(self, gradients: Sequence[Gradient]) -> None:
        """Add the measures of gradients to the answers."""
        for some, spectra in self._solver.spectra(gradients):
            for gradient, measured in zip(some, measured_gradients(some, spectra, self._settings), strict=True):
                gradient.frobenius_norm = measured.measures["frobenius_norm"]
                self.answers[gradient.row].spectra.append(measured)
                if self._settings.all_layers:
                    self._kept[gradient.row].append(gradient)

    def _cut_into_examples(self) -> list[Gradient]:
        """Return the gradients of each example, last layer first; one with a non-finite value gets a `problem`."""
        if not self._waiting:
            return []
        padding = ~valid_tokens(self._waiting[0].delta_sums.device, self._waiting[0].delta_sums.shape[1], self._lengths)

        def of_tokens(name: str) -> Float[Tensor, "projections batch tokens"]:
            return torch.stack([getattr(item, name) for item in self._waiting]).masked_fill(padding, 0.0)

        input_peaks = of_tokens("input_peaks").amax(2).tolist()
        sums = (of_tokens("delta_sums").double() * of_tokens("input_sums").double()).sum(2).tolist()
        delta_peaks = of_tokens("delta_peaks").cpu()
        largest, tokens = delta_peaks.amax(2).tolist(), nonzero_tokens(delta_peaks)
        counted = (delta_peaks > ROUNDING * delta_peaks.amax(2, keepdim=True)).sum(2).tolist()
        gradients = []
        shared: dict[tuple[int, StorageKey], Inputs] = {}
        for index, item in enumerate(self._waiting):
            projection = item.caught.projection
            entries = projection.d_out * projection.d_in
            for row, length in enumerate(self._lengths):
                if self.answers[row].problem:
                    continue
                if not math.isfinite(input_peaks[index][row] + largest[index][row]):
                    self.answers[row].problem = f"non-finite gradient at {projection.path}"
                    continue
                key = row, storage_key(item.caught.inputs)
                if key not in shared:
                    shared[key] = Inputs(item.caught.inputs[row, :length], input_peaks[index][row])
                factors = Factors(
                    shared[key],
                    item.caught.deltas[row, :length],
                    tokens[index][row],
                    largest[index][row],
                    divisor=float(self._n_predicted[row]),  # from the summed loss to the mean
                    n_counted=counted[index][row],
                    cancel=self._settings.loss == "dpo",
                )
                mean = sums[index][row] / entries / self._n_predicted[row]
                gradients.append(Gradient(row, projection, factors, mean))
        return [gradient for gradient in gradients if not self.answers[gradient.row].problem]

    def _compare(self, gradients: Sequence[Gradient]) -> None:
        """Add the cosines within each layer, and with the layer above, which was reduced before."""
        layers: dict[tuple[int, int], dict[str, Gradient]] = defaultdict(dict)
        for gradient in gradients:
            layers[gradient.row, gradient.projection.layer][gradient.projection.name] = gradient
        jobs = []
        for (row, _), here in layers.items():  # last layer first
            jobs.append(list(_pairs(here, self._above[row])))
            self._above[row] = here
        self._add_similarities([job for job in jobs if job])

    def _add_similarities(self, jobs: Sequence[Sequence["_Pair"]]) -> None:
        """Add the cosines of all pairs; the pairs of one job share Gram matrices and a thread."""
        factors = [[(pair.a.factors, pair.b.factors) for pair in job] for job in jobs]
        if self._pool.stacked:
            values = stacked_inner_products([pair for job in factors for pair in job])
        else:
            values = [value for found in self._pool.map(inner_products, factors) for value in found.tolist()]
        for pair, value in zip((pair for job in jobs for pair in job), values, strict=True):
            self.answers[pair.a.row].similarities.append(pair.similarity(value))


@dataclass(frozen=True)
class _Pair:
    """Two gradients of one example to compare."""

    kind: str
    name: str
    a: Gradient
    b: Gradient

    def similarity(self, product: float) -> Similarity:
        """Return the cosine, given the inner product of the scaled gradients."""
        a, b = self.a, self.b
        value = None
        if a.factors.shape == b.factors.shape and a.frobenius_norm and b.frobenius_norm:
            value = product / (a.frobenius_norm / a.factors.scale) / (b.frobenius_norm / b.factors.scale)
        return Similarity(a.projection.layer, b.projection.layer, self.kind, self.name, value)


def _pairs(here: dict[str, Gradient], above: dict[str, Gradient]) -> Iterator[_Pair]:
    for a, b in SAME_LAYER_PAIRS:
        if a in here and b in here:
            yield _Pair("same_layer", f"{a}-{b}", here[a], here[b])
    for name, gradient in here.items():  # `above` is not adjacent where a layer between has no attention
        if name in above and above[name].projection.layer == gradient.projection.layer + 1:
            yield _Pair("adjacent", name, gradient, above[name])


def _on_solver_device(caught: Caught) -> Caught:
    """Move the factors to the CPU from Apple's GPUs, which have no fp64."""
    if caught.deltas.device.type != "mps":
        return caught
    return Caught(caught.projection, caught.inputs.cpu(), caught.deltas.cpu())
