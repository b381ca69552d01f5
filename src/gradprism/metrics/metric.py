"""The base class of quality metrics, which score examples, and the identity that decides their numbers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import polars as pl

from gradprism.core.progress import OnBatch, count_nothing
from gradprism.core.settings import Settings
from gradprism.data.example import Example, RowProblemError
from gradprism.metrics.tables import SCORES

if TYPE_CHECKING:
    from gradprism.metrics.context import MetricContext


@dataclass(frozen=True)
class Score:
    """The value of one row, with the metric's own columns; None with a reason where it is missing, never 0."""

    value: float | None
    own: Mapping[str, Any] = field(default_factory=dict)
    status: Literal["ok", "skipped", "failed"] = "ok"
    reason: str | None = None

    @classmethod
    def skipped(cls, reason: str) -> "Score":
        """Make the score of a row that cannot be given to the model."""
        return cls(None, {}, "skipped", reason)

    @classmethod
    def failed(cls, reason: str, **own: Any) -> "Score":
        """Make the score of a row for which the model gave no usable number."""
        return cls(None, own, "failed", reason)


@dataclass(frozen=True)
class Plan:
    """The work of scoring some rows; the counts of tokens are estimates where `exact` is False."""

    rows: int
    skipped: int = 0
    cached: int = 0  # rows whose answer is already in the request cache
    tokens: int = 0  # to process
    most_answer_tokens: int = 0  # upper limit of the tokens to generate
    exact: bool = True


Usable = TypeVar("Usable")


def usable(read: Callable[[Example], Usable], examples: Sequence[Example]) -> tuple[list[Usable], dict[int, Score]]:
    """Return the results of `read` for the examples, and the scores of those that it refuses, by row."""
    ready, skipped = [], {}
    for example in examples:
        try:
            ready.append(read(example))
        except RowProblemError as problem:
            skipped[example.row] = Score.skipped(str(problem))
    return ready, skipped


class Metric(ABC):
    """A quality metric. Its model is loaded at the first score, so that opening finished scores costs nothing.

    A class with a `name` in a file of `gradprism/metrics/`, or under an entry point `gradprism.metrics` of another
    package, is known to every verb; `docs/extending.md` shows one.
    """

    name: str
    """Name of the metric, and of its folder in a run."""
    title: ClassVar[str] = ""
    """Its name in sentences, figures and tables; `name` with spaces where empty."""
    description: ClassVar[str]
    """Description of its value, in a few words."""
    needs: ClassVar[Literal["nothing", "tokenizer", "model", "judge", "reward model"]] = "nothing"
    """The model that it needs: the tokenizer or weights of a causal language model, a judge, or a reward model."""
    settings: ClassVar[type[Settings]] = Settings
    """The settings that only this metric has (`gradprism score --set NAME=VALUE`)."""
    columns: Mapping[str, Any]
    """Its own columns beside those of `gradprism.metrics.tables.SCORES`: name -> polars type."""
    sums_column: ClassVar[str | None] = None
    """The column with the summed negative log-likelihood of the response given the prompt, if it has one."""
    identity: Mapping[str, Any]
    """The settings and fingerprints that decide the numbers, which must be equal to resume scores."""
    about: str
    """Description of the model that computes it, in a few words."""
    device: str = ""
    """Device of its model, once it is loaded."""
    waits: bool = False
    """True if another machine computes it, and this process only sends requests."""
    note: str = ""
    """Text to show beside the counts of a progress bar, such as the number of retries."""

    @classmethod
    @abstractmethod
    def make(cls, context: "MetricContext") -> "Metric":
        """Make the metric from the settings of a recipe, without loading weights.

        Raises `GradPrismError` where the model or judge that it needs is not named, or cannot be used.
        """

    @abstractmethod
    def score(self, examples: Sequence[Example], on_batch: OnBatch) -> Sequence[Score]:
        """Return the scores of the examples, in their order. `on_batch` may raise to stop."""

    def open(self) -> None:
        """Load the model now, before the first score; does nothing for metrics without a model in this process."""
        return

    @abstractmethod
    def plan(self, examples: Sequence[Example]) -> Plan:
        """Count the work of `score`, without doing it."""

    def table(self, examples: Sequence[Example], on_batch: OnBatch = count_nothing) -> pl.DataFrame:
        """Return the scores as the run stores them: `gradprism.metrics.tables.SCORES` and the metric's own columns."""
        return self._table(examples, [_finite(score) for score in self.score(examples, on_batch)])

    def failed(self, examples: Sequence[Example], reason: str) -> pl.DataFrame:
        """Return the scores of examples that have all failed, for one reason."""
        return self._table(examples, [Score.failed(reason) for _ in examples])

    def _table(self, examples: Sequence[Example], scores: Sequence[Score]) -> pl.DataFrame:
        rows = [
            (
                example.example_id,
                example.row,
                score.value,
                score.status,
                score.reason,
                *map(score.own.get, self.columns),
            )
            for example, score in zip(examples, scores, strict=True)
        ]
        return pl.DataFrame(rows, schema={**SCORES, **self.columns}, orient="row")


def _finite(score: Score) -> Score:
    if score.value is None or math.isfinite(score.value):
        return score
    return Score.failed(f"not a finite number ({score.value})", **score.own)
