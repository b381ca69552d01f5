"""List the kinds of steps: what does each of them, and what tells that its results are still there.

A new kind of step is one entry of `KINDS` and the steps of `steps.steps_of` that are of it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gradprism.comparison import api as compare
from gradprism.comparison.settings import CompareRecipe
from gradprism.core.progress import Progress
from gradprism.files.paths import to_path
from gradprism.measurement import api as spectra
from gradprism.measurement.settings import SpectraRecipe
from gradprism.models.checkpoints import Checkpoint, find_checkpoint
from gradprism.report.api import write_report
from gradprism.runs.layout import COMPARISON_FILE, RUN_FILE, SCORE_FILE, published_parts, score_table, tables_of
from gradprism.scoring.api import run_scores
from gradprism.scoring.settings import ScoreRecipe
from gradprism.selection import api as select
from gradprism.selection.settings import SelectRecipe
from gradprism.study.steps import ReportSettings, StepRecipe

if TYPE_CHECKING:
    from gradprism.models.device import Spread


class LastModel:
    """Keeps the model that was loaded last: most steps of a study work on the same one as the step before."""

    def __init__(self) -> None:
        """Begin without a model."""
        self._last: _LoadedOnce | None = None

    def of(self, recipe: SpectraRecipe, watch: Progress) -> "_LoadedOnce | None":
        """Return the model of a recipe; None where workers load it for themselves.

        Raises `GradPrismError` where there is no model of this name.
        """
        if recipe.engine.engine != "local":
            return None
        if self._last is None or self._last.settings != recipe.checkpoint:
            self._last = None  # before the next one is loaded
            found = find_checkpoint(recipe.checkpoint, watch.say)
            self._last = _LoadedOnce(found.name, found.location, found.gguf_file, found.settings)
        return self._last


@dataclass(frozen=True)
class _LoadedOnce(Checkpoint):
    """A checkpoint that is loaded once: measuring a model changes nothing in it."""

    _loaded: dict[str, Any] = field(default_factory=dict, compare=False)

    def load_model(self, device: str = "cpu", spread: "Spread | None" = None) -> Any:
        """Return the model that was loaded on this device before, or load it; always where it is spread."""
        if spread is not None:
            return super().load_model(device, spread)
        if device not in self._loaded:
            self._loaded[device] = super().load_model(device)
        return self._loaded[device]


class Kind(NamedTuple):
    """One kind of step."""

    do: Callable[[Any, Progress, LastModel], object]
    results: Callable[[Any], list[str]]  # state of its results; raises `OSError` where they are not there


def kind_of(recipe: StepRecipe) -> Kind:
    """Return the kind of a step's recipe."""
    return KINDS[type(recipe)]


def _run_results(recipe: SpectraRecipe) -> list[str]:
    out, tables = to_path(recipe.out), tables_of({"identity": recipe.identity()})
    return [f"{[published_parts(out, table) for table in tables]} {_digest(out / RUN_FILE)}"]


def _score_results(recipe: ScoreRecipe) -> list[str]:
    out, table = to_path(recipe.out), score_table(recipe.name or recipe.metric)
    return [f"{published_parts(out, table)} {_digest(out / table / SCORE_FILE)}"]


def _selection_results(recipe: SelectRecipe) -> list[str]:
    out = to_path(recipe.out)
    ends = ("high", "low") if recipe.select.is_two_groups else ()
    return [_digest(file) for file in [out.with_name(f"{out.stem}.{end}{out.suffix}") for end in ends] or [out]]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


KINDS: dict[type, Kind] = {
    SpectraRecipe: Kind(
        lambda recipe, watch, models: spectra.run_recipe(recipe, watch, model=models.of(recipe, watch)), _run_results
    ),
    ScoreRecipe: Kind(lambda recipe, watch, _: run_scores(recipe, watch), _score_results),
    SelectRecipe: Kind(lambda recipe, *_: select.run_recipe(recipe), _selection_results),
    CompareRecipe: Kind(
        lambda recipe, *_: compare.run_recipe(recipe), lambda recipe: [_digest(to_path(recipe.out) / COMPARISON_FILE)]
    ),
    ReportSettings: Kind(
        lambda recipe, *_: write_report(*recipe.comparisons, out=recipe.out),
        lambda recipe: [_digest(to_path(recipe.out))],
    ),
}
