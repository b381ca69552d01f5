"""What is done with each shard of a run of spectra, in this process or in another one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from gradprism.data.example import Example
from gradprism.engine.work import OnBatch, Publishing, Say, Work
from gradprism.files.lease import check_lease
from gradprism.files.places import is_shared
from gradprism.measurement.settings import SpectraRecipe
from gradprism.models.checkpoints import ModelSource, find_checkpoint
from gradprism.models.description import loaded_model_record
from gradprism.models.device import find_device, find_spread, layout_of
from gradprism.models.text import text_identity
from gradprism.prism.architecture import architecture_digest
from gradprism.prism.tables import Tables
from gradprism.runs.parts import publish_part
from gradprism.runs.record import refuse_other_machine
from gradprism.runs.writer import RunWriter

if TYPE_CHECKING:
    from gradprism.prism.analyzer import GradientAnalyzer
    from gradprism.prism.precision import Arithmetic


@dataclass(frozen=True)
class _Analyzing:
    """An analyzer as a worker."""

    analyzer: "GradientAnalyzer"
    device: str
    note: str = ""

    @property
    def found(self) -> dict[str, Any]:
        return loaded_model_record(self.analyzer.model, self.analyzer.found)

    def __call__(self, examples: Sequence[Example], on_batch: OnBatch) -> Tables:
        return self.analyzer.analyze(examples, on_batch)


def work_of(recipe: SpectraRecipe, source: ModelSource, identity: Mapping[str, Any]) -> Work[Tables]:
    """The work of a run whose record has this identity.

    In this process the model is that of `source`; in others what the recipe names there, which must be the same.
    """
    load: Callable[[Say], _Analyzing] = (
        partial(_load, recipe, source)
        if recipe.engine.engine == "local"
        else partial(_load_there, recipe, dict(identity))
    )
    return Work(load, _failed, _joined)


def publishing_of(writer: RunWriter) -> Publishing[Tables]:
    """How an engine gets parts into a run: in an object store its workers put them there themselves."""
    if not is_shared(writer.path):
        return Publishing(writer.publish)
    return Publishing(writer.publish, partial(publish_part, writer.path), partial(check_lease, writer.path))


def _load(recipe: SpectraRecipe, source: ModelSource, say: Say) -> _Analyzing:
    from gradprism.prism.analyzer import GradientAnalyzer

    say(f"Loading {source.name}")
    device = source.device(find_device(recipe.execution.device))
    model = source.load_model(device, find_spread(recipe.execution))
    analyzer = GradientAnalyzer(model, source.load_tokenizer(), recipe=recipe)
    if recipe.prism.precision != "exact":
        say(f"Precision {recipe.prism.precision}: {_in_words(analyzer.arithmetic)}")
    return _Analyzing(analyzer, layout_of(model))


def _load_there(recipe: SpectraRecipe, identity: Mapping[str, Any], say: Say) -> _Analyzing:
    """Raises `GradPrismError` where the machine would compute something else than the run is made of."""
    source = find_checkpoint(recipe.checkpoint)
    here: dict[str, Any] = {"model fingerprint": source.fingerprint(source.load_config())}
    here |= text_identity(recipe.text) | architecture_digest(recipe.prism)
    refuse_other_machine(identity, here)
    worker = _load(recipe, source, say)
    if "arithmetic" in identity:
        refuse_other_machine(identity, {"arithmetic": worker.analyzer.arithmetic})
    return worker


def _in_words(arithmetic: str) -> str:
    if arithmetic == "as loaded":
        return "this device has no unit that would be faster; computing as with exact"
    return f"{arithmetic}; spectra in fp64"


def arithmetic_there(recipe: SpectraRecipe, source: ModelSource, say: Say) -> str:
    """What the precision asked for comes to where the work is done: a run never mixes two."""
    if recipe.engine.engine == "local":
        return _arithmetic(recipe, source.device(find_device(recipe.execution.device)))
    from gradprism.engine.ray.engine import ask

    return ask(recipe.engine, partial(_arithmetic, recipe), say)


def _arithmetic(recipe: SpectraRecipe, device: str | None = None) -> "Arithmetic":
    import torch

    from gradprism.prism.precision import arithmetic_of

    return arithmetic_of(recipe.prism.precision, torch.device(device or find_device(recipe.execution.device)))


def _failed(examples: Sequence[Example], reason: str) -> Tables:
    from gradprism.prism.analyzer import failed_tables

    return failed_tables(examples, reason)


def _joined(parts: Sequence[Tables]) -> Tables:
    def joined(table: str) -> pl.DataFrame:
        frames: list[pl.DataFrame] = [getattr(part, table) for part in parts]
        return pl.concat(frames, how="diagonal").sort("row", maintain_order=True)  # old parts may lack a column

    return Tables(joined("examples"), joined("spectra"), joined("similarity"))
