"""What each verb of the command does: settings in, a job run, its result shown."""

import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from gradprism.errors import GradPrismError
from gradprism.recipe import (
    CheckpointSettings,
    ExecutionSettings,
    PrismSettings,
    ReadSettings,
    ScoreRecipe,
    SpectraRecipe,
    TextSettings,
    checked,
    load_recipe,
)

if TYPE_CHECKING:
    from gradprism.store.run import Run

_DEFAULT_READ, _DEFAULT_TEXT = ReadSettings(), TextSettings()
_DEFAULT_PRISM, _DEFAULT_EXECUTION = PrismSettings(), ExecutionSettings()

Read = Annotated[ReadSettings, Parameter(name="*", group="Which rows")]
Text = Annotated[TextSettings, Parameter(name="*", group="Text to tokens")]
Checkpoint = Annotated[CheckpointSettings, Parameter(name="*", group="Model")]
Prism = Annotated[PrismSettings, Parameter(name="*", group="What is measured")]
Execution = Annotated[ExecutionSettings, Parameter(name="*", group="How it runs")]
Data = Annotated[tuple[str, ...], Parameter(negative=())]


Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())]
Json = Annotated[bool, Parameter(negative=())]


def spectra(
    data: Data,
    /,
    *,
    out: str,
    checkpoint: Checkpoint,
    read: Read = _DEFAULT_READ,
    text: Text = _DEFAULT_TEXT,
    prism: Prism = _DEFAULT_PRISM,
    execution: Execution = _DEFAULT_EXECUTION,
    part_rows: int = 32,
    by: str | None = None,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Measure the gradient of every layer, for every example of a data set.

    The same command resumes a run that was stopped; one that is complete is only summarised.

    Parameters
    ----------
    data
        Data files (JSON, JSON Lines, Parquet, CSV, each also compressed), a saved `datasets` folder, or a hub id.
    out
        The run directory.
    part_rows
        Rows in one published part: the most that a kill can lose.
    by
        Compare the groups of this column of the data in the summary.
    quiet
        Print nothing but errors.
    json
        Print the summary as JSON on stdout.
    """
    values = {
        "data": data, "read": read, "text": text, "checkpoint": checkpoint, "prism": prism,
        "execution": execution, "part_rows": part_rows, "out": out,
    }  # fmt: skip
    return _spectra(checked(SpectraRecipe, values), by, quiet, json)


def run(
    recipe: Path,
    /,
    *,
    out: str | None = None,
    by: str | None = None,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Replay a recipe: the recipe.yaml of a run, or one of your own.

    Parameters
    ----------
    recipe
        A YAML file.
    out
        Another run directory than the recipe's.
    by
        Compare the groups of this column of the data in the summary.
    quiet
        Print nothing but errors.
    json
        Print the summary as JSON on stdout.
    """
    loaded = load_recipe(recipe)
    if isinstance(loaded, ScoreRecipe):
        raise NotImplementedError
    return _spectra(loaded.model_copy(update={"out": out}) if out else loaded, by, quiet, json)


def show(run: Path, /, *, by: str | None = None, json: Json = False) -> int:
    """Summarise a run: counts, skipped and failed rows with reasons, measures per projection and layer group.

    Parameters
    ----------
    run
        A run directory, complete or not.
    by
        Compare the groups of this column of the data, raw and at equal length.
    json
        Print the summary as JSON.
    """
    from gradprism.store.run import open_run

    _print_summary(open_run(run), by, json)
    return 0


def inspect(
    data: Data,
    /,
    *,
    model: str | None = None,
    revision: str | None = None,
    rows_shown: int = 3,
    read: Read = _DEFAULT_READ,
    text: Text = _DEFAULT_TEXT,
    trust_remote_code: bool = False,
) -> int:
    """Show what is understood of a data set: format, prompt and response, tokens, truncation, the loss mask in colour.

    Loads the tokenizer of the model, never its weights.

    Parameters
    ----------
    data
        Data files, a saved `datasets` folder, or a hub id.
    model
        Whose tokenizer: hub id, folder, .gguf file or built-in name. Without it only the text is shown.
    revision
        Branch, tag or commit of a hub model.
    rows_shown
        How many rows to show in full.
    trust_remote_code
        Run tokenizer code that the checkpoint brings. Only for sources you trust.
    """
    from gradprism.jobs.inspect import inspect as inspect_data
    from gradprism.terminal.inspect import inspection_of

    checkpoint = (
        CheckpointSettings(model=model, revision=revision, trust_remote_code=trust_remote_code) if model else None
    )
    with Console(stderr=True).status("Reading"):
        found = inspect_data(data, checkpoint, read, text, rows_shown)
    console = Console(highlight=False)
    console.print(inspection_of(found, colour=console.color_system is not None and not console.no_color))
    return 0


def models() -> int:
    """List the models that need no hub, where they come from and what is cached."""
    from gradprism.models.builtin import BUILTIN_MODELS, cache_folder
    from gradprism.terminal.models import builtin_list

    Console(highlight=False).print(builtin_list(BUILTIN_MODELS.values(), cache_folder()))
    return 0


def _spectra(recipe: SpectraRecipe, by: str | None, quiet: bool, json: bool) -> int:
    from gradprism.jobs.spectra import run_recipe
    from gradprism.terminal.progress import watching

    try:
        with watching(quiet) as observer:
            finished = run_recipe(recipe, observer)
    except KeyboardInterrupt:
        return _stopped(recipe)
    if json or not quiet:
        _print_summary(finished, by, json)
    if not finished.counts.ok:
        sys.stderr.write(f"gradprism: no row could be measured; for the reasons: gradprism show {recipe.out}\n")
        return 1
    return 0


def _print_summary(run: "Run", by: str | None, json: bool) -> None:
    from gradprism.terminal.show import summary_of

    if json:
        sys.stdout.write(jsonlib.dumps(run.summary() | _groups(run, by), indent=2, ensure_ascii=False) + "\n")
    else:
        Console(highlight=False).print(summary_of(run, by))


def _groups(run: "Run", by: str | None) -> dict[str, Any]:
    from gradprism.analysis.groups import group_table

    if not by:
        return {}
    return {"by": by, "groups": {m: group_table(run, by, m).to_dicts() for m in ("nuclear_norm", "effective_rank")}}


def _stopped(recipe: SpectraRecipe) -> int:
    from gradprism.store.run import open_run

    err = Console(stderr=True, highlight=False, markup=False)
    try:
        counts = open_run(recipe.out).counts
        err.print(f"Stopped: {counts.done:,} of {counts.rows:,} rows are in {recipe.out}.")
    except GradPrismError:
        err.print("Stopped before the run began.")
    err.print("Repeat the same command to resume.")
    return 130
