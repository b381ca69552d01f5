"""Open the data that a run was made from, and refuse data that has changed since."""

from pathlib import Path
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.data.example_set import ExampleSet, open_examples
from gradprism.data.settings import IN_MEMORY
from gradprism.runs.layout import RECIPE_FILE
from gradprism.runs.recorded_recipe import read_recorded_recipe, recipe_paths
from gradprism.runs.run import Run


def open_source_data(run: Run, data: Any = None) -> ExampleSet:
    """Open the rows that a run was made from, as named by its recipe.yaml or a recipe of its scores.

    `data` replaces what the recipe names: files that were moved, or Python objects. Raises `GradPrismError` where the
    data cannot be read or has changed since.
    """
    problems = []
    for path in recipe_paths(run.path):
        try:
            return _open_by_recipe(run, path, data)
        except GradPrismError as problem:
            problems.append(str(problem))
    raise GradPrismError(problems[0] if problems else f"The run {run.path} has no {RECIPE_FILE} that names its data.")


def _open_by_recipe(run: Run, path: Path, data: Any) -> ExampleSet:
    recipe = read_recorded_recipe(path)
    if data is None and recipe.data == IN_MEMORY:
        raise GradPrismError(
            f"The run {run.path} was made of Python objects, which no recipe holds. "
            "Expected the same objects as `data`."
        )
    examples = open_examples(recipe.data if data is None else data, recipe.read)
    if examples.fingerprint != run.record["data"]["fingerprint"]:
        raise GradPrismError(
            f"The data of the run {run.path} has changed since: {', '.join(s.name for s in examples.sources)} now has "
            f"{len(examples):,} rows with another content; the run is of {run.record['data']['rows']:,}.\n"
            "Restore the data, or score the new data into another run."
        )
    return examples
