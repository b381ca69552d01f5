"""`Plot`: a figure that can be drawn, with its numbers; `Missing`: one that cannot, with the reason."""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from gradprism.comparison.comparison import Comparison, Group
from gradprism.figures.styles import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


@dataclass(frozen=True)
class Plot:
    """One figure. `data` holds exactly the numbers that `draw` puts on paper, one row each."""

    name: str
    caption: str
    data: pl.DataFrame
    draw: Callable[[Style], "Figure"]
    default: bool = True  # drawn unless others are named


@dataclass(frozen=True)
class Missing:
    """A figure that cannot be drawn, and why."""

    name: str
    reason: str


Plots = Iterable[Plot | Missing]


def has_numbers(frame: pl.DataFrame, column: str) -> bool:
    """Whether a column holds any finite number."""
    return bool(frame.select(pl.col(column).is_finite().any()).item())


def groups_in_words(groups: Iterable[Group]) -> str:
    """The groups with their sizes, for a caption."""
    return ", ".join(f"{one_line(group.name)} (n = {group.n:,})" for group in groups)


def caption_of(comparison: Comparison, *sentences: str) -> str:
    """Sentences in a row, empty ones left out, then the model, and whether there will be more rows."""
    return " ".join(filter(None, (*sentences, f"Model: {one_line(comparison.model)}.", incomplete(comparison))))


def incomplete(comparison: Comparison) -> str:
    """A sentence for runs that have rows left to measure; empty where none has."""
    return "Incomplete run." if any(group.pending for group in comparison.groups) else ""


def one_line(text: str) -> str:
    """A name without line breaks, and without characters that turn the direction of what follows."""
    return " ".join("".join(c for c in text if unicodedata.bidirectional(c) not in _TURNS).split())
