"""`GradientAnalyzer`: measures examples on a loaded model and tokenizer, and returns tables."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from torch import nn

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import OnBatch, count_nothing
from gradprism.data.encode import Encoded, make_encoder
from gradprism.data.example import Example, RowProblemError
from gradprism.data.example_set import open_examples
from gradprism.models.adapters import refuse_kinds
from gradprism.models.batches import Batches, Failure
from gradprism.models.full_precision import full_products, model_itself
from gradprism.models.likelihood import LogitsChangedError, ResponseHead
from gradprism.models.positions import position_limit
from gradprism.models.projections.architecture import read_architecture
from gradprism.models.projections.discovery import find_projections
from gradprism.models.quantised import refuse_forward_only
from gradprism.models.settings import refuse_loading_options
from gradprism.models.usage import used_projections
from gradprism.prism.capture import frozen
from gradprism.prism.eigen_pool import EigenPool
from gradprism.prism.example_gradients import ExampleGradients
from gradprism.prism.precision import Computing, arithmetic_of
from gradprism.prism.prism import measure_batch
from gradprism.prism.settings import AnalyzerSettings, MeasuringSettings
from gradprism.prism.tables import EXAMPLES, SIMILARITY, Tables, spectra_schema

Encode = Callable[[Example], Encoded]
Ready = tuple[Example, Encoded]


@dataclass(frozen=True)
class _MeasuredExample:
    """An example with its status, and what was measured of it."""

    example: Example
    status: str
    reason: str | None = None
    encoded: Encoded | None = None
    gradients: ExampleGradients | None = None


class GradientAnalyzer:
    """Measures the gradients of examples with respect to the projections of a causal language model.

    The model is left unchanged: the `requires_grad` of its weights and its training mode are restored after each
    call, and no weight gradient is ever stored.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, recipe: MeasuringSettings | None = None, **options: Any):
        """Find the projections of the model, and prepare to measure them.

        `options` are those of `gradprism spectra` (template, max_length, projections, batch_tokens, ...); a `recipe`
        replaces them. The attribute `found` says which projections the model has, and in which layers.
        Raises `GradPrismError` where a projection is not found, the model's weights or adapters cannot be measured, or
        an option is not known or has no effect here.
        """
        if recipe is None:
            refuse_loading_options(options)
            recipe = AnalyzerSettings.from_options(**options)
        model = model_itself(model)
        refuse_kinds(model)
        with full_products():
            refuse_forward_only(model)
        self.model = model
        self._head = ResponseHead(model)
        architecture = read_architecture(recipe.prism.architecture) if recipe.prism.architecture else None
        found = find_projections(model, recipe.prism.projection_names, architecture)
        self.found = used_projections(model, found, self._head.device)
        self.projections = self.found.projections
        self._tokenizer, self._text = tokenizer, recipe.text.at_most(position_limit(getattr(model, "config", None)))
        self._encoder = make_encoder(tokenizer, self._text)  # refuses a template that cannot be used
        self._read, self._prism = recipe.read, recipe.prism
        self._batches = Batches[Ready](lambda item: item[1].n_tokens, recipe.execution.batch_tokens, self._head.device)
        self.arithmetic = arithmetic_of(recipe.prism.precision, self._head.device)
        self._computing = Computing(model, self.arithmetic, self._head.device, but=[self._head.layer])
        self._pool = EigenPool(recipe.execution.threads, stacked=self._head.device.type not in ("cpu", "mps"))

    def analyze(self, data: Any, on_batch: OnBatch = count_nothing) -> Tables:
        """Return the tables of all examples, in their order; see `gradprism.prism.tables` for the columns.

        `data`: a list of `Example`, or whatever `gradprism.spectra` reads (paths, dicts, frames). An example
        that cannot be measured is a `skipped` or `failed` row with its reason. `on_batch` is called after each
        batch and may raise to stop.
        """
        examples = list(data) if _all_examples(data) else list(open_examples(data, self._read))
        if self._text.template == "auto":
            n_conversations = sum(example.is_conversation for example in examples)
            self._encoder = make_encoder(self._tokenizer, self._text, n_conversations)
        return self._analyze(examples, self._encoder.encode, on_batch)

    def analyze_encoded(self, encoded: Sequence[tuple[Example, Encoded]]) -> Tables:
        """Return the tables of examples that are given as token ids and response masks, in their order."""
        by_row = {example.row: item for example, item in encoded}
        return self._analyze([example for example, _ in encoded], lambda example: by_row[example.row])

    def _analyze(self, examples: Sequence[Example], encode: Encode, on_batch: OnBatch = count_nothing) -> Tables:
        if len({example.row for example in examples}) < len(examples):
            raise GradPrismError(
                "The examples' `row` numbers repeat; expected a different one for each, since it is the tables' key."
            )
        ready, unusable = self._encode(examples, encode)
        if unusable:
            on_batch(len(unusable), 0)
        measured = {item.example.row: item for item in [*unusable, *self._measure_batches(ready, on_batch)]}
        return _make_tables([measured[example.row] for example in examples])

    def _measure_batches(self, ready: Sequence[Ready], on_batch: OnBatch) -> Iterator[_MeasuredExample]:
        with frozen(self.model):
            for batch in self._batches.cut(ready):
                for (example, encoded), answer in zip(batch, self._batches.answers(batch, self._measure), strict=True):
                    yield _with_status(example, encoded, answer)
                on_batch(len(batch), sum(encoded.n_tokens for _, encoded in batch))

    def _encode(self, examples: Sequence[Example], encode: Encode) -> tuple[list[Ready], list[_MeasuredExample]]:
        ready, unusable = [], []
        for example in examples:
            try:
                ready.append((example, self._head.refuse_unknown_token(encode(example))))
            except RowProblemError as problem:
                unusable.append(_MeasuredExample(example, "skipped", str(problem)))
        return ready, unusable

    def _measure(self, batch: Sequence[Ready]) -> list[ExampleGradients]:
        encoded = [item for _, item in batch]
        try:
            return measure_batch(self._head, self.projections, encoded, self._prism, self._pool, self._computing)
        except LogitsChangedError:  # raised once: the head has noted it
            return self._measure(batch)


def failed_tables(examples: Sequence[Example], reason: str) -> Tables:
    """Return the tables of examples that have all failed, for one reason."""
    return _make_tables([_MeasuredExample(example, "failed", reason) for example in examples])


def _all_examples(data: Any) -> bool:
    return isinstance(data, Sequence) and len(data) > 0 and all(isinstance(item, Example) for item in data)


def _with_status(example: Example, encoded: Encoded, answer: ExampleGradients | Failure) -> _MeasuredExample:
    if isinstance(answer, Failure):
        return _MeasuredExample(example, "failed", answer.reason, encoded)
    if answer.problem:
        return _MeasuredExample(example, "failed", answer.problem, encoded)
    return _MeasuredExample(example, "ok", None, encoded, answer)


def _make_tables(measured: Sequence[_MeasuredExample]) -> Tables:
    ok = [(item.example, item.gradients) for item in measured if item.gradients]
    return Tables(
        _nan_to_null([_example_row(item) for item in measured], EXAMPLES),
        _nan_to_null([row for example, gradients in ok for row in _spectra_rows(example, gradients)], spectra_schema()),
        _nan_to_null([row for example, gradients in ok for row in _similarity_rows(example, gradients)], SIMILARITY),
    )


def _nan_to_null(rows: Sequence[tuple[Any, ...]], schema: pl.Schema) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _example_row(item: _MeasuredExample) -> tuple[Any, ...]:
    example, encoded, gradients = item.example, item.encoded, item.gradients
    counts: tuple[int | None, int | None, int | None, bool | None] = (None, None, None, None)
    if encoded:
        n, n_response = encoded.n_tokens, encoded.n_response_tokens
        counts = (n, n - n_response, n_response, encoded.truncated)
    losses = (gradients.loss, gradients.nll_sum) if gradients else (None, None)
    return (
        example.example_id, example.row, example.content_hash, *counts, *losses,
        item.status, item.reason, example.columns_json,
    )  # fmt: skip


def _spectra_rows(example: Example, gradients: ExampleGradients) -> Iterator[tuple[Any, ...]]:
    for item in gradients.spectra:
        p = item.projection
        yield (
            example.example_id, example.row, p.layer, p.name, p.d_out, p.d_in, *item.measures.values(),
            item.mean, *(item.extremes or (None, None)), item.singular_values,
        )  # fmt: skip


def _similarity_rows(example: Example, gradients: ExampleGradients) -> Iterator[tuple[Any, ...]]:
    for s in gradients.similarities:
        yield example.example_id, example.row, s.layer, s.other_layer, s.kind, s.pair, s.cosine
