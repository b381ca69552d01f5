"""`GradientAnalyzer`: examples in, tables out, on a model and tokenizer that one already holds."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import torch
from torch import nn

from gradprism.data.encode import Encoded, make_encoder
from gradprism.data.example import Example, RowProblemError
from gradprism.data.source import open_examples
from gradprism.errors import GradPrismError
from gradprism.gradients.capture import frozen
from gradprism.gradients.loss import LogitsChangedError, ResponseHead
from gradprism.gradients.precision import Computing, arithmetic_of
from gradprism.gradients.prism import measure_batch
from gradprism.gradients.reducer import EigenPool, ExampleGradients
from gradprism.models.projections import find_projections
from gradprism.recipe import SpectraRecipe, refuse_loading_options
from gradprism.tables import EXAMPLES, SIMILARITY, SPECTRA, Tables

_BATCH_TOKENS = {True: 512, False: 8192}  # on a CPU, and elsewhere
OnBatch = Callable[[int, int], None]  # examples done, tokens done
Encode = Callable[[Example], Encoded]


def _unwatched(examples: int, tokens: int) -> None:
    """Nobody hears that a batch is done."""


@dataclass(frozen=True)
class _Outcome:
    """What became of one example."""

    example: Example
    status: str
    reason: str | None = None
    encoded: Encoded | None = None
    gradients: ExampleGradients | None = None


class GradientAnalyzer:
    """Measures the gradients that examples send into a causal language model.

    The model is left as it was found: its weights' `requires_grad` and training mode are put back after each
    call, and no weight gradient is ever formed.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, recipe: SpectraRecipe | None = None, **options: Any):
        """`options` are those of `gradprism spectra` (template, max_length, projections, batch_tokens, ...).

        A `recipe`, where there is one already, stands in for them.
        Raises `GradPrismError` where a projection is not found, or an option is not known or has no effect here.
        """
        if recipe is None:
            refuse_loading_options(options)
            recipe = SpectraRecipe.from_options(("",), "", model="", **options)
        self.model = model
        self.projections = find_projections(model, recipe.prism.projection_names)
        self._encoder = make_encoder(tokenizer, recipe.text.within(getattr(model, "config", None)))
        self._head = ResponseHead(model)
        self._vocabulary = _vocabulary_of(model)
        self._read, self._prism = recipe.read, recipe.prism
        self._batch_tokens = recipe.execution.batch_tokens or _BATCH_TOKENS[self._head.device.type == "cpu"]
        self.arithmetic = arithmetic_of(recipe.prism.precision, self._head.device)
        self._computing = Computing(model, self.arithmetic, self._head.device, but=[self._head.layer])
        self._pool = EigenPool(recipe.execution.threads, stacked=self._head.device.type not in ("cpu", "mps"))

    def analyze(self, data: Any, on_batch: OnBatch = _unwatched) -> Tables:
        """Tables of all examples, in their order; see `gradprism.tables` for the columns.

        `data`: a list of `Example`, or whatever `gradprism.spectra` reads (paths, dicts, frames). An example
        that cannot be measured is a `skipped` or `failed` row with its reason. `on_batch` is called after each
        batch and may raise to stop.
        """
        examples = list(data) if _all_examples(data) else list(open_examples(data, self._read))
        return self._analyze(examples, self._encoder.encode, on_batch)

    def analyze_encoded(self, encoded: Sequence[tuple[Example, Encoded]]) -> Tables:
        """The same from token ids and response masks that were made elsewhere."""
        by_row = {example.row: item for example, item in encoded}
        return self._analyze([example for example, _ in encoded], lambda example: by_row[example.row])

    def _analyze(self, examples: Sequence[Example], encode: Encode, on_batch: OnBatch = _unwatched) -> Tables:
        if len({example.row for example in examples}) < len(examples):
            raise GradPrismError(
                "The examples' `row` numbers repeat; expected one of its own for each: the tables' key."
            )
        ready, unusable = self._encode(examples, encode)
        if unusable:
            on_batch(len(unusable), 0)
        outcomes = {outcome.example.row: outcome for outcome in [*unusable, *self._measured(ready, on_batch)]}
        return _tables([outcomes[example.row] for example in examples])

    def _measured(self, ready: Sequence[tuple[Example, Encoded]], on_batch: OnBatch) -> Iterator[_Outcome]:
        with frozen(self.model):
            for batch in length_buckets(ready, lambda: self._batch_tokens):
                yield from self._measure(batch)
                on_batch(len(batch), sum(encoded.n_tokens for _, encoded in batch))

    def _encode(
        self, examples: Sequence[Example], encode: Encode
    ) -> tuple[list[tuple[Example, Encoded]], list[_Outcome]]:
        ready, unusable = [], []
        for example in examples:
            try:
                ready.append((example, self._known(encode(example))))
            except RowProblemError as problem:
                unusable.append(_Outcome(example, "skipped", str(problem)))
        return ready, unusable

    def _known(self, encoded: Encoded) -> Encoded:
        """Refuse ids that the model has no embedding for: on a GPU they would end the process's hold on the device."""
        if self._vocabulary is not None and max(encoded.ids) >= self._vocabulary:
            raise RowProblemError(
                f"token id {max(encoded.ids)} is beyond the model's {self._vocabulary} embeddings: "
                "the tokenizer is not this model's"
            )
        return encoded

    def _measure(self, batch: Sequence[tuple[Example, Encoded]]) -> list[_Outcome]:
        """Measure one batch; a failure halves it, down to the single example that causes it, which then fails.

        After running out of memory later batches are made smaller too.
        """
        try:
            answers = measure_batch(
                self._head,
                self.projections,
                [encoded for _, encoded in batch],
                self._prism,
                self._pool,
                self._computing,
            )
        except LogitsChangedError:  # the head knows it from now on
            return self._measure(batch)
        except GradPrismError:
            raise
        except Exception as error:  # a model's own code raises what it likes
            out_of_memory, problem = _is_out_of_memory(error), _first_line(error)
            if not out_of_memory and "CUDA error" in problem:  # nothing runs on the device any more: no row's fault
                raise GradPrismError(
                    f"The device failed: {problem}\nRepeat the command to resume; --device cpu names the cause."
                ) from error
        else:
            return [_outcome(*pair, answer) for pair, answer in zip(batch, answers, strict=True)]
        if len(batch) == 1:  # outside the handler, so that the traceback holds no tensors
            reason = f"out of memory at batch size 1: {problem}" if out_of_memory else problem
            return [_Outcome(batch[0][0], "failed", reason, batch[0][1])]
        half = len(batch) // 2
        if out_of_memory:
            self._batch_tokens = min(self._batch_tokens, half * max(encoded.n_tokens for _, encoded in batch))
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return self._measure(batch[:half]) + self._measure(batch[half:])


def _all_examples(data: Any) -> bool:
    return isinstance(data, Sequence) and len(data) > 0 and all(isinstance(item, Example) for item in data)


def _is_out_of_memory(error: Exception) -> bool:
    """CUDA has a type for it; its libraries and the CPU allocator say it in words."""
    words = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(said in str(error) for said in words)


def _vocabulary_of(model: nn.Module) -> int | None:
    """How many token ids the model has embeddings for, where it says so."""
    embeddings = getattr(model, "get_input_embeddings", lambda: None)()
    size = getattr(embeddings, "num_embeddings", None)
    return size if isinstance(size, int) else None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def length_buckets(
    ready: Sequence[tuple[Example, Encoded]], batch_tokens: Callable[[], int]
) -> Iterator[list[tuple[Example, Encoded]]]:
    """Batches of examples of similar length, each at most `batch_tokens()` with its padding (or one example).

    Longest first, so that running out of memory shows at once.
    """
    batch: list[tuple[Example, Encoded]] = []
    for pair in sorted(ready, key=lambda item: item[1].n_tokens, reverse=True):
        longest = batch[0][1].n_tokens if batch else pair[1].n_tokens
        if batch and longest * (len(batch) + 1) > batch_tokens():
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch


def _outcome(example: Example, encoded: Encoded, answer: ExampleGradients) -> _Outcome:
    if answer.problem:
        return _Outcome(example, "failed", answer.problem, encoded)
    return _Outcome(example, "ok", None, encoded, answer)


def _tables(outcomes: Sequence[_Outcome]) -> Tables:
    ok = [(outcome.example, outcome.gradients) for outcome in outcomes if outcome.gradients]
    return Tables(
        _frame([_example_row(outcome) for outcome in outcomes], EXAMPLES),
        _frame([row for example, gradients in ok for row in _spectra_rows(example, gradients)], SPECTRA),
        _frame([row for example, gradients in ok for row in _similarity_rows(example, gradients)], SIMILARITY),
    )


def _frame(rows: Sequence[tuple[Any, ...]], schema: pl.Schema) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _example_row(outcome: _Outcome) -> tuple[Any, ...]:
    example, encoded, gradients = outcome.example, outcome.encoded, outcome.gradients
    counts: tuple[int | None, int | None, int | None, bool | None] = (None, None, None, None)
    if encoded:
        n, n_response = encoded.n_tokens, encoded.n_response_tokens
        counts = (n, n - n_response, n_response, encoded.truncated)
    losses = (gradients.loss, gradients.nll_sum) if gradients else (None, None)
    return (
        example.example_id, example.row, example.content_hash, *counts, *losses,
        outcome.status, outcome.reason, example.columns_json,
    )  # fmt: skip


def _spectra_rows(example: Example, gradients: ExampleGradients) -> Iterator[tuple[Any, ...]]:
    for item in gradients.spectra:
        p, m = item.projection, item.measures
        yield (
            example.example_id, example.row, p.layer, p.name, p.d_out, p.d_in,
            m.nuclear_norm, m.effective_rank, m.frobenius_norm, m.spectral_norm, m.stable_rank,
            item.mean, *(item.extremes or (None, None)), item.singular_values,
        )  # fmt: skip


def _similarity_rows(example: Example, gradients: ExampleGradients) -> Iterator[tuple[Any, ...]]:
    for s in gradients.similarities:
        yield example.example_id, example.row, s.layer, s.other_layer, s.kind, s.pair, s.cosine
