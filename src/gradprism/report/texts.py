"""The texts of examples, from the data that a run was made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from gradprism.comparison.comparison import Comparison, Group
from gradprism.core.errors import GradPrismError
from gradprism.data.example import Example, answers_in_loss
from gradprism.report.paths import first_line, known_paths
from gradprism.runs.origin import data_of
from gradprism.runs.run import Run, open_run

Say = Callable[[str], None]
_LONG_TURNS = 3  # so many turns of full length, and no more, of a conversation


@dataclass(frozen=True)
class Said:
    """One turn: who speaks, what is said, and whether the loss is taken over it."""

    role: str
    content: str
    scored: bool

    def json(self, limit: int) -> list[Any]:
        """Role, text cut to `limit` characters, number of characters cut, 1 if scored."""
        kept = self.content[:limit]
        return [self.role, kept, len(self.content) - len(kept), int(self.scored)]


@dataclass
class Texts:
    """Each text once, however many groups and models have it; `by_row` finds those of one run."""

    said: list[tuple[Said, ...]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)  # why a run has none
    _places: dict[tuple[Said, ...], int] = field(default_factory=dict)
    _by_row: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, run: str, row: int, turns: tuple[Said, ...]) -> None:
        """Keep the turns of one row."""
        place = self._places.setdefault(turns, len(self.said))
        if place == len(self.said):
            self.said.append(turns)
        self._by_row[run, row] = place

    def place(self, run: str, row: int) -> int | None:
        """Where the text of a row stands; None where it has none."""
        return self._by_row.get((run, row))

    def json(self, place: int, limit: int) -> list[list[Any]]:
        """The turns of one text, each cut to `limit` characters, and all of them to a few times as many."""
        turns, room = [], _LONG_TURNS * limit
        for said in self.said[place]:
            turns.append(said.json(min(limit, room)))
            room -= len(turns[-1][1])
        return turns


def read_texts(comparisons: Sequence[Comparison], examples: Sequence[pl.DataFrame], say: Say) -> Texts:
    """Read the texts of `examples`, one table a comparison, and of no other rows.

    Data that is gone or has changed leaves a sentence in `missing` and never raises.
    """
    texts, known = Texts(), [path for comparison in comparisons for path in known_paths(comparison)]
    for run, rows in _rows_of_runs(comparisons, examples).items():
        say(f"reading the texts of {run}")
        try:
            _read(open_run(run), run, rows, texts)
        except (GradPrismError, OSError, UnicodeError) as problem:
            texts.missing[run] = first_line(problem, known)
    return texts


def _rows_of_runs(comparisons: Sequence[Comparison], examples: Sequence[pl.DataFrame]) -> dict[str, set[int]]:
    wanted: dict[str, set[int]] = {}
    for comparison, table in zip(comparisons, examples, strict=True):
        for group in comparison.groups:
            wanted.setdefault(group.run, set()).update(_rows_of(group, table))
    return wanted


def _rows_of(group: Group, table: pl.DataFrame) -> list[int]:
    return table.filter(pl.col("group") == group.name)["row"].to_list()


def _read(run: Run, name: str, rows: set[int], texts: Texts) -> None:
    which = run.record.get("identity", {}).get("text.turns", "all")
    for example in data_of(run):
        if example.row in rows:
            texts.add(name, example.row, _said(example, which))


def _said(example: Example, which: Literal["all", "last"]) -> tuple[Said, ...]:
    """All turns, each with all that it says, and whether it carries the loss."""
    scored = answers_in_loss(example.turns, which)
    return tuple(Said(turn.role, turn.text, place in scored) for place, turn in enumerate(example.turns))
