"""influence: Compare the gradients of a run's rows with those of target rows."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from gradprism.core.options import Flag, Json, Quiet, of_group
from gradprism.core.settings import checked
from gradprism.engine.options import DEFAULT_ENGINE, Engine
from gradprism.models.options import DEFAULT_EXECUTION, Execution
from gradprism.prism.settings import TargetSettings
from gradprism.runs.command import score_run
from gradprism.targets.settings import InfluenceRecipe

if TYPE_CHECKING:
    pass

EXAMPLES = (
    "gradprism influence runs/demo --target mine=target.jsonl",
    "gradprism select runs/demo --by influence:mine --top 1000 --out best.jsonl",
)
COMMON = ("target", "target-mean", "target-rank", "device")
RECIPE = InfluenceRecipe
_NONE = TargetSettings()


def influence(
    run: str,
    /,
    *,
    targets: Annotated[TargetSettings, of_group("Targets", 1)] = _NONE,
    execution: Execution = DEFAULT_EXECUTION,
    engine: Engine = DEFAULT_ENGINE,
    part_rows: int = 128,
    retry_failed: Flag = False,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Compare the gradients of a run's rows with those of target rows.

    Every row's exact inner product and cosine with the targets' mean gradient, by layer and projection and over all:
    scores influence:NAME of the run, which select, compare, correlate and report take. Model, template and
    projections are those of the run. `spectra --target` does the same while it measures, at a few per cent of its
    time.

    Parameters
    ----------
    run
        A run of gradprism spectra, or its URL in an object store.
    part_rows
        Number of rows in one published part: the most that a kill can lose.
    retry_failed
        Also compare again the rows that failed before.
    quiet
        Print nothing but errors.
    json
        Print the summary as JSON on stdout.
    """
    values = {"run": run, "targets": targets, "execution": execution, "engine": engine, "part_rows": part_rows}
    return _compare(checked(InfluenceRecipe, values), retry_failed, quiet, json)


def replay(recipe: InfluenceRecipe, path: Path, *, quiet: bool, json: bool) -> int:
    """Compare as a recipe says, or resume its scores; `path` is the file of the recipe."""
    return _compare(recipe, False, quiet, json)


def _compare(recipe: InfluenceRecipe, retry_failed: bool, quiet: bool, json: bool) -> int:
    from gradprism.runs.layout import influence_on
    from gradprism.targets.api import run_recipe

    names = [influence_on(name) for name in recipe.targets.names]
    return score_run(partial(run_recipe, recipe, retry_failed=retry_failed), recipe.run, names, quiet, json)
