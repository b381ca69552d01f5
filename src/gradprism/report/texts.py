"""The texts of examples, read from the data that a run was made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.core.errors import GradPrismError
from gradprism.core.progress import Say
from gradprism.data.example import Example, positions_of_scored_answers
from gradprism.report.paths import first_line_without_paths, known_paths
from gradprism.runs.run import open_run
from gradprism.runs.source_data import open_source_data

MOST_CHARACTERS = 8000  # of a turn
_MOST_OF_EXAMPLE = 3 * MOST_CHARACTERS


class TurnText(NamedTuple):
    """One turn as the page shows it."""

    role: str
    content: str  # at most MOST_CHARACTERS
    n_cut: int  # characters left out after them
    in_loss: bool


@dataclass
class Texts:
    """The turns of each example by (run, row), and why a run has none."""

    turns: dict[tuple[str, int], tuple[TurnText, ...]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def read_texts(comparisons: Sequence[Comparison], examples: Sequence[pl.DataFrame], say: Say) -> Texts:
    """Read the texts of `examples`, one table a comparison, and of no other rows.

    Data that is gone or has changed leaves a sentence in `missing` and never raises.
    """
    texts, known = Texts(), [path for comparison in comparisons for path in known_paths(comparison)]
    for run, rows in _rows_by_run(comparisons, examples).items():
        say(f"reading the texts of {run}")
        try:
            texts.turns |= dict(_read_run(run, rows))
        except (GradPrismError, OSError, UnicodeError) as problem:
            texts.missing[run] = first_line_without_paths(problem, known)
    return texts


def _rows_by_run(comparisons: Sequence[Comparison], examples: Sequence[pl.DataFrame]) -> dict[str, set[int]]:
    wanted: dict[str, set[int]] = {}
    for comparison, table in zip(comparisons, examples, strict=True):
        for group in comparison.groups:
            wanted.setdefault(group.run, set()).update(table.filter(pl.col("group") == group.name)["row"])
    return wanted


def _read_run(name: str, rows: set[int]) -> Iterator[tuple[tuple[str, int], tuple[TurnText, ...]]]:
    run = open_run(name)
    answers = run.record.get("identity", {}).get("text.turns", "all")
    for example in open_source_data(run):
        if example.row in rows:
            yield (name, example.row), turn_texts(example, answers)


def turn_texts(example: Example, answers: Literal["all", "last"]) -> tuple[TurnText, ...]:
    """Return all turns of an example, cut to the page's limits; `answers` are those in the loss of its run."""
    in_loss, left, turns = positions_of_scored_answers(example.turns, answers), _MOST_OF_EXAMPLE, list[TurnText]()
    for index, turn in enumerate(example.turns):
        content = turn.text[: min(MOST_CHARACTERS, left)]
        left -= len(content)
        turns.append(TurnText(turn.role, content, len(turn.text) - len(content), index in in_loss))
    return tuple(turns)
