"""What every quality metric is: examples in, one score a row out, and what decides its numbers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import polars as pl

from gradprism.core.progress import OnBatch, uncounted
from gradprism.data.example import Example, RowProblemError
from gradprism.metrics.tables import SCORES


@dataclass(frozen=True)
class Score:
    """One row's value with the metric's own columns; or None with the reason, and never 0 in its place."""

    value: float | None
    own: Mapping[str, Any] = field(default_factory=dict)
    status: Literal["ok", "skipped", "failed"] = "ok"
    reason: str | None = None

    @classmethod
    def skipped(cls, reason: str) -> "Score":
        """Of a row that never reached the model."""
        return cls(None, {}, "skipped", reason)

    @classmethod
    def failed(cls, reason: str, **own: Any) -> "Score":
        """Of a row for which the model gave no usable number."""
        return cls(None, own, "failed", reason)


@dataclass(frozen=True)
class Plan:
    """What scoring some rows would take; the counts of tokens are estimates where `exact` is False."""

    rows: int
    skipped: int = 0
    cached: int = 0  # rows whose answer is already in the request cache
    tokens: int = 0  # to read
    most_answer_tokens: int = 0  # to write, at most
    exact: bool = True


Usable = TypeVar("Usable")


def usable(read: Callable[[Example], Usable], examples: Sequence[Example]) -> tuple[list[Usable], dict[int, Score]]:
    """What `read` makes of the examples; and by row, for those of which it makes nothing, the score that says why."""
    ready, skipped = [], {}
    for example in examples:
        try:
            ready.append(read(example))
        except RowProblemError as problem:
            skipped[example.row] = Score.skipped(str(problem))
    return ready, skipped


class Metric(ABC):
    """A quality metric. Models are loaded at the first score, so that a finished one costs nothing to open."""

    name: str
    """Its name, which is also that of its folder in a run."""
    columns: Mapping[str, Any]
    """Its own columns beside those of `gradprism.metrics.tables.SCORES`: name -> polars type."""
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

    @abstractmethod
    def score(self, examples: Sequence[Example], on_batch: OnBatch) -> Sequence[Score]:
        """One score for each example, in their order. `on_batch` may raise to stop."""

    def open(self) -> None:
        """Load its model now and not with the first score; nothing for those that have none here."""
        return

    @abstractmethod
    def plan(self, examples: Sequence[Example]) -> Plan:
        """What `score` would take, without doing it."""

    def table(self, examples: Sequence[Example], on_batch: OnBatch = uncounted) -> pl.DataFrame:
        """The scores as the run stores them: `gradprism.metrics.tables.SCORES` and the metric's own columns."""
        return self._table(examples, [_finite(score) for score in self.score(examples, on_batch)])

    def failed(self, examples: Sequence[Example], reason: str) -> pl.DataFrame:
        """The same of examples that could not be scored at all."""
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
