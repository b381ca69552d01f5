"""ablate: Train on several selections at equal tokens, and see which beat rows drawn at random."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
from cyclopts import Parameter

from gradprism.ablation.settings import AblateRecipe, HarnessSettings, TrainSettings
from gradprism.core.console import HarmlessConsole, print_json
from gradprism.core.options import Data, Flag, Json, Quiet, Several, of_group
from gradprism.core.settings import checked
from gradprism.data.options import DEFAULT_READ, DEFAULT_TEXT, Read, Text
from gradprism.engine.options import DEFAULT_ENGINE, Engine
from gradprism.models.options import DEFAULT_EXECUTION, Checkpoint, Execution
from gradprism.tracking.options import DEFAULT_TRACK, Track
from gradprism.tracking.settings import TrackSettings
from gradprism.tracking.tracked import Tracked, tracked

if TYPE_CHECKING:
    from gradprism.ablation.result import Ablation

Train = Annotated[TrainSettings, of_group("Training", 3)]
Harness = Annotated[HarnessSettings, of_group("Tasks of lm-evaluation-harness", 4)]
DEFAULT_HARNESS = HarnessSettings()

EXAMPLES = (
    "gradprism ablate runs/demo -m smollm2-135m --arms longest,effective_rank+given-length --tokens 2000 "
    "--eval mine=target.jsonl -o runs/ablation",
    "gradprism ablate data.jsonl -m smollm2-135m --arms longest --tokens 50_000 --eval mine=target.jsonl "
    "-o runs/ablation --dry-run",
)
COMMON = ("arms", "eval", "tokens", "seeds", "model", "out", "epochs", "step-tokens", "learning-rate", "lora-rank",
          "device", "dry-run")  # fmt: skip


def ablate(
    data: Data,
    /,
    *,
    arms: Several,
    checkpoint: Checkpoint,
    train: Train,
    out: str,
    evals: Annotated[Several, Parameter(name="--eval")] = (),
    harness: Harness = DEFAULT_HARNESS,
    read: Read = DEFAULT_READ,
    text: Text = DEFAULT_TEXT,
    execution: Execution = DEFAULT_EXECUTION,
    engine: Engine = DEFAULT_ENGINE,
    track: Track = DEFAULT_TRACK,
    retry_failed: Flag = False,
    dry_run: Flag = False,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Train on several selections at equal tokens, and see which beat rows drawn at random.

    The same command resumes; with more arms or seeds it trains those alone. Status 3: some training failed.

    Parameters
    ----------
    data
        A run, whose metrics arms may name, or data files.
    arms
        Selections, with commas between them: longest, shortest, diverse, METRIC or -METRIC as select takes them, each
        also with +given-length, +diverse or a further +METRIC; ids:FILE; all; NAME=... to call one otherwise. The arm
        random is always there. All that select can do: as YAML, gradprism run RECIPE.
    evals
        NAME=FILE: rows to evaluate on, kept apart from the pool. Repeat it for several; or give --tasks.
    out
        Folder of the trainings, tables, figures and the page.
    retry_failed
        Also train again what failed before.
    dry_run
        Print what each arm would train on, and steps, time and disk. Nothing is written.
    quiet
        Print nothing but errors.
    json
        Print the effects as JSON on stdout.
    """
    values = {
        "data": data, "arms": arms, "evals": evals, "checkpoint": checkpoint, "harness": harness, "train": train,
        "read": read, "text": text, "execution": execution, "engine": engine, "out": out,
    }  # fmt: skip
    recipe = checked(AblateRecipe, values)
    return _plan(recipe, quiet, json) if dry_run else _ablate(recipe, retry_failed, quiet, json, track)


RECIPE = AblateRecipe


def replay(recipe: AblateRecipe, path: Path, *, quiet: bool, json: bool) -> int:
    """Train and compare as a recipe says, or resume; `path` is the file of the recipe."""
    return _ablate(recipe, False, quiet, json)


def _ablate(
    recipe: AblateRecipe, retry_failed: bool, quiet: bool, json: bool, track: TrackSettings = DEFAULT_TRACK
) -> int:
    from gradprism.ablation.api import run_recipe
    from gradprism.ablation.render import ablation_of
    from gradprism.core.progress_bar import show_progress

    try:
        with show_progress(quiet or json) as observer, tracked(observer, track, recipe) as following:
            found = run_recipe(recipe, following, retry_failed=retry_failed)
            _log(found, following)
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. Repeat the same command to resume.\n")
        return 130
    if json:
        print_json(
            {
                "out": recipe.out,
                "effects": found.effects.to_dicts(),
                "score_effects": found.score_effects.to_dicts(),
                "problems": found.problems,
            }
        )
    elif not quiet:
        HarmlessConsole().print(ablation_of(found))
    return 3 if found.problems else 0


def _log(found: "Ablation", following: Tracked) -> None:
    """Log the mean curves by tokens trained on, the differences from random rows, the page and the figures."""
    for tokens, rows in found.curves.sort("tokens").group_by("tokens", maintain_order=True):
        losses = {f"loss/{row['eval']}/{row['arm']}": row["loss"] for row in rows.iter_rows(named=True)}
        following.log(losses, int(tokens[0]))
    of_tasks = found.score_effects.select(pl.format("{} {}", "task", "metric").alias("eval"), "arm", "difference")
    effects = pl.concat([found.effects.select("eval", "arm", "difference"), of_tasks]).rows()
    files = (found.path / "README.md", *sorted((found.path / "figures").glob("*.png")))
    following.finish({f"difference/{of}/{arm}": value for of, arm, value in effects}, files)


def _plan(recipe: AblateRecipe, quiet: bool, json: bool) -> int:
    from gradprism.ablation.api import plan_ablation
    from gradprism.ablation.render import plan_of
    from gradprism.core.progress_bar import show_progress

    with show_progress(quiet) as observer:
        plan = plan_ablation(recipe, observer)
    if json:
        print_json(asdict(plan) | {"arms": plan.arms.to_dicts()})
    else:
        HarmlessConsole().print(plan_of(plan))
    return 0
