"""`Plot`: a figure that can be drawn, with its numbers; `Missing`: one that cannot, with the reason."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from gradprism.analysis.comparison import Comparison, Group
from gradprism.figures.styles import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def of_model(comparison: Comparison) -> str:
    """The model, for a caption."""
    return f"Model: {one_line(comparison.model)}."


def one_line(text: str) -> str:
    """A name without line breaks."""
    return " ".join(text.split())
