"""Measure the shards of a run of spectra, in this process or in another one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import polars as pl

from gradprism.core.progress import OnBatch, Say
from gradprism.data.example import Example
from gradprism.engine.task import Task
from gradprism.measurement.settings import SpectraRecipe
from gradprism.measurement.targets import mean_gradients
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.device import devices_in_words, find_device, find_spread
from gradprism.models.record import loaded_model_record, tokenizer_record
from gradprism.models.sources import ModelSource
from gradprism.models.text import text_identity
from gradprism.prism.architecture import architecture_digest
from gradprism.prism.measures import measures_identity, stored_measures
from gradprism.prism.tables import Tables
from gradprism.runs.record import refuse_other_machine


@dataclass
class MeasureTask(Task[Example, Tables]):
    """Measures the gradients of shards.

    The model is that of `source`. Where None, as on another machine, it is the one that the recipe names there, which
    must have the same `identity`.
    """

    recipe: SpectraRecipe
    identity: Mapping[str, Any]
    source: ModelSource | None = None

    def load(self, say: Say) -> None:
        """Load the model. Raises `GradPrismError` where this machine's model or arithmetic differs from the run's."""
        source = self.source or self._source_of_this_machine()
        self._load(source, say)
        if self.source is None and "arithmetic" in self.identity:
            refuse_other_machine(self.identity, {"arithmetic": self.analyzer.arithmetic})

    def run(self, examples: Sequence[Example], on_batch: OnBatch) -> Tables:
        """Measure the examples of one shard."""
        return self.analyzer.analyze(examples, on_batch, targets=self.targets)

    def failed(self, examples: Sequence[Example], reason: str) -> Tables:
        """Return the tables of examples that have all failed, for one reason."""
        from gradprism.prism.analyzer import failed_tables

        return failed_tables(examples, reason, self.recipe.prism, self.recipe.targets.names)

    def join(self, parts: Sequence[Tables]) -> Tables:
        """Join parts in the order of rows; parts of earlier versions may lack a column."""

        def joined(frames: Sequence[pl.DataFrame | None]) -> Any:
            there = [frame for frame in frames if frame is not None]
            return pl.concat(there, how="diagonal").sort("row", maintain_order=True) if there else None

        names = [each.name for each in fields(Tables) if each.name != "influence"]
        influence = {name: joined([part.influence[name] for part in parts]) for name in self.recipe.targets.names}
        return Tables(**{name: joined([getattr(part, name) for part in parts]) for name in names}, influence=influence)

    def _source_of_this_machine(self) -> ModelSource:
        source = find_checkpoint(self.recipe.checkpoint)
        here = {
            "model fingerprint": source.fingerprint(source.load_config()),
            "measures": measures_identity(stored_measures()),
        }
        refuse_other_machine(
            self.identity, here | text_identity(self.recipe.text) | architecture_digest(self.recipe.prism)
        )
        return source

    def _load(self, source: ModelSource, say: Say) -> None:
        from gradprism.prism.analyzer import GradientAnalyzer
        from gradprism.prism.estimated_spectrum import describe_estimates

        say(f"Loading {source.name}")
        device = source.device(find_device(self.recipe.execution.device))
        model = source.load_model(device, find_spread(self.recipe.execution))
        tokenizer = source.load_tokenizer()
        self.analyzer = GradientAnalyzer(model, tokenizer, recipe=self.recipe)
        if self.recipe.prism.precision != "exact":
            spectra = describe_estimates(self.recipe.prism.precision)
            say(f"Precision {self.recipe.prism.precision}: products {self.analyzer.arithmetic}; spectra {spectra}")
        self.targets = mean_gradients(self.analyzer, self.recipe.targets, self.recipe.read, self.identity, say)
        self.found = loaded_model_record(model, self.analyzer.found) | tokenizer_record(tokenizer)
        self.device = devices_in_words(model)


def arithmetic_there(recipe: SpectraRecipe, source: ModelSource, say: Say) -> str:
    """Return the arithmetic of the recipe's precision on the machine that measures; a run never mixes two."""
    if recipe.engine.engine == "local":
        return _arithmetic(recipe, source.device(find_device(recipe.execution.device)))
    from gradprism.engine.ray.run import ask_worker

    return ask_worker(recipe.engine, partial(_arithmetic, recipe), say)


def _arithmetic(recipe: SpectraRecipe, device: str | None = None) -> str:
    import torch

    from gradprism.prism.precision import arithmetic_of

    return arithmetic_of(recipe.prism.precision, torch.device(device or find_device(recipe.execution.device)))
