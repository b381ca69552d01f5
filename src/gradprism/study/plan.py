"""What a study would do, before any of it is done: rows, tokens, the time of what is left, and what cannot be seen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Basis = Literal["counted", "scaled", "characters", "bound", "unknown"]
"""How a number of tokens is known: counted with the model's own tokenizer; so counted on a part of the rows; from the
length of the text, the tokenizer not being here; at most so many, the data not being here; or not at all."""
BASES: tuple[Basis, ...] = ("counted", "scaled", "characters", "bound", "unknown")
NARROW, WIDE = 0.9, 0.5
"""Time of one example here over that of an ordinary training pass of it, by the width of the model (docs/speed.md)."""
HALF_ON_GPU = 5.0
"""The same for weights of 16 bits on a GPU, over a pass at half of its rate: the fp64 problems are what takes the time.
An H100 with 7.6e9 parameters: 5.3 at 512 tokens, 12 at 2,048."""
ATTAINED = 0.5
"""Part of a matrix product's rate that whole passes reach: 0.40 and 0.56 with the built-in models on a CPU (fp32)."""
_WIDE_FROM = 1e9  # parameters: the table's wide rows have the shapes of models of 1 and 7 billion
PASSES = {"ifd": 4, "loss": 2, "perplexity": 2, "reward": 2, "length": 0}
"""Floating point operations a parameter and token of a score: one forward pass, two of IFD."""


@dataclass(frozen=True)
class Reading:
    """One set as one tokenizer and one text make tokens of it."""

    rows: int | None  # None where that cannot be known
    skipped: int = 0
    tokens: float | None = None  # of all rows, prompt and response, after cuts
    basis: Basis = "unknown"


@dataclass(frozen=True)
class Pace:
    """Time of a token."""

    seconds: float
    measured: bool  # in runs of this study; estimated otherwise


@dataclass(frozen=True)
class PlannedRun:
    """The gradients of one set by one model and one text."""

    model: str
    text: str
    set: str
    reading: Reading
    done: int  # rows
    pace: Pace | None

    @property
    def seconds(self) -> float | None:
        """Time of what is left; None where there is no telling."""
        return seconds_left(self.reading, self.done, self.pace)


@dataclass(frozen=True)
class PlannedScore:
    """One score of one pool. A judge is asked once a row, and how long it takes is for nobody to know."""

    pool: str
    score: str
    metric: str
    by: str  # model, reward model or judge
    reading: Reading
    done: int  # rows
    pace: Pace | None

    @property
    def is_asked(self) -> bool:
        """Whether somebody else answers: a judge at an endpoint, once a row."""
        return self.metric in ("instag", "difficulty") and not self.by.startswith("local:")

    @property
    def seconds(self) -> float | None:
        """Time of what is left; None where there is no telling."""
        return seconds_left(self.reading, self.done, self.pace)


@dataclass(frozen=True)
class Unseen:
    """Something that the study names and that cannot be looked at here."""

    kind: Literal["model", "data", "score", "run"]
    name: str  # in the recipe
    given: str  # what the recipe says it is
    reason: str


@dataclass(frozen=True)
class Line:
    """Runs taken together."""

    sets: int
    rows: int
    done: int
    skipped: int
    tokens: float
    seconds: float
    basis: Basis  # the least certain
    untold_rows: int  # sets of which the number of rows is not known
    untold_tokens: int
    untold_time: int  # runs with work left and no telling how long
    estimated: bool  # that the time is, some of it at least


@dataclass(frozen=True)
class Plan:
    """All of it."""

    title: str
    out: str
    runs: tuple[PlannedRun, ...]
    scores: tuple[PlannedScore, ...]
    selections: tuple[int, int]  # all, done
    comparisons: tuple[int, int]
    unseen: tuple[Unseen, ...]
    device: str
    workers: int
    rates: dict[str, float]  # measured: operations a second by type of weights

    @property
    def lines(self) -> dict[tuple[str, str], Line]:
        """The runs of each model and text, in their order."""
        pairs = dict.fromkeys((run.model, run.text) for run in self.runs)
        return {pair: line([run for run in self.runs if (run.model, run.text) == pair]) for pair in pairs}

    @property
    def total(self) -> Line:
        """Everything that is computed here; what a judge is asked is not."""
        return line([*self.runs, *(score for score in self.scores if not score.is_asked)])

    @property
    def requests(self) -> int:
        """Rows that judges are still to be asked about."""
        return sum((score.reading.rows or 0) - score.done for score in self.scores if score.is_asked)


def line(parts: Sequence[PlannedRun | PlannedScore]) -> Line:
    """Sums, and how far they can be trusted."""
    readings = [part.reading for part in parts]
    left = [part for part in parts if part.reading.rows is None or part.done < part.reading.rows]
    paces = [part.pace for part in left if part.pace]
    return Line(
        sets=len(parts),
        rows=sum(reading.rows or 0 for reading in readings),
        done=sum(part.done for part in parts),
        skipped=sum(reading.skipped for reading in readings),
        tokens=sum(reading.tokens or 0 for reading in readings),
        seconds=sum(part.seconds or 0 for part in parts),
        basis=least_certain(reading.basis for reading in readings),
        untold_rows=sum(reading.rows is None for reading in readings),
        untold_tokens=sum(reading.tokens is None for reading in readings),
        untold_time=sum(part.seconds is None for part in left),
        estimated=not all(pace.measured for pace in paces),
    )


def least_certain(bases: Iterable[Basis]) -> Basis:
    """The one that a sum of several has."""
    known = [basis for basis in bases if basis != "unknown"]
    return max(known, key=BASES.index, default="unknown")


def seconds_left(reading: Reading, done: int, pace: Pace | None) -> float | None:
    """Time of the rows that are not done; 0 where all are."""
    if reading.rows is not None and done >= reading.rows:
        return 0.0
    if not reading.rows or reading.tokens is None or pace is None:
        return None
    return reading.tokens * (1 - done / reading.rows) * pace.seconds


def estimated_pace(parameters: float, rate: float, metric: str | None = None, half_on_gpu: bool = False) -> Pace | None:
    """Of gradients, or of a metric: operations a token (2 a parameter forward, 4 backward) over the machine's rate.

    Only an order of magnitude: a machine that is busy, or narrow models and long texts, easily double it.
    """
    if metric is not None:
        passes = PASSES.get(metric)
        return None if passes is None else Pace(passes * parameters / (rate * ATTAINED), measured=False)
    share = HALF_ON_GPU if half_on_gpu else WIDE if parameters >= _WIDE_FROM else NARROW
    return Pace(6 * parameters * share / (rate * ATTAINED), measured=False)


def measured_pace(sessions: Iterable[tuple[float, int]]) -> Pace | None:
    """Of what was done already: seconds and tokens of each session."""
    worked = [(seconds, tokens) for seconds, tokens in sessions if tokens]
    tokens = sum(tokens for _, tokens in worked)
    return Pace(sum(seconds for seconds, _ in worked) / tokens, measured=True) if tokens else None
