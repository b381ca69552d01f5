"""Comparison of groups of examples: runs in, a `Comparison` out, and its files where wanted."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradprism.comparison.comparable import refuse_unmeasured
from gradprism.comparison.comparison import Comparison
from gradprism.comparison.comparison_files import COMPARISON, save_comparison
from gradprism.comparison.grouping import GroupRows, split, whole_runs
from gradprism.comparison.settings import CompareRecipe, CompareSettings
from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.core.progress import Progress
from gradprism.core.python_options import PythonOptions
from gradprism.core.settings import checked, recipe_text
from gradprism.files.folder import refuse_other_files
from gradprism.files.paths import to_path
from gradprism.runs.record import machine_record
from gradprism.runs.run import Run, open_run

Given = str | Path | Run


_OPTIONS = PythonOptions(CompareRecipe)


@_OPTIONS
def compare(
    run: Given | None = None,
    /,
    *,
    out: str | Path | None = None,
    by: str | None = None,
    quantile: float | None = None,
    groups: str | Sequence[str] = (),
    paired: bool = False,
    measures: str | Sequence[str] = (),
    against: str | None = None,
    caliper: float = 0.05,
    margin: float = 1.10,
    window: int | None = None,
    resamples: int = 9999,
    seed: int = 0,
    incomplete: bool = False,
    **runs: Given,
) -> Comparison:
    """Compare groups of examples of one model: every measure, projection and layer, raw and length-controlled.

    Either groups by name, `compare(high="runs/a", low="runs/b")` (runs opened or as paths), or one run that is split,
    `compare("runs/a", by="ifd", quantile=0.25)` or `compare("runs/a", by="column:kind")`; or the same rows through two
    models, `compare(before="runs/a", after="runs/b", paired=True)`.
    `out`: a folder for the tables (Parquet and CSV), comparison.json and recipe.yaml.
    The options are those of the command; every other name is that of a group, and its value a run.
    Raises `GradPrismError`.
    """
    options = _OPTIONS.given(locals())
    for name, value in [("the first argument", run), *runs.items()]:
        if not isinstance(value, str | Path | Run | None):
            raise GradPrismError(
                f"{name}={value!r} is neither an option nor a run. Expected a run directory or an opened run; options "
                f"are {', '.join(CompareSettings.model_fields)}."
            )
    paths = {name: _path(value) for name, value in runs.items() if value is not None}
    if run is not None:
        paths = {_folder_name(_path(run)): _path(run), **paths}
    path = None if out is None else str(out)
    return run_recipe(checked(CompareRecipe, {"runs": paths, "out": path, "compare": options}))


def run_recipe(recipe: CompareRecipe, observer: Progress | None = None) -> Comparison:
    """Run the comparison that a recipe describes; `observer` hears of windows. Raises `GradPrismError`."""
    need("scipy", "report")
    from gradprism.comparison.compare_groups import compare_groups
    from gradprism.comparison.compare_paired import compare_paired

    if recipe.out is not None:
        refuse_other_files(to_path(recipe.out), COMPARISON)
    absolute = {name: str(to_path(path).resolve()) for name, path in recipe.runs.items()}
    recipe = recipe.model_copy(update={"runs": absolute})
    runs = {name: open_run(path) for name, path in absolute.items()}
    refuse_unmeasured(runs.values(), recipe.compare.incomplete)
    if recipe.compare.paired:
        comparison = compare_paired(runs, recipe.compare, _time_and_versions())
    else:
        groups, notes = _groups_of(runs, recipe.compare)
        comparison = compare_groups(groups, recipe.compare, _time_and_versions(), notes, observer)
    if recipe.out is not None:
        folder = to_path(recipe.out)
        save_comparison(comparison, folder, {"recipe.yaml": recipe_text(recipe)})
    return comparison


def compare_runs(runs: Mapping[str, Run], settings: CompareSettings) -> Comparison:
    """Compare whole runs of one model, by the names of their groups. One run alone is described."""
    need("scipy", "report")
    from gradprism.comparison.compare_groups import compare_groups

    refuse_unmeasured(runs.values(), settings.incomplete)
    return compare_groups(whole_runs(runs), settings, _time_and_versions())


def _time_and_versions() -> dict[str, Any]:
    machine = machine_record()
    return {name: machine[name] for name in ("created", "versions")}


def _groups_of(runs: Mapping[str, Run], settings: CompareSettings) -> tuple[Sequence[GroupRows], list[str]]:
    """Split one run as the settings say, or take each run as a group; with notes. Raises `GradPrismError`."""
    if not runs:
        raise GradPrismError("No run given. Expected NAME=RUN NAME=RUN, or one run and --by.")
    if settings.by is not None:
        if len(runs) > 1:
            raise GradPrismError(
                f"--by {settings.by} splits one run, and {len(runs)} were given. Expected one run, or no --by."
            )
        return split(next(iter(runs.values())), settings)
    idle = [f"--{name}" for name in ("quantile", "groups") if getattr(settings, name)]
    if idle:
        raise GradPrismError(
            f"{' and '.join(idle)} say how --by splits a run. Expected --by METRIC or --by column:NAME."
        )
    if len(runs) < 2:
        raise GradPrismError(
            "One run is one group. Expected two or more, NAME=RUN each, or --by METRIC or --by column:NAME to split it."
        )
    return whole_runs(runs), []


def names_of_runs(given: Sequence[str]) -> dict[str, str]:
    """Map the names of groups to paths: NAME=PATH as given, a bare PATH by the name of its folder.

    Raises `GradPrismError` where two have one name.
    """
    runs = dict[str, str]()
    for text in given:
        name, path = _name_and_path(text)
        if name in runs:
            raise GradPrismError(f"Two groups have the name {name!r}. Expected different names: NAME=RUN.")
        runs[name] = path
    return runs


def _name_and_path(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"([^=/\\]+)=(.+)", text, re.DOTALL)
    if match and not Path(text).expanduser().exists():
        return match[1].strip(), match[2]
    return _folder_name(text), text


def _folder_name(path: str) -> str:
    return to_path(path).resolve().name


def _path(run: Given) -> str:
    return str(run.path if isinstance(run, Run) else run)
