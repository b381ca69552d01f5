"""Diversity of the rows of runs: runs in, a `Diversity` out, and its files where wanted."""

from pathlib import Path
from typing import Any

from gradprism.comparison.api import names_of_runs
from gradprism.comparison.comparable import made_by
from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.core.python_options import PythonOptions
from gradprism.core.settings import checked, recipe_text
from gradprism.files.folder import refuse_other_files
from gradprism.files.paths import to_path
from gradprism.runs.record import machine_record
from gradprism.runs.run import Run, open_run
from gradprism.set_diversity.diversity import DIVERSITY, Diversity
from gradprism.set_diversity.measuring import measure_diversity
from gradprism.set_diversity.settings import DEFAULT_DUPLICATE, DiversityRecipe
from gradprism.set_diversity.sketched_rows import refuse_unlike, sketched_rows

_OPTIONS = PythonOptions(DiversityRecipe)


@_OPTIONS
def diversity(
    *runs: str | Path | Run,
    out: str | Path | None = None,
    by: str | None = None,
    rows: int | None = None,
    draws: int = 20,
    duplicate: float = DEFAULT_DUPLICATE,
    seed: int = 0,
    incomplete: bool = False,
) -> Diversity:
    """Measure how diverse the gradients of a set of rows are, by the sketches of one or several runs.

    The Vendi score of the set with its interval, each source at equal numbers of rows and of response tokens, what
    every two sources bring together, near-duplicates, and what each row adds. `runs`: opened, or paths, or NAME=PATH.
    `out`: a folder for the tables (Parquet and CSV), diversity.json and recipe.yaml.
    Raises `GradPrismError`.
    """
    options = _OPTIONS.given(locals())
    named = names_of_runs([str(run.path if isinstance(run, Run) else run) for run in runs])
    path = None if out is None else str(out)
    return run_recipe(checked(DiversityRecipe, {"runs": named, "out": path, "diversity": options}))


def run_recipe(recipe: DiversityRecipe) -> Diversity:
    """Measure what a recipe describes. Raises `GradPrismError`."""
    need("faiss", "diversity")
    if recipe.out is not None:
        refuse_other_files(to_path(recipe.out), DIVERSITY)
    absolute = {name: str(to_path(path).resolve()) for name, path in recipe.runs.items()}
    _refuse_repeated(absolute)
    recipe = recipe.model_copy(update={"runs": absolute})
    runs = {name: open_run(path) for name, path in absolute.items()}
    refuse_unlike(runs, recipe.diversity.incomplete)
    found = measure_diversity(sketched_rows(runs, recipe.diversity.by), recipe.diversity, _about(recipe, runs))
    if recipe.out is not None:
        found.save(to_path(recipe.out), {"recipe.yaml": recipe_text(recipe)})
    return found


def _refuse_repeated(runs: dict[str, str]) -> None:
    if len({*runs.values()}) < len(runs):
        raise GradPrismError(
            f"One run is given twice: {', '.join(runs.values())}. Expected different runs, as every row would be its "
            "own near-duplicate."
        )


def _about(recipe: DiversityRecipe, runs: dict[str, Run]) -> dict[str, Any]:
    machine = machine_record()
    return {
        **{name: machine[name] for name in ("created", "versions")},
        "model": made_by(next(iter(runs.values()))),
        "runs": recipe.runs,
        "settings": recipe.diversity.model_dump(mode="json"),
    }
