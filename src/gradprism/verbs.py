"""What each verb of the command does: settings in, a job run, its result shown."""

import json as jsonlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from gradprism.errors import GradPrismError
from gradprism.recipe import (
    CheckpointSettings,
    ExecutionSettings,
    JudgeSettings,
    LikelihoodSettings,
    PrismSettings,
    ReadSettings,
    RequestSettings,
    RewardSettings,
    ScoreRecipe,
    SpectraRecipe,
    TextSettings,
    checked,
    load_recipe,
)
from gradprism.select_recipe import SelectRecipe, SelectSettings

if TYPE_CHECKING:
    from gradprism.store.run import Run

_DEFAULT_READ, _DEFAULT_TEXT = ReadSettings(), TextSettings()
_DEFAULT_PRISM, _DEFAULT_EXECUTION = PrismSettings(), ExecutionSettings()
_DEFAULT_LIKELIHOOD, _DEFAULT_REWARD = LikelihoodSettings(), RewardSettings()
_DEFAULT_SELECT = SelectSettings()
_DEFAULT_JUDGE, _DEFAULT_REQUESTS = JudgeSettings(), RequestSettings()

Read = Annotated[ReadSettings, Parameter(name="*", group="Which rows")]
Text = Annotated[TextSettings, Parameter(name="*", group="Text to tokens")]
Checkpoint = Annotated[CheckpointSettings, Parameter(name="*", group="Model")]
Prism = Annotated[PrismSettings, Parameter(name="*", group="What is measured")]
Execution = Annotated[ExecutionSettings, Parameter(name="*", group="How it runs")]
Model = Annotated[CheckpointSettings | None, Parameter(name="*", group="Model")]
Likelihood = Annotated[LikelihoodSettings, Parameter(name="*", group="IFD")]
Judge = Annotated[JudgeSettings, Parameter(name="*", group="Judge (instag, difficulty)")]
Requests = Annotated[RequestSettings, Parameter(name="*", group="Requests to the judge")]
Reward = Annotated[RewardSettings, Parameter(name="*", group="Reward model")]
Select = Annotated[SelectSettings, Parameter(name="*", group="What is selected")]
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


def score(
    data: Data = (),
    /,
    *,
    metric: Annotated[tuple[str, ...], Parameter(negative=())],
    out: str,
    name: str | None = None,
    model: Model = None,
    read: Read = _DEFAULT_READ,
    text: Text = _DEFAULT_TEXT,
    likelihood: Likelihood = _DEFAULT_LIKELIHOOD,
    judge: Judge = _DEFAULT_JUDGE,
    requests: Requests = _DEFAULT_REQUESTS,
    reward: Reward = _DEFAULT_REWARD,
    execution: Execution = _DEFAULT_EXECUTION,
    part_rows: int = 128,
    retry_failed: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Score every example by quality metrics, into the run that holds its spectra or a new one.

    Metrics: ifd, loss, perplexity and length (of --model), instag and difficulty (of --judge), reward (of
    --reward-model). The same command resumes; what is published is not computed again, what a judge has answered
    is not asked again.

    Parameters
    ----------
    data
        Data files, a saved `datasets` folder, or a hub id; none takes those of the run at --out.
    metric
        One or several (repeated, or with commas between them): ifd, loss, perplexity, length (all of --model),
        instag, difficulty (of --judge), reward (of --reward-model).
    out
        The run directory.
    name
        Another name for the metric in the run, such as ifd_gpt2, so that it can hold the same one of several models.
    part_rows
        Rows in one published part: the most that a kill can lose.
    retry_failed
        Score the rows again that failed before.
    dry_run
        Say what it would take: rows, tokens, answers that are cached, and the price if --price is given.
    quiet
        Print nothing but errors.
    json
        Print the summary as JSON on stdout.
    """
    values = {
        "data": data, "metric": ",".join(metric), "out": out, "name": name, "checkpoint": model, "read": read,
        "text": text, "likelihood": likelihood, "judge": judge, "requests": requests, "reward": reward,
        "execution": execution, "part_rows": part_rows,
    }  # fmt: skip
    recipe = checked(ScoreRecipe, values)
    return _plan(recipe, quiet, json) if dry_run else _scores(recipe, retry_failed, quiet, json)


def select(
    data: Data,
    /,
    *,
    out: str | None = None,
    settings: Select = _DEFAULT_SELECT,
    read: Read = _DEFAULT_READ,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Make subsets by any metric: of a run, or of data files by their own columns.

    Every row of the input ends in exactly one of the groups or among the rows left out, with the reason.

    Parameters
    ----------
    data
        A run directory, or data files.
    out
        FILE.jsonl or FILE.parquet; its sisters get the other groups, the rows left out and why, and a data card.
        Without it nothing is written.
    quiet
        Print nothing but errors.
    json
        Print counts, thresholds and ties as JSON on stdout.
    """
    return _selection(checked(SelectRecipe, {"data": data, "out": out, "select": settings, "read": read}), quiet, json)


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
    if out:
        loaded = loaded.model_copy(update={"out": out})
    if isinstance(loaded, ScoreRecipe):
        return _scores(loaded, False, quiet, json)
    if isinstance(loaded, SelectRecipe):
        return _selection(loaded, quiet, json)
    return _spectra(loaded, by, quiet, json)


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
        return _stopped(recipe.out)
    if json or not quiet:
        _print_summary(finished, by, json)
    if not finished.counts.ok:
        sys.stderr.write(f"gradprism: no row could be measured; for the reasons: gradprism show {recipe.out}\n")
        return 1
    return 0


def _plan(recipe: ScoreRecipe, quiet: bool, json: bool) -> int:
    from gradprism.jobs.score import plan_scores
    from gradprism.terminal.progress import watching
    from gradprism.terminal.scores import plan_of

    with watching(quiet) as observer:
        plans = plan_scores(recipe, observer)
    if json:
        sys.stdout.write(jsonlib.dumps({name: asdict(plan) for name, plan in plans.items()}, indent=2) + "\n")
    else:
        Console(highlight=False).print(plan_of(plans, recipe.requests.prices))
    return 0


def _scores(recipe: ScoreRecipe, retry_failed: bool, quiet: bool, json: bool) -> int:
    from gradprism.analysis.scores import summary_of_scores
    from gradprism.jobs.score import run_scores
    from gradprism.terminal.progress import watching
    from gradprism.terminal.scores import scores_of

    scored = [recipe.name] if recipe.name else list(recipe.metrics)
    try:
        with watching(quiet) as observer:
            finished = run_scores(recipe, observer, retry_failed=retry_failed)
    except KeyboardInterrupt:
        return _stopped_scoring(recipe.out, scored)
    summaries = [summary_of_scores(finished, name) for name in scored]
    if json:
        sys.stdout.write(jsonlib.dumps([asdict(item) for item in summaries], indent=2, ensure_ascii=False) + "\n")
    elif not quiet:
        Console(highlight=False).print(scores_of(finished, summaries))
    without = [item.metric for item in summaries if not item.ok]
    if without:
        names = ", ".join(without)
        sys.stderr.write(f"gradprism: no row has a value of {names}; for the reasons: gradprism show {recipe.out}\n")
    return 1 if without else 0


def _selection(recipe: SelectRecipe, quiet: bool, json: bool) -> int:
    from gradprism.jobs.select import run_recipe
    from gradprism.terminal.select import selection_of

    with Console(stderr=True, quiet=quiet).status("Selecting"):
        found = run_recipe(recipe)
    if json:
        sys.stdout.write(jsonlib.dumps(found.summary(), indent=2, ensure_ascii=False) + "\n")
    elif not quiet:
        Console(highlight=False).print(selection_of(found))
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


def _stopped(out: str) -> int:
    from gradprism.store.run import open_run

    err = Console(stderr=True, highlight=False, markup=False)
    try:
        counts = open_run(out).counts
        err.print(f"Stopped: {counts.done:,} of {counts.rows:,} rows are in {out}.")
    except GradPrismError:
        err.print("Stopped before the run began.")
    err.print("Repeat the same command to resume.")
    return 130


def _stopped_scoring(out: str, names: Sequence[str]) -> int:
    from gradprism.store.run import open_run

    err = Console(stderr=True, highlight=False, markup=False)
    with suppress(GradPrismError):
        run = open_run(out)
        there = {name: run.scores(name).height for name in names if name in run.metrics}
        done = ", ".join(f"{there.get(name, 0):,} of {run.record['data']['rows']:,} rows of {name}" for name in names)
        err.print(f"Stopped: {done} are in {out}.")
    err.print("Repeat the same command to resume.")
    return 130
