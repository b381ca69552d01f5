"""Train and evaluate one arm with one seed: the task that an engine runs."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.ablation.arms import Training
from gradprism.ablation.harness import HarnessTasks, Score, open_tasks
from gradprism.ablation.pool import EvalRows
from gradprism.ablation.settings import AblateRecipe
from gradprism.ablation.tables import JOB, LOSSES, SCORES, STEPS, Trained, rows_of, training_folder
from gradprism.core.errors import DeviceError, GradPrismError, first_line
from gradprism.core.progress import OnBatch, Say
from gradprism.data.encode import Encoded
from gradprism.engine.task import Task
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.device import find_device
from gradprism.models.sources import ModelSource
from gradprism.runs.record import refuse_other_machine

EvalLosses = dict[str, list[tuple[int, float, int]]]  # by evaluation set: row, summed loss, tokens


@dataclass
class AblationTask(Task[Training, Trained]):
    """Trains each item from the same weights, and evaluates it along the way."""

    recipe: AblateRecipe
    fingerprint: str
    evals: tuple[EvalRows, ...]
    source: ModelSource | None = None
    harness: HarnessTasks | None = None
    _before: EvalLosses | None = field(default=None, init=False)
    _scores_before: list[Score] | None = field(default=None, init=False)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, without a model and tasks: workers load their own."""
        return {**self.__dict__, "source": None, "harness": None, "_before": None, "_scores_before": None}

    def load(self, say: Say) -> None:
        """Find the model. Raises `GradPrismError` where this machine's differs from the one planned with."""
        if self.source is None:
            self.source = find_checkpoint(self.recipe.checkpoint)
            refuse_other_machine(
                {"model fingerprint": self.fingerprint},
                {"model fingerprint": self.source.fingerprint(self.source.load_config())},
            )
        if self.harness is None:
            self.harness = open_tasks(self.recipe.harness)
        self.device = self.source.device(find_device(self.recipe.execution.device))

    def run(self, examples: Sequence[Training], on_batch: OnBatch) -> Trained:
        """Train and evaluate; a training that fails is a part with its reason."""
        return self.join([self._trained(training, on_batch) for training in examples])

    def failed(self, examples: Sequence[Training], reason: str) -> Trained:
        """Return the part of trainings that have all failed, for one reason."""
        return self.join([self._failed(training, reason) for training in examples])

    def join(self, parts: Sequence[Trained]) -> Trained:
        """Join the tables of several trainings."""
        return {name: pl.concat([part[name] for part in parts]) for name in parts[0]}

    def _trained(self, training: Training, on_batch: OnBatch) -> Trained:
        begun = time.perf_counter()
        try:
            tables = self._train(training, on_batch)
        except DeviceError:  # no training after it would fare better
            raise
        except Exception as error:  # of one arm and seed: the others go on
            told = str(error) if isinstance(error, GradPrismError) else f"{type(error).__name__}: {first_line(error)}"
            return self._failed(training, told)
        job = self._job(training, "ok", None, time.perf_counter() - begun)
        return {**tables, "rows": rows_of(training), "job": job}

    def _failed(self, training: Training, reason: str) -> Trained:
        return {
            "losses": pl.DataFrame(schema=LOSSES),
            "steps": pl.DataFrame(schema=STEPS),
            "rows": rows_of(training),
            "scores": pl.DataFrame(schema=SCORES),
            "job": self._job(training, "failed", reason, None),
        }

    def _job(self, training: Training, status: str, reason: str | None, seconds: float | None) -> pl.DataFrame:
        values = (training.arm, training.seed, status, reason, training.digest, seconds, self.device)
        return pl.DataFrame([values], schema=JOB, orient="row")

    def _train(self, training: Training, on_batch: OnBatch) -> dict[str, pl.DataFrame]:
        from gradprism.ablation.training import train, with_lora
        from gradprism.models.random_numbers import random_numbers_kept

        assert self.source is not None
        how, done = self.recipe.train, 0
        found, scored = list[tuple[Any, ...]](), list[tuple[Any, ...]]()
        with random_numbers_kept(accelerators=True):
            model = self.source.load_model(self.device)
            if how.lora_rank:
                model = with_lora(model, how, training.seed)

            def evaluate(step: int) -> None:
                losses = self._evaluated(model) if step else self._evaluated_before(model)
                tokens = sum(each.encoded.n_response_tokens for taken in training.steps[:step] for each in taken)
                found.extend(
                    (training.arm, training.seed, step, tokens, name, *row)
                    for name, rows in losses.items()
                    for row in rows
                )
                if self.harness and step in (0, how.steps):
                    scores = self._scored(model) if step else self._scored_before(model)
                    scored.extend((training.arm, training.seed, step, *score) for score in scores)

            def on_step(rows: int, tokens: int) -> None:
                nonlocal done
                done += 1
                on_batch(int(done == how.steps), tokens)

            evaluate(0)
            batch = self.recipe.execution.batch_tokens
            log = train(model, training.steps, how, batch, training.seed, self.device, evaluate, on_step)
            if how.keep_models:
                model.save_pretrained(Path(self.recipe.out) / training_folder(training.arm, training.seed) / "model")
        return {
            "losses": pl.DataFrame(found, schema=LOSSES, orient="row"),
            "steps": _step_table(training, log.rows),
            "scores": pl.DataFrame(scored, schema=SCORES, orient="row"),
        }

    def _evaluated_before(self, model: Any) -> EvalLosses:
        """Return the losses before any training, computed once: a fresh LoRA adapter changes nothing."""
        if self._before is None:
            self._before = self._evaluated(model)
        return self._before

    def _scored_before(self, model: Any) -> list[Score]:
        if self._scores_before is None:
            self._scores_before = self._scored(model)
        return self._scores_before

    def _scored(self, model: Any) -> list[Score]:
        assert self.source is not None
        assert self.harness is not None
        return self.harness.scores(model, self.source.load_tokenizer())

    def _evaluated(self, model: Any) -> EvalLosses:
        from gradprism.models.batches import Batches, Failure
        from gradprism.models.likelihood import Batch, ResponseHead

        head = ResponseHead(model)

        def sums(batch: Sequence[tuple[int, Encoded]]) -> list[float]:
            return head.nll_sums(Batch.of([encoded for _, encoded in batch], head.device))

        batches = Batches[tuple[int, Encoded]](
            lambda pair: pair[1].n_tokens, self.recipe.execution.batch_tokens, head.device
        )
        found: EvalLosses = {}
        for each in self.evals:
            for batch in batches.cut(each.rows):
                for (row, encoded), answer in zip(batch, batches.answers(batch, sums), strict=True):
                    if isinstance(answer, Failure):
                        raise GradPrismError(f"row {row} of --eval {each.name}: {answer.reason}")
                    if not math.isfinite(answer):
                        raise GradPrismError(f"the loss of row {row} of --eval {each.name} is {answer}")
                    found.setdefault(each.name, []).append((row, answer, encoded.n_response_tokens))
        return {name: sorted(rows) for name, rows in found.items()}


def _step_table(training: Training, log: Sequence[dict[str, float]]) -> pl.DataFrame:
    tokens = [sum(each.encoded.n_response_tokens for each in step) for step in training.steps]
    rows = [
        (training.arm, training.seed, int(told["step"]), tokens[int(told["step"]) - 1], told["loss"],
         told.get("grad_norm"), told.get("learning_rate"))
        for told in log
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=STEPS, orient="row")
