"""spectra: Measure the gradient of every layer, for every example of a data set."""

from functools import partial
from pathlib import Path
from typing import Annotated

from gradprism.core.console import HarmlessConsole, print_json
from gradprism.core.options import Data, Flag, Json, Quiet, of_group
from gradprism.core.settings import checked
from gradprism.data.options import DEFAULT_READ, DEFAULT_TEXT, Read, Text
from gradprism.engine.options import DEFAULT_ENGINE, Engine
from gradprism.measurement.settings import SpectraRecipe
from gradprism.models.options import DEFAULT_EXECUTION, Checkpoint, Execution
from gradprism.prism.settings import PrismSettings, TargetSettings
from gradprism.runs.command import make_run
from gradprism.tracking.options import DEFAULT_TRACK, Track
from gradprism.tracking.settings import TrackSettings

DEFAULT_PRISM = PrismSettings()
DEFAULT_TARGETS = TargetSettings()
Prism = Annotated[PrismSettings, of_group("What is measured", 6)]
Targets = Annotated[TargetSettings, of_group("Influence on a target", 7)]


EXAMPLES = (
    "gradprism spectra examples/sample.jsonl -m smollm2-135m -o runs/demo -n 10",
    "gradprism spectra examples/sample.jsonl -m smollm2-135m -o runs/demo --dry-run",
)
COMMON = ("out", "model", "limit", "template", "max-length", "projections", "dtype", "device", "by", "dry-run")


def spectra(
    data: Data,
    /,
    *,
    out: str,
    checkpoint: Checkpoint,
    read: Read = DEFAULT_READ,
    text: Text = DEFAULT_TEXT,
    prism: Prism = DEFAULT_PRISM,
    targets: Targets = DEFAULT_TARGETS,
    execution: Execution = DEFAULT_EXECUTION,
    engine: Engine = DEFAULT_ENGINE,
    track: Track = DEFAULT_TRACK,
    part_rows: int = 32,
    retry_failed: Flag = False,
    dry_run: Flag = False,
    by: str | None = None,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Measure the gradient of every layer, for every example of a data set.

    The same command resumes a run that was stopped; one that is complete is only summarised.

    Parameters
    ----------
    data
        Data files (JSON, JSON Lines, Parquet, CSV, each also compressed) or their URLs, a saved `datasets` folder, or a
        hub id.
    out
        The run directory, or its URL in an object store: s3://BUCKET/RUN.
    part_rows
        Number of rows in one published part: the most that a kill can lose.
    retry_failed
        Also measure again the rows that failed before.
    dry_run
        Print the work: rows, tokens, time from 5 seconds of measuring here, disk and GPU hours. Nothing is written.
    by
        Compare the groups of this column of the data in the summary.
    quiet
        Print nothing but errors.
    json
        Print the summary as JSON on stdout.
    """
    values = {
        "data": data, "read": read, "text": text, "checkpoint": checkpoint, "prism": prism,
        "targets": targets, "execution": execution, "engine": engine, "part_rows": part_rows, "out": out,
    }  # fmt: skip
    recipe = checked(SpectraRecipe, values)
    return _estimate(recipe, quiet, json) if dry_run else _measure(recipe, by, quiet, json, retry_failed, track)


RECIPE = SpectraRecipe


def replay(recipe: SpectraRecipe, path: Path, *, by: str | None = None, quiet: bool, json: bool) -> int:
    """Measure as a recipe says, or resume its run; `path` is the file of the recipe."""
    return _measure(recipe, by, quiet, json, retry_failed=False)


def _estimate(recipe: SpectraRecipe, quiet: bool, json: bool) -> int:
    from gradprism.core.progress_bar import show_progress
    from gradprism.measurement.estimate import as_values, estimate_spectra
    from gradprism.measurement.render import estimate_of

    with show_progress(quiet) as progress:
        found = estimate_spectra(recipe, progress)
    if json:
        print_json(as_values(found))
    else:
        HarmlessConsole().print(estimate_of(found))
    return 0


def _measure(
    recipe: SpectraRecipe,
    by: str | None,
    quiet: bool,
    json: bool,
    retry_failed: bool,
    track: TrackSettings = DEFAULT_TRACK,
) -> int:
    from gradprism.measurement.api import run_recipe

    job = partial(run_recipe, recipe, retry_failed=retry_failed)
    return make_run(job, recipe.out, "measured", by, quiet, json, track, recipe)
