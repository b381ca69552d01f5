"""Score the shards of a data set by one metric, in this process or in another one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from gradprism.core.progress import OnBatch, Say
from gradprism.data.example import Example
from gradprism.engine.task import Task
from gradprism.metrics.metric import Metric
from gradprism.runs.record import refuse_other_machine
from gradprism.scoring.metrics import make_metric
from gradprism.scoring.settings import ScoreRecipe


@dataclass
class ScoreTask(Task[Example, pl.DataFrame]):
    """Scores shards by one metric: by `metric` in this process, by one made from the recipe in others."""

    recipe: ScoreRecipe
    name: str
    identity: Mapping[str, Any]
    metric: Metric | None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, without the metric, which may hold a model: workers make their own."""
        return {**self.__dict__, "metric": None}

    def load(self, say: Say) -> None:
        """Make the metric. Raises `GradPrismError` where its identity on this machine differs from the scores'."""
        if self.metric is None:
            made = make_metric(self.name, self.recipe, None, say)
            here = {key: made.identity.get(key) for key in {*self.identity, *made.identity}}
            refuse_other_machine(self.identity, here)
            made.open()
            self.metric = made
        self.device = self.metric.device

    @property
    def note(self) -> str:
        """The text that the metric shows beside the counts."""
        return self._made.note

    def run(self, examples: Sequence[Example], on_batch: OnBatch) -> pl.DataFrame:
        """Score the examples of one shard."""
        try:
            return self._made.table(examples, on_batch)
        finally:
            self.device = self._made.device  # the model is loaded with the first shard

    def failed(self, examples: Sequence[Example], reason: str) -> pl.DataFrame:
        """Return the scores of examples that have all failed, for one reason."""
        return self._made.failed(examples, reason)

    def join(self, parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """Join parts in the order of rows."""
        return pl.concat(parts).sort("row")

    @property
    def _made(self) -> Metric:
        assert self.metric is not None
        return self.metric
