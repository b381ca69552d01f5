"""`GradientAnalyzer`: measures examples on a loaded model and tokenizer, and returns tables."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import polars as pl
from torch import nn

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import OnBatch, count_nothing
from gradprism.core.python_options import PythonOptions
from gradprism.data.encode import Encoded, make_encoder
from gradprism.data.example import Example, RowProblemError
from gradprism.data.example_set import open_examples
from gradprism.data.pieces import TokenPieces
from gradprism.models.adapters import refuse_kinds
from gradprism.models.batches import Batches, Failure
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.device import find_device
from gradprism.models.full_precision import full_products, model_itself
from gradprism.models.likelihood import LogitsChangedError, ResponseHead
from gradprism.models.positions import position_limit
from gradprism.models.projections.architecture import read_architecture
from gradprism.models.projections.discovery import find_projections
from gradprism.models.quantised import refuse_forward_only
from gradprism.models.settings import PLACING_OPTIONS, CheckpointSettings, refuse_loading_options
from gradprism.models.usage import used_projections
from gradprism.prism.capture import frozen
from gradprism.prism.eigen_pool import EigenPool
from gradprism.prism.example_gradients import ExampleGradients, TokenGradients
from gradprism.prism.gradient import Reader
from gradprism.prism.losses import encode_for
from gradprism.prism.precision import Computing, arithmetic_of
from gradprism.prism.prism import measure_batch
from gradprism.prism.settings import AnalyzerSettings, MeasuringSettings, PrismSettings
from gradprism.prism.sketch import Sketcher
from gradprism.prism.tables import EXAMPLES, INFLUENCE, SIMILARITY, TOKENS, Tables, sketches_schema, spectra_schema
from gradprism.prism.target import MeanReader, Target, TargetMean, TargetReader, refuse_unlike

Encode = Callable[[Example], Encoded]
Ready = tuple[Example, Encoded]
Measure = Callable[[Sequence[Ready]], list[ExampleGradients]]
_NOTHING_MORE = PrismSettings()


@dataclass(frozen=True)
class _MeasuredExample:
    """An example with its status, and what was measured of it."""

    example: Example
    status: str
    reason: str | None = None
    encoded: Encoded | None = None
    gradients: ExampleGradients | None = None


_OPTIONS = PythonOptions(AnalyzerSettings, but=PLACING_OPTIONS, refuse=refuse_loading_options)


class GradientAnalyzer:
    """Measures the gradients of examples with respect to the projections of a causal language model.

    The model is left unchanged: the `requires_grad` of its weights and its training mode are restored after each
    call, and no weight gradient is ever stored.
    """

    @_OPTIONS
    def __init__(
        self,
        model: nn.Module | str | Path,
        tokenizer: Any = None,
        *,
        recipe: MeasuringSettings | None = None,
        columns: str | Mapping[str, str] = "",
        split: str | None = None,
        config: str | None = None,
        rows: str | None = None,
        sample: int | None = None,
        seed: int = 0,
        limit: int | None = None,
        max_row_bytes: int = 2**26,
        template: str | Path = "auto",
        system: str | None = None,
        date: str | None = None,
        turns: Literal["all", "last"] = "all",
        end_of_turn: bool = True,
        max_length: int = 2048,
        response_tokens: int | None = None,
        prompt_tokens: int | None = None,
        projections: str | Sequence[str] = "q,k,v,o",
        architecture: str | Path | None = None,
        entry_stats: bool = False,
        all_layers: bool = False,
        spectrum: bool | str = True,
        tokens: bool = False,
        null_draws: int = 0,
        null: Literal["permuted", "signs"] = "permuted",
        sketch: int = 0,
        sketch_seed: int = 0,
        loss: Literal["sft", "dpo"] = "sft",
        beta: float = 0.1,
        reference: Literal["model", "base", "columns"] = "model",
        weights: str | None = None,
        precision: Literal["exact", "balanced", "fast"] = "exact",
        batch_tokens: int | None = None,
        threads: int | None = None,
    ):
        """Find the projections of a model, and prepare to measure them.

        `model`: a loaded one, together with its `tokenizer`; or a name as `gradprism.spectra` takes it, which is loaded
        in float32 onto the device at hand. The options are those of `gradprism spectra`
        (template, max_length, projections, batch_tokens, ...); a `recipe` replaces them. The attribute `found` says
        which projections the model has, and in which layers.
        Raises `GradPrismError` where a projection is not found, the model's weights or adapters cannot be measured, or
        an option is not known or has no effect here.
        """
        options = _OPTIONS.given(locals())
        loaded, self._tokenizer = _loaded(model, tokenizer)
        if recipe is None:
            recipe = AnalyzerSettings.from_options(**options)
        self.model = model_itself(loaded)
        refuse_kinds(self.model)
        with full_products():
            refuse_forward_only(self.model)
        self._head = ResponseHead(self.model)
        if recipe.prism.reference == "base":
            self._head.refuse_without_adapter()
        described = read_architecture(recipe.prism.architecture) if recipe.prism.architecture else None
        found = find_projections(self.model, recipe.prism.projection_names, described)
        self.found = used_projections(self.model, found, self._head.device)
        self.projections = self.found.projections
        self._text = recipe.text.at_most(position_limit(getattr(self.model, "config", None)))
        self._encoder = make_encoder(self._tokenizer, self._text)  # refuses a template that cannot be used
        self._read, self._prism = recipe.read, recipe.prism
        self._pieces = TokenPieces(self._tokenizer) if recipe.prism.tokens else None
        self._batches = Batches[Ready](lambda item: item[1].n_tokens, recipe.execution.batch_tokens, self._head.device)
        self.arithmetic = arithmetic_of(recipe.prism.precision, self._head.device)
        self._computing = Computing(self.model, self.arithmetic, self._head.device, but=[self._head.layer])
        self._readers = [Sketcher(recipe.prism.sketch, recipe.prism.sketch_seed)] if recipe.prism.sketch else []
        self.pool = EigenPool(recipe.execution.threads, stacked=self._head.device.type not in ("cpu", "mps"))

    def __repr__(self) -> str:
        """Name the model, what is measured of it, and how."""
        text = f"template {self._text.template}, at most {self._text.max_length:,} tokens"
        model = f"{type(self.model).__name__} on {self._head.device}"
        return f"GradientAnalyzer({model}: {self.found.in_words}; {self._prism.precision}, {text})"

    def analyze(self, data: Any, on_batch: OnBatch = count_nothing, *, targets: Sequence[Target] = ()) -> Tables:
        """Return the tables of all examples, in their order; see `gradprism.prism.tables` for the columns.

        `data`: a list of `Example`, or whatever `gradprism.spectra` reads (paths, dicts, frames). An example
        that cannot be measured is a `skipped` or `failed` row with its reason. `on_batch` is called after each
        batch and may raise to stop. Every gradient is also compared with those of `targets`, made by `target`.
        """
        return self._analyze(self._examples_of(data), self._encode_one, on_batch, targets)

    def analyze_encoded(self, encoded: Sequence[Ready], *, targets: Sequence[Target] = ()) -> Tables:
        """Return the tables of examples that are given as token ids and response masks, in their order."""
        if self._prism.loss == "dpo" and any(item.sides is None for _, item in encoded):
            raise GradPrismError("loss='dpo': expected token ids of both answers (`Encoded.sides`) in every example.")
        by_row = {example.row: item for example, item in encoded}
        return self._analyze([example for example, _ in encoded], lambda example: by_row[example.row], targets=targets)

    def influence(
        self, data: Any, targets: Sequence[Target], on_batch: OnBatch = count_nothing
    ) -> Mapping[str, pl.DataFrame]:
        """Return the table `INFLUENCE` of all examples for each target, without measuring spectra."""
        examples = self._examples_of(data)
        return self._analyze(examples, self._encode_one, on_batch, targets, spectra=False).influence

    def target(self, name: str, data: Any, mean: TargetMean = "plain", rank: int = 8) -> Target:
        """Return the mean gradient of some examples, and `rank` singular vectors of it in each projection.

        `data` as for `analyze`. With `unit` each example's gradient is divided by its norm before they are averaged.
        Raises `GradPrismError` where no example can be measured.
        """
        ready, unusable = self._encode(self._examples_of(data), self._encoder.encode)
        problems = [item.reason for item in unusable]
        return self._target(name, ready, mean, rank, problems, self._encoder.settings.template)

    def target_encoded(self, name: str, encoded: Sequence[Ready], mean: TargetMean = "plain", rank: int = 8) -> Target:
        """Return a target as `target` does, of examples that are given as token ids and response masks."""
        return self._target(name, encoded, mean, rank, [], None)

    def _encode_one(self, example: Example) -> Encoded:
        """Encode an example for the loss that is measured, by the template that was chosen last."""
        return encode_for(self._prism, self._encoder)(example)

    def _target(
        self,
        name: str,
        encoded: Sequence[Ready],
        mean: TargetMean,
        rank: int,
        problems: Sequence[str | None],
        template: str | None,
    ) -> Target:
        """Return a target; `problems` are those of further rows, which could not be encoded."""
        reader, problems, ready = MeanReader(mean), [*problems], list(encoded)
        rows = len(problems) + len(ready)
        with frozen(self.model):
            for item in ready:
                measure = partial(self._measure, readers=[reader], spectra=False)
                (answer,) = self._batches.answers([item], measure)
                problems.append(answer.reason if isinstance(answer, Failure) else answer.problem)
        if not reader.rows:
            reason = next(filter(None, problems), "they are empty, or their gradients are zero")
            raise GradPrismError(
                f"Target {name}: none of its {rows:,} rows has a gradient: {reason}. Expected prompts with "
                "responses that this model and template can read, as the data have."
            )
        return reader.target(name, rank, template, self.model)

    def _examples_of(self, data: Any) -> list[Example]:
        """Return examples as a list, and choose the template by them where it is `auto`."""
        examples = list(data) if _all_examples(data) else list(open_examples(data, self._read))
        if self._text.template == "auto":
            n_conversations = sum(example.is_conversation for example in examples)
            self._encoder = make_encoder(self._tokenizer, self._text, n_conversations)
        return examples

    def _analyze(
        self,
        examples: Sequence[Example],
        encode: Encode,
        on_batch: OnBatch = count_nothing,
        targets: Sequence[Target] = (),
        *,
        spectra: bool = True,
    ) -> Tables:
        if len({example.row for example in examples}) < len(examples):
            raise GradPrismError(
                "The examples' `row` numbers repeat; expected a different one for each, since it is the tables' key."
            )
        ready, unusable = self._encode(examples, encode)
        if unusable:
            on_batch(len(unusable), 0)
        for target in targets:
            keys = {(each.layer, each.name) for each in self.projections}
            refuse_unlike(target, self._encoder.settings.template, self.model, keys)
        readers = [*(self._readers if spectra else ()), *([TargetReader(targets)] if targets else ())]
        measure = partial(self._measure, readers=readers, spectra=spectra)
        measured = {item.example.row: item for item in [*unusable, *self._measure_batches(ready, measure, on_batch)]}
        names = [target.name for target in targets]
        return _make_tables([measured[example.row] for example in examples], self._prism, self._pieces, names)

    def _measure_batches(
        self, ready: Sequence[Ready], measure: Measure, on_batch: OnBatch
    ) -> Iterator[_MeasuredExample]:
        with frozen(self.model):
            for batch in self._batches.cut(ready):
                for (example, encoded), answer in zip(batch, self._batches.answers(batch, measure), strict=True):
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

    def _measure(
        self, batch: Sequence[Ready], readers: Sequence[Reader] = (), spectra: bool = True
    ) -> list[ExampleGradients]:
        encoded = [item for _, item in batch]
        try:
            return measure_batch(
                self._head, self.projections, encoded, self._prism, self.pool, self._computing, readers, spectra
            )
        except LogitsChangedError:  # raised once: the head has noted it
            return self._measure(batch, readers, spectra)


def _loaded(model: Any, tokenizer: Any) -> tuple[nn.Module, Any]:
    """Return a model and its tokenizer, loaded where a name is given. Raises `GradPrismError` for anything else."""
    if isinstance(model, str | Path):
        source = find_checkpoint(CheckpointSettings(model=str(model)))
        return source.load_model(source.device(find_device("auto"))), tokenizer or source.load_tokenizer()
    if not isinstance(model, nn.Module):
        raise GradPrismError(
            f"GradientAnalyzer: given {type(model).__name__} as the model. Expected a loaded one, such as "
            "AutoModelForCausalLM.from_pretrained(NAME), with its tokenizer, or a name."
        )
    if tokenizer is None or isinstance(tokenizer, str | Path):
        raise GradPrismError(
            f"GradientAnalyzer: given {tokenizer!r} as the tokenizer. Expected that of the model, loaded, such as "
            "AutoTokenizer.from_pretrained(NAME)."
        )
    return model, tokenizer


def failed_tables(
    examples: Sequence[Example], reason: str, prism: PrismSettings = _NOTHING_MORE, targets: Sequence[str] = ()
) -> Tables:
    """Return the tables of examples that have all failed, for one reason; those that the settings ask for too."""
    failed = [_MeasuredExample(example, "failed", reason) for example in examples]
    return _make_tables(failed, prism, None, targets)


def batch_tables(
    encoded: Sequence[Ready], gradients: Sequence[ExampleGradients], prism: PrismSettings = _NOTHING_MORE
) -> Tables:
    """Return the tables of examples whose gradients were measured in a pass of the caller's."""
    measured = [_with_status(*item, answer) for item, answer in zip(encoded, gradients, strict=True)]
    return _make_tables(measured, prism, None, ())


def _all_examples(data: Any) -> bool:
    return isinstance(data, Sequence) and len(data) > 0 and all(isinstance(item, Example) for item in data)


def _with_status(example: Example, encoded: Encoded, answer: ExampleGradients | Failure) -> _MeasuredExample:
    if isinstance(answer, Failure):
        return _MeasuredExample(example, "failed", answer.reason, encoded)
    if answer.problem:
        return _MeasuredExample(example, "failed", answer.problem, encoded)
    return _MeasuredExample(example, "ok", None, encoded, answer)


def _make_tables(
    measured: Sequence[_MeasuredExample], prism: PrismSettings, pieces: TokenPieces | None, targets: Sequence[str]
) -> Tables:
    ok = [(item.example, item.gradients) for item in measured if item.gradients]
    schema = spectra_schema(prism)
    sketches = [(example.example_id, example.row, *g.sketch) for example, g in ok if g.sketch]
    return Tables(
        _nan_to_null([_example_row(item) for item in measured], EXAMPLES),
        _nan_to_null([row for example, gradients in ok for row in _spectra_rows(example, gradients)], schema),
        _nan_to_null([row for example, gradients in ok for row in _similarity_rows(example, gradients)], SIMILARITY),
        _tokens_table(measured, pieces) if prism.tokens else None,
        pl.DataFrame(sketches, schema=sketches_schema(prism.sketch), orient="row") if prism.sketch else None,
        {name: _influence_table(measured, name) for name in targets},
    )


def _influence_table(measured: Sequence[_MeasuredExample], target: str) -> pl.DataFrame:
    return pl.DataFrame([_influence_row(item, target) for item in measured], schema=INFLUENCE, orient="row")


def _influence_row(item: _MeasuredExample, target: str) -> tuple[Any, ...]:
    example = item.example
    if not item.gradients:
        return example.example_id, example.row, None, item.status, item.reason, *[None] * 5
    whole, single = item.gradients.influence[target]
    reason = "its gradient is zero" if whole.cosine is None else None
    return (
        example.example_id, example.row, whole.cosine, item.status, reason, whole.inner_product, whole.left_share,
        whole.right_share, whole.share, [asdict(each) for each in single],
    )  # fmt: skip


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
            item.mean, *(item.extremes or (None, None)), item.singular_values, *item.tail.values(),
        )  # fmt: skip


def _tokens_table(measured: Sequence[_MeasuredExample], pieces: TokenPieces | None) -> pl.DataFrame:
    rows = [
        _tokens_row(item.example, item.encoded, item.gradients.tokens, pieces)
        for item in measured
        if pieces and item.encoded and item.gradients and item.gradients.tokens
    ]
    return pl.DataFrame(rows, schema=TOKENS, orient="row")


def _tokens_row(example: Example, encoded: Encoded, measured: TokenGradients, pieces: TokenPieces) -> tuple[Any, ...]:
    losses = iter(measured.losses)
    by_token = [next(losses) if in_loss else None for in_loss in (False, *encoded.response_mask[1:])]
    total = [math.fsum(sizes) for sizes in zip(*measured.sizes.values(), strict=True)]
    by_projection = [{"projection": name, "gradient_size": sizes} for name, sizes in measured.sizes.items()]
    return example.example_id, example.row, encoded.ids, pieces.of(encoded.ids), by_token, total, by_projection


def _similarity_rows(example: Example, gradients: ExampleGradients) -> Iterator[tuple[Any, ...]]:
    for s in gradients.similarities:
        yield example.example_id, example.row, s.layer, s.other_layer, s.kind, s.pair, s.cosine
