"""Plan an ablation: what each arm would train on, and steps, time and disk. No weights are loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from gradprism.ablation.tables import TrainedArms, budgets_of, rows_of
from gradprism.core.progress import Progress
from gradprism.files.paths import to_path
from gradprism.files.records import digest_of
from gradprism.models.device import find_device
from gradprism.models.rate import estimated_seconds

if TYPE_CHECKING:
    from gradprism.ablation.api import Prepared

_EVAL = 1 / 3  # of a training pass that a forward pass takes
_BYTES_A_LOSS, _BYTES_A_ROW, _BYTES_A_JOB = 12, 24, 8_000  # of the tables, as one real ablation had them


@dataclass(frozen=True)
class AblationPlan:
    """The trainings of an ablation that are not done yet, and what they would take."""

    arms: pl.DataFrame
    """A row for each arm: rows, response and prompt tokens, median response; means over seeds."""
    refused: Mapping[str, str]
    evals: Mapping[str, tuple[int, int]]
    """Rows and response tokens of each evaluation set."""
    tasks: tuple[str, ...]
    """Tasks of lm-evaluation-harness with their items; `seconds` is without them."""
    overlap: Mapping[str, int]
    trainings: int
    done: int
    steps: int
    train_tokens: int
    eval_tokens: int
    parameters: int
    device: str
    seconds: float
    """Of the trainings that are left, one after the other, from the rate of a matrix product here."""
    bytes: int


def make_plan(prepared: "Prepared", progress: Progress) -> AblationPlan:
    """Plan the trainings of a prepared ablation."""
    recipe, trainings = prepared.recipe, prepared.trainings
    sink = TrainedArms(to_path(recipe.out), digest_of(prepared.identity)[:16], trainings)
    left = [each for each in trainings if each.row not in sink.done]
    progress.say("Counting parameters")
    parameters = sum(weight.numel() for weight in prepared.source.load_skeleton().parameters())
    device = find_device(recipe.execution.device)
    rows = [row.encoded.n_tokens for each in left for step in each.steps for row in step]
    points = len(recipe.train.eval_steps) - 1
    once = sum(encoded.n_tokens for each in prepared.evals for _, encoded in each.rows)
    eval_tokens = once * (points * len(left) + bool(left))
    seconds = estimated_seconds(parameters * (sum(rows) + eval_tokens * _EVAL), device)
    losses = sum(len(each.rows) for each in prepared.evals) * (points + 1) * len(left)
    kept = 4 * parameters * len(left) if recipe.train.keep_models and not recipe.train.lora_rank else 0
    return AblationPlan(
        arms=budgets_of(pl.concat(map(rows_of, trainings))),
        refused=prepared.refused,
        evals={each.name: (len(each.rows), each.tokens) for each in prepared.evals},
        tasks=tuple(f"{name}: {len(items):,} items" for name, items in prepared.harness.examples.items())
        if prepared.harness
        else (),
        overlap=prepared.pool.overlap,
        trainings=len(trainings),
        done=len(trainings) - len(left),
        steps=recipe.train.steps,
        train_tokens=sum(rows),
        eval_tokens=eval_tokens,
        parameters=parameters,
        device=device,
        seconds=seconds / (recipe.engine.workers or 1),
        bytes=losses * _BYTES_A_LOSS + len(rows) * _BYTES_A_ROW + len(left) * _BYTES_A_JOB + kept,
    )
