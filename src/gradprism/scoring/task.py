"""What is done with each shard of a metric's scores, in this process or in another one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from gradprism.data.example import Example
from gradprism.engine.work import OnBatch, Publishing, Say, Work
from gradprism.files.lease import check_lease
from gradprism.files.places import is_shared
from gradprism.metrics.metric import Metric
from gradprism.runs.parts import publish_scores
from gradprism.runs.record import refuse_other_machine
from gradprism.runs.scores import ScoreWriter
from gradprism.scoring.metrics import make_metric
from gradprism.scoring.settings import ScoreRecipe


@dataclass(frozen=True)
class _Scoring:
    """A metric as a worker; its model is loaded with the first shard."""

    metric: Metric

    @property
    def device(self) -> str:
        return self.metric.device

    @property
    def found(self) -> dict[str, object]:
        return {}

    @property
    def note(self) -> str:
        return self.metric.note

    def __call__(self, examples: Sequence[Example], on_batch: OnBatch) -> pl.DataFrame:
        return self.metric.table(examples, on_batch)


def work_of(metric: Metric, recipe: ScoreRecipe, here: bool) -> Work[pl.DataFrame]:
    """The work of scoring one metric: by `metric` itself `here`, else by one that is made of the recipe there."""
    load = partial(_as_made, metric) if here else partial(_make_there, metric.name, recipe, dict(metric.identity))
    return Work(load, metric.failed, lambda parts: pl.concat(parts).sort("row"))


def _as_made(metric: Metric, say: Say) -> _Scoring:
    return _Scoring(metric)


def _make_there(name: str, recipe: ScoreRecipe, identity: dict[str, object], say: Say) -> _Scoring:
    """Raises `GradPrismError` where the machine would compute something else than the scores are made of."""
    metric = make_metric(name, recipe, None, say)
    refuse_other_machine(identity, {key: metric.identity.get(key) for key in {*identity, *metric.identity}})
    metric.open()
    return _Scoring(metric)


def publishing_of(writer: ScoreWriter) -> Publishing[pl.DataFrame]:
    """How an engine gets parts into the scores: in an object store its workers put them there themselves."""
    run = writer.run
    if not is_shared(run):
        return Publishing(writer.publish)
    return Publishing(writer.publish, partial(publish_scores, run, writer.folder.name), partial(check_lease, run))
