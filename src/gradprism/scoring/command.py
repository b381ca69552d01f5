"""score: Score every example: IFD, InsTag, Difficulty, Reward, length, loss, perplexity."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gradprism.core.console import HarmlessConsole, print_json
from gradprism.core.errors import GradPrismError
from gradprism.core.options import Data, Flag, Json, Quiet, Several, of_group
from gradprism.core.settings import checked
from gradprism.core.yaml_text import YamlProblemError, parse_yaml
from gradprism.data.options import DEFAULT_READ, DEFAULT_TEXT, Read, Text
from gradprism.engine.options import DEFAULT_ENGINE, Engine
from gradprism.metrics.settings import JudgeSettings, LikelihoodSettings, RequestSettings, RewardSettings
from gradprism.models.options import DEFAULT_EXECUTION, Execution, Model
from gradprism.runs.command import score_run
from gradprism.scoring.settings import ScoreRecipe
from gradprism.tracking.options import DEFAULT_TRACK, Track
from gradprism.tracking.settings import TrackSettings

if TYPE_CHECKING:
    pass

DEFAULT_LIKELIHOOD, DEFAULT_REWARD = LikelihoodSettings(), RewardSettings()
DEFAULT_JUDGE, DEFAULT_REQUESTS = JudgeSettings(), RequestSettings()

Likelihood = Annotated[LikelihoodSettings, of_group("IFD", 6)]
Judge = Annotated[JudgeSettings, of_group("Judge (instag, difficulty)", 6)]
Requests = Annotated[RequestSettings, of_group("Requests to the judge", 7)]
Reward = Annotated[RewardSettings, of_group("Reward model", 7)]


EXAMPLES = (
    "gradprism score --metric ifd,loss -o runs/demo",
    "gradprism score --from scores.parquet --on id --column quality -o runs/demo",
)
COMMON = ("metric", "from", "out", "model", "limit", "template", "style", "judge", "reward-model", "name", "dry-run")


def score(
    data: Data = (),
    /,
    *,
    out: str,
    metric: Several = (),
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    on: str = "id",
    column: Several = (),
    name: str | None = None,
    set_: Annotated[Several, Parameter(name="--set")] = (),
    model: Model = None,
    read: Read = DEFAULT_READ,
    text: Text = DEFAULT_TEXT,
    likelihood: Likelihood = DEFAULT_LIKELIHOOD,
    judge: Judge = DEFAULT_JUDGE,
    requests: Requests = DEFAULT_REQUESTS,
    reward: Reward = DEFAULT_REWARD,
    execution: Execution = DEFAULT_EXECUTION,
    engine: Engine = DEFAULT_ENGINE,
    track: Track = DEFAULT_TRACK,
    part_rows: int = 128,
    retry_failed: Flag = False,
    dry_run: Flag = False,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Score every example by quality metrics, into the run that holds its spectra or a new one.

    Metrics: ifd, loss, perplexity and length (by --model), instag and difficulty (by --judge), reward (by
    --reward-model), those of installed packages, and any that another tool has written to a file (--from).
    The same command resumes: published parts are not computed again, and answers of a judge are cached.

    Parameters
    ----------
    data
        Data files, a saved `datasets` folder, or a hub id; by default the data of the run at --out.
    metric
        One or several (repeated, or with commas between them): ifd, loss, perplexity, length (all by --model),
        instag, difficulty (by --judge), reward (by --reward-model).
    from_
        File of scores that something else has computed, joined to the rows: .parquet, .jsonl, .json or .csv. One that
        lacks a row, or names one twice, is refused.
    on
        Key of that file: id, row, or COLUMN=id and COLUMN=row where its column has another name. Rows count from 0.
    column
        Columns of that file that are scores, A.B for a field of A; by itself the only one that holds numbers.
    out
        The run directory, or its URL in an object store: s3://BUCKET/RUN.
    name
        Another name for the metric in the run, such as ifd_gpt2, to store the same metric by several models.
    set_
        NAME=VALUE: a setting that only this metric has. Repeat it for several.
    part_rows
        Number of rows in one published part: the most that a kill can lose.
    retry_failed
        Also score again the rows that failed before.
    dry_run
        Print the work that scoring would take: rows, tokens, cached answers, and the price if --price is given.
    quiet
        Print nothing but errors.
    json
        Print the summary as JSON on stdout.
    """
    values = {
        "data": data, "metric": ",".join(metric), "out": out, "name": name, "checkpoint": model, "read": read,
        "joined": {"from_file": from_, "on": on, "column": tuple(column)},
        "text": text, "likelihood": likelihood, "judge": judge, "requests": requests, "reward": reward,
        "execution": execution, "engine": engine, "part_rows": part_rows, "own": _own_settings(set_),
    }  # fmt: skip
    recipe = checked(ScoreRecipe, values)
    return _plan(recipe, quiet, json) if dry_run else _score(recipe, retry_failed, quiet, json, track)


def _own_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Parse texts of the form NAME=VALUE, the values as YAML. Raises `GradPrismError` for another form."""
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name.isidentifier() or not equals:
            raise GradPrismError(f"--set {text}: expected NAME=VALUE, such as --set minimum=3")
        try:
            values[name] = parse_yaml(value)
        except YamlProblemError as error:
            raise GradPrismError(f"--set {text}: {error}. Expected NAME=VALUE, the value as YAML.") from None
    return values


def _plan(recipe: ScoreRecipe, quiet: bool, json: bool) -> int:
    from gradprism.core.progress_bar import show_progress
    from gradprism.scoring.api import plan_scores
    from gradprism.scoring.render import plan_of

    with show_progress(quiet) as progress:
        plans = plan_scores(recipe, progress)
    if json:
        print_json({name: asdict(plan) for name, plan in plans.items()})
    else:
        HarmlessConsole().print(plan_of(plans, recipe.requests.prices))
    return 0


RECIPE = ScoreRecipe


def replay(recipe: ScoreRecipe, path: Path, *, quiet: bool, json: bool) -> int:
    """Score as a recipe says, or resume its scores; `path` is the file of the recipe."""
    return _score(recipe, False, quiet, json)


def _score(
    recipe: ScoreRecipe, retry_failed: bool, quiet: bool, json: bool, track: TrackSettings = DEFAULT_TRACK
) -> int:
    from gradprism.scoring.api import run_scores
    from gradprism.scoring.joined import joined_names

    scored = [recipe.name] if recipe.name else list(recipe.metrics or joined_names(recipe))
    job = partial(run_scores, recipe, retry_failed=retry_failed)
    return score_run(job, recipe.out, scored, quiet, json, track, recipe)
