"""The three ways to measure a training: rows of the user's own, rows of its batches, and its batches' own backward."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from gradprism.core.errors import GradPrismError
from gradprism.data.settings import IN_MEMORY
from gradprism.files.paths import names_path
from gradprism.measurement.api import run_recipe
from gradprism.measurement.settings import SpectraRecipe
from gradprism.models.record import loaded_model_record, model_record
from gradprism.models.sources import LoadedModel
from gradprism.prism.analyzer import GradientAnalyzer, batch_tables
from gradprism.prism.measures import measures_identity, stored_measures
from gradprism.prism.settings import AnalyzerSettings
from gradprism.runs.layout import identity_of
from gradprism.runs.record import examples_of
from gradprism.runs.run import Run
from gradprism.runs.steps import measured_steps
from gradprism.training.batch_rows import BatchRow, rows_of_batch
from gradprism.training.live import LiveFactors
from gradprism.training.step_runs import StepFolder


class RowsProbe:
    """Measures the same rows at every step, by a pass of its own between two updates."""

    def __init__(self, model: nn.Module, tokenizer: Any, rows: Any, options: Mapping[str, Any]):
        """Keep the rows and the options of `gradprism.spectra`."""
        self._model, self._tokenizer, self._options = model, tokenizer, options
        are_paths = names_path(rows) or (isinstance(rows, list | tuple) and all(map(names_path, rows)))
        self._paths = (rows,) if names_path(rows) else tuple(rows) if are_paths else IN_MEMORY
        self._rows = self._paths if are_paths else rows

    def settings(self) -> dict[str, Any]:
        """Return the settings in which all steps of a training agree. Raises `GradPrismError` for unreadable rows."""
        recipe = self._recipe("", LoadedModel(self._model, self._tokenizer), None)
        same = {name: value for name, value in recipe.identity().items() if not name.startswith("checkpoint.")}
        return same | {"data fingerprint": examples_of(recipe, self._rows).fingerprint}

    def measure(self, folder: StepFolder, step: int) -> Run:
        """Measure the rows with the weights as they are, into the run of a step."""
        source = LoadedModel(self._model, self._tokenizer, folder.moment(step))
        earlier = [identity_of(folder.run_path(each)).get("text.date") for each in measured_steps(folder.path)]
        recipe = self._recipe(str(folder.run_path(step)), source, next(filter(None, earlier), None))
        return run_recipe(recipe, data=self._rows, model=source)

    def _recipe(self, out: str, source: LoadedModel, date: str | None) -> SpectraRecipe:
        options = {"date": date, **self._options}
        return SpectraRecipe.from_options(tuple(map(str, self._paths)), out, model=source.name, dtype="auto", **options)


class BatchProbe(ABC):
    """Measures the first rows of the batch that a step begins with."""

    def __init__(
        self, model: nn.Module, tokenizer: Any, settings: AnalyzerSettings, limit: int, layers: Sequence[int] | None
    ):
        """Find the projections of the model. Raises `GradPrismError` where it has no such layers."""
        self._model, self._tokenizer, self._settings, self._limit = model, tokenizer, settings, limit
        self._analyzer = GradientAnalyzer(model, tokenizer, recipe=settings)
        self._layers = tuple(self._analyzer.found.layers) if layers is None else tuple(layers)
        if unknown := [layer for layer in self._layers if layer not in self._analyzer.found.layers]:
            raise GradPrismError(f"layers={list(self._layers)}: the model has no projections in layer {unknown[0]}.")
        self._stack = ExitStack()
        self._rows: list[BatchRow] = []
        self._problem: GradPrismError | None = None

    def settings(self) -> dict[str, Any]:
        """Return the settings in which all steps of a training agree."""
        own = {f"prism.{name}": value for name, value in self._settings.prism}
        measures = measures_identity(stored_measures())
        return own | {"rows": type(self).__name__, "limit": self._limit, "layers": list(self._layers)} | (
            {"measures": measures} if measures else {}
        )  # fmt: skip

    def arm(self) -> None:
        """Watch the next batch that the model is given."""
        self.disarm()
        handle = self._model.register_forward_pre_hook(self._on_batch, with_kwargs=True)
        self._stack.callback(handle.remove)

    def disarm(self) -> None:
        """Remove what hooks there are."""
        self._stack.close()
        self._rows, self._problem = [], None

    @property
    def is_ready(self) -> bool:
        """True once a batch was caught that has rows to measure, or that cannot be read."""
        return bool(self._rows or self._problem)

    def _on_batch(self, _: nn.Module, args: tuple[Any, ...], inputs: Mapping[str, Any]) -> None:
        if self.is_ready:
            return
        try:
            self._rows = rows_of_batch(inputs, self._limit)
        except GradPrismError as problem:  # raised after the pass, which is the trainer's
            self._problem = problem
        if self._rows:
            self._catch(inputs["input_ids"])

    @abstractmethod
    def _catch(self, ids: Tensor) -> None:
        """Prepare for the pass of a batch that is about to begin."""

    @abstractmethod
    def _tables(self, ready: Sequence[Any]) -> Any:
        """Return the tables of the rows that were caught, as examples with their tokens."""

    def measure(self, folder: StepFolder, step: int) -> Run:
        """Measure the rows of the batch that was caught, into the run of a step; the weights are still those of it.

        Raises `GradPrismError` where they cannot be measured.
        """
        self._stack.close()
        if self._problem:
            raise self._problem
        ready = [(row.example(at, step, self._tokenizer), row.encoded) for at, row in enumerate(self._rows)]
        tables = self._tables(ready)
        source = LoadedModel(self._model, self._tokenizer, folder.moment(step))
        model = model_record(source, source.load_config()) | loaded_model_record(self._model, self._analyzer.found)
        fingerprint = hashlib.sha256(repr([row.encoded.ids for row in self._rows]).encode()).hexdigest()
        made = {"data fingerprint": fingerprint, "model fingerprint": model["revision"], "part_rows": len(ready)}
        data = {"sources": ["batches of the training"], "formats": [], "schema": "tokens and labels"}
        description = {
            "complete": False,
            "identity": self.settings() | made | {"checkpoint.model": source.name, "checkpoint.dtype": model["dtype"]},
            "data": data | {"rows": len(ready), "fingerprint": fingerprint},
            "model": model | {"measured_layers": list(self._layers)},
        }
        self._rows = []
        return folder.write(step, description, tables)


class SeenRowsProbe(BatchProbe):
    """Measures rows of a batch by a pass of its own, after the batch's backward and before the update."""

    def _catch(self, ids: Tensor) -> None:
        """Need nothing of the pass."""

    def _tables(self, ready: Sequence[Any]) -> Any:
        return self._analyzer.analyze_encoded(ready)


class LiveProbe(BatchProbe):
    """Measures rows of a batch from the factors of the batch's own backward."""

    def _catch(self, ids: Tensor) -> None:
        projections = [each for each in self._analyzer.projections if each.layer in self._layers]
        self._factors = LiveFactors(self._model, projections, self._rows, ids.shape)
        self._stack.enter_context(self._factors.catching())

    def _tables(self, ready: Sequence[Any]) -> Any:
        prism, head = self._settings.prism, self._model.get_output_embeddings()  # type: ignore[operator]
        measured = self._factors.measure(head, prism, self._analyzer.pool)
        del self._factors
        return batch_tables(ready, measured, prism)
