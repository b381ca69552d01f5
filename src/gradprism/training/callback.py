"""`SpectraCallback`: measures gradient spectra while a trainer of transformers or TRL trains."""

import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gradprism.core.errors import GradPrismError
from gradprism.core.python_options import PythonOptions
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.files.paths import to_path
from gradprism.models.random_numbers import random_numbers_kept
from gradprism.models.settings import PLACING_OPTIONS, refuse_loading_options
from gradprism.prism.settings import AnalyzerSettings
from gradprism.training.probes import BatchProbe, LiveProbe, RowsProbe, SeenRowsProbe
from gradprism.training.step_runs import StepFolder, step_folder, summary_of
from gradprism.training.trainer import calling_trainer, log_through, whole_model

_NOT_LIVE = ("precision", "batch_tokens", "tokens", "sketch", "sketch_seed")
_OF_ROWS = ("loss", "beta", "reference", "weights")
_OPTIONS = PythonOptions(
    AnalyzerSettings, but=(*PLACING_OPTIONS, "rows", "sample", "seed", "limit"), refuse=refuse_loading_options
)


class SpectraCallback(TrainerCallback):  # type: ignore[misc]
    """Measures gradient spectra every so many steps of a training, logs their means, and writes a run for each step.

    Given to `Trainer(callbacks=[...])`, `SFTTrainer` or `add_callback`. The training goes on as it would without:
    same weights, losses and random numbers. `gradprism.open_steps` reads what it has written.
    """

    @_OPTIONS
    def __init__(
        self,
        rows: Any = None,
        *,
        every: int = 100,
        out: str | Path | None = None,
        live: bool = False,
        limit: int = 8,
        layers: Sequence[int] | None = None,
        tokenizer: Any = None,
        columns: str | Mapping[str, str] = "",
        split: str | None = None,
        config: str | None = None,
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
        """Choose what to measure, and when.

        `rows`: the rows to measure, as `gradprism.spectra` takes its data; without any, those of the batch that a step
        begins with, as the trainer has tokenised them. `every`: measure before the first update, after every so many,
        and (given rows) after the last. `live`: read the batch's gradients from its own backward pass instead of a pass
        of their own. `limit`: at most so many rows. `layers`: those to read where `live`; all by default. `out`: the
        folder, by default OUTPUT_DIR/spectra. `tokenizer`: by default the trainer's. The other options are those of
        `gradprism spectra`.

        Raises `GradPrismError` for options that are unknown or have no effect, here or when the training begins.
        """
        options = _OPTIONS.given(locals())
        _refuse_numbers(every=every, limit=limit)
        _refuse_without_effect(rows, live, layers, options)
        self._settings = AnalyzerSettings.from_options(**options)
        self._rows, self._every, self._out, self._live = rows, every, out, live
        self._limit, self._layers, self._tokenizer, self._options = limit, layers, tokenizer, options
        self._probe: RowsProbe | BatchProbe | None = None
        self._has_measured = False

    def __repr__(self) -> str:
        """Say what is measured, and how often."""
        what = "the batch's own backward" if self._live else "rows of the batch" if self._rows is None else "rows"
        return f"SpectraCallback({what}, every {self._every:,} steps)"

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Prepare, and measure the rows before the first update; processes but the first leave it to that one."""
        self._disarm()
        self._trainer, self._probe = calling_trainer(), None
        model = whole_model(self._trainer)
        if not state.is_world_process_zero:
            return
        self._refuse_compiled(args)
        out = to_path(self._out) if self._out is not None else Path(args.output_dir) / "spectra"
        with random_numbers_kept():  # libraries draw from Python's for names of files
            probe = self._make_probe(model, self._tokenizer or _tokenizer_of(self._trainer))
            self._folder: StepFolder = step_folder(out, state.global_step, probe.settings(), warnings.warn)
        self._probe, self._has_measured = probe, False
        if isinstance(probe, RowsProbe) and self._is_due(state):
            self._measure(state.global_step, control)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Watch the batch that comes, where its rows are to be measured."""
        if isinstance(self._probe, BatchProbe) and self._is_due(state):
            self._probe.arm()

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure the batch after its backward, the first of several that are accumulated."""
        self._measure_batch(state, control)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure the batch after its backward, and before the weights change."""
        self._measure_batch(state, control)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure the rows after an update, every so many and after the last."""
        self._disarm()
        is_last = control.should_training_stop
        if isinstance(self._probe, RowsProbe) and self._is_due(state, is_last):
            self._measure(state.global_step, control)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Let go of the model."""
        self._disarm()
        self._probe = self._trainer = None

    def _is_due(self, state: TrainerState, is_last: bool = False) -> bool:
        step: int = state.global_step
        return (is_last or step % self._every == 0) and not self._folder.holds(step)

    def _measure_batch(self, state: TrainerState, control: TrainerControl) -> None:
        if isinstance(self._probe, BatchProbe) and self._probe.is_ready:
            self._measure(state.global_step, control)

    def _measure(self, step: int, control: TrainerControl) -> None:
        """Measure a step and log it. Once a step was measured, a failure is a warning: the training goes on."""
        assert self._probe is not None
        begun = time.perf_counter()
        try:
            with random_numbers_kept():
                found = summary_of(self._probe.measure(self._folder, step))
        except GradPrismError as error:
            self._disarm()
            if not self._has_measured:
                raise
            warnings.warn(f"SpectraCallback: step {step:,} was not measured: {error}", stacklevel=2)
            return
        self._has_measured = True
        found["seconds"] = time.perf_counter() - begun
        log_through(self._trainer, control, {f"spectra/{name}": value for name, value in found.items()})

    def _make_probe(self, model: Any, tokenizer: Any) -> RowsProbe | BatchProbe:
        if self._rows is not None:
            return RowsProbe(model, tokenizer, self._rows, {**self._options, "limit": self._limit})
        kind = LiveProbe if self._live else SeenRowsProbe
        return kind(model, tokenizer, self._settings, self._limit, self._layers)

    def _refuse_compiled(self, args: TrainingArguments) -> None:
        if self._live and args.torch_compile:
            raise GradPrismError(
                "live=True with torch_compile=True: compiled code leaves out the hooks that read the factors. Expected "
                "one of the two; with live=False a pass of its own is measured, uncompiled."
            )

    def _disarm(self) -> None:
        if isinstance(self._probe, BatchProbe):
            self._probe.disarm()


def _tokenizer_of(trainer: Any) -> Any:
    """Return the trainer's tokenizer. Raises `GradPrismError` where it has none."""
    given = trainer.processing_class
    if given is None:
        raise GradPrismError(
            "SpectraCallback: the trainer has no tokenizer. Expected Trainer(processing_class=tokenizer), or "
            "SpectraCallback(tokenizer=tokenizer)."
        )
    return getattr(given, "tokenizer", given)


def _refuse_numbers(**given: int) -> None:
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise GradPrismError(f"SpectraCallback: {name}={value!r}. Expected a whole number, 1 or more.")


def _refuse_without_effect(rows: Any, live: bool, layers: Sequence[int] | None, options: Mapping[str, Any]) -> None:
    """Raise `GradPrismError` for options that do nothing together with the others."""
    if live and rows is not None:
        raise GradPrismError("SpectraCallback: live=True reads rows of the batches. Expected no rows, or live=False.")
    if layers is not None and not live:
        raise GradPrismError("SpectraCallback: layers chooses what live=True reads. Expected both, or neither.")
    read = (ReadSettings, TextSettings)
    of_rows = [name for name in options if rows is None and (_OPTIONS.settings[name] in read or name in _OF_ROWS)]
    not_live = [name for name in options if live and name in _NOT_LIVE]
    if unused := [*of_rows, *not_live]:
        why = "batches are as the trainer has tokenised them" if of_rows else "live=True has no pass of its own"
        raise GradPrismError(f"SpectraCallback: {', '.join(unused)} has no effect: {why}. Expected it left out.")
