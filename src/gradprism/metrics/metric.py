"""The base of every quality metric: examples in, one score a row out, and what decides its numbers."""

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
    """The value of one row, with the metric's own columns; or None with the reason, and never 0 in its place."""

    value: float | None
    own: Mapping[str, Any] = field(default_factory=dict)
    status: Literal["ok", "skipped", "failed"] = "ok"
    reason: str | None = None

    @classmethod
    def skipped(cls, reason: str) -> "Score":
        """Make the score of a row that never reached the model."""
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
    tokens: int = 0  # to read
    most_answer_tokens: int = 0  # to write, at most
    exact: bool = True


Usable = TypeVar("Usable")


def usable(read: Callable[[Example], Usable], examples: Sequence[Example]) -> tuple[list[Usable], dict[int, Score]]:
    """Apply `read` to the examples; return what it gives, and by row the scores of those that it refuses."""
    ready, skipped = [], {}
    for example in examples:
        try:
            ready.append(read(example))
        except RowProblemError as problem:
            skipped[example.row] = Score.skipped(str(problem))
    return ready, skipped


class Metric(ABC):
    """A quality metric. Models are loaded at the first score, so that a finished one costs nothing to open.

    A class with a `name` in a file of `gradprism/metrics/`, or behind an entry point `gradprism.metrics` of another
    package, is known to every verb; `docs/extending.md` shows one.
    """

    name: str
    """Its name, which is also that of its folder in a run."""
    title: ClassVar[str] = ""
    """Its name in sentences, figures and tables; `name` with spaces where empty."""
    description: ClassVar[str]
    """What its value is, in a few words."""
    needs: ClassVar[Literal["nothing", "tokenizer", "model", "judge", "reward model"]] = "nothing"
    """What it is computed by: the tokenizer or weights of a causal language model, a judge, a reward model."""
    settings: ClassVar[type[Settings]] = Settings
    """The settings that it alone has (`gradprism score --set NAME=VALUE`)."""
    columns: Mapping[str, Any]
    """Its own columns beside those of `gradprism.metrics.tables.SCORES`: name -> polars type."""
    sums_column: ClassVar[str | None] = None
    """The column that holds the sum of the response's negative log-likelihood given the prompt, where there is one."""
    identity: Mapping[str, Any]
    """The settings and fingerprints that decide the numbers: what a resumed run must agree with."""
    about: str
    """What computes it, in a few words."""
    device: str = ""
    """Where its model runs, once it is loaded."""
    waits: bool = False
    """Whether another machine computes it, and this process only asks and waits."""
    note: str = ""
    """What a progress bar may say beside the counts, such as how many requests were tried again."""

    @classmethod
    @abstractmethod
    def make(cls, context: "MetricContext") -> "Metric":
        """Make the metric of the settings of a recipe. Loads no weights.

        Raises `GradPrismError` where the model or judge that it needs is not named, or cannot be used.
        """

    @abstractmethod
    def score(self, examples: Sequence[Example], on_batch: OnBatch) -> Sequence[Score]:
        """Score each example, in their order. `on_batch` may raise to stop."""

    def open(self) -> None:
        """Load its model now and not with the first score; nothing for those that have none here."""
        return

    @abstractmethod
    def plan(self, examples: Sequence[Example]) -> Plan:
        """Count the work of `score`, without doing it."""

    def table(self, examples: Sequence[Example], on_batch: OnBatch = count_nothing) -> pl.DataFrame:
        """Return the scores as the run stores them: `gradprism.metrics.tables.SCORES` and the metric's own columns."""
        return self._table(examples, [_finite(score) for score in self.score(examples, on_batch)])

    def failed(self, examples: Sequence[Example], reason: str) -> pl.DataFrame:
        """Return the table of examples that could not be scored at all."""
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
