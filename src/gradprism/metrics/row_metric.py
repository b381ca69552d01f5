"""The base class of metrics that are computed from the row itself, without a model."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from gradprism.core.progress import OnBatch
from gradprism.core.settings import Settings, checked
from gradprism.data.example import Example, RowProblemError
from gradprism.metrics.context import MetricContext
from gradprism.metrics.metric import Metric, Plan, Score


class RowMetric(Metric):
    """A metric that needs only the row: a subclass defines `name`, `description` and `compute`."""

    columns: Mapping[str, Any] = {}
    version: ClassVar[int] = 1
    """Increased when the numbers change: the scores of a run are never computed by two versions."""

    def __init__(self, own: Settings):
        """Make the metric with its own settings, an instance of `self.settings`."""
        self.own = own
        self.identity = {f"{self.name}.version": self.version} | {f"{self.name}.{key}": value for key, value in own}
        self.about = self.description

    @classmethod
    def make(cls, context: MetricContext) -> Self:
        """Make the metric from its own settings. Raises `GradPrismError` where one is unknown or not valid."""
        return cls(checked(cls.settings, context.settings.own))

    @abstractmethod
    def compute(self, example: Example) -> float | Score:
        """Return the value of one row, or a score with own columns. Raises `RowProblemError` to skip the row."""

    def score(self, examples: Sequence[Example], on_batch: OnBatch) -> list[Score]:
        """Compute the values of the rows, one by one."""
        scores = [self._scored(example) for example in examples]
        on_batch(len(examples), 0)
        return scores

    def plan(self, examples: Sequence[Example]) -> Plan:
        """Count the rows."""
        return Plan(len(examples))

    def _scored(self, example: Example) -> Score:
        try:
            if example.problem:
                raise RowProblemError(example.problem)
            value = self.compute(example)
        except RowProblemError as problem:
            return Score.skipped(str(problem))
        return value if isinstance(value, Score) else Score(float(value))
