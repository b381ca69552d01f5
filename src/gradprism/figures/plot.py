"""`FigureKind` is declared by each file of `figures/kinds`; its figures are a `Plot` each, or `Missing`."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
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
    """A figure that can be drawn; `data` holds exactly the numbers that `draw` puts on paper."""

    name: str
    caption: str
    data: pl.DataFrame
    draw: Callable[[Style], "Figure"]
    default: bool = True  # drawn unless others are named


@dataclass(frozen=True)
class Missing:
    """A figure that cannot be drawn, with the reason."""

    name: str
    reason: str


Plots = Iterable[Plot | Missing]


@dataclass(frozen=True)
class FigureKind:
    """Figures of one kind: of each model (`of_model`), or of all models together (`across_models`).

    Either function is given the measures with logarithmic axes, and yields a `Plot` or `Missing` for each figure.
    """

    position: int  # among all kinds, in captions and where all figures are drawn
    of_model: Callable[[Comparison, frozenset[str]], Plots] | None = None
    across_models: Callable[[Sequence[Comparison], frozenset[str]], Plots] | None = None
    by_contrast: bool = False  # one figure for each contrast: all but the first few only if named
    by_group_of_pairs: bool = False  # of paired rows in groups: draw each group, where others draw all rows alone


def has_numbers(frame: pl.DataFrame, column: str) -> bool:
    """Return whether a column holds any finite number."""
    return bool(frame.select(pl.col(column).is_finite().any()).item())


def groups_in_words(groups: Iterable[Group]) -> str:
    """List groups with their sizes, for a caption."""
    return ", ".join(f"{one_line(group.name)} (n = {group.n:,})" for group in groups)


def caption_of(comparison: Comparison, *sentences: str) -> str:
    """Join sentences, empty ones left out, and add the model and whether its run is incomplete."""
    return " ".join(filter(None, (*sentences, f"Model: {one_line(comparison.model)}.", incomplete(comparison))))


def incomplete(comparison: Comparison) -> str:
    """Return a sentence where runs have rows left to measure, else an empty text."""
    return "Incomplete run." if any(group.pending for group in comparison.groups) else ""


def one_line(text: str) -> str:
    """Remove line breaks, and characters that turn the direction of the text after them."""
    return " ".join("".join(c for c in text if unicodedata.bidirectional(c) not in _TURNS).split())


def numbered_models(comparisons: Sequence[Comparison]) -> dict[str, Comparison]:
    """Return comparisons by their model's name; those of one model are numbered."""
    names = [comparison.model for comparison in comparisons]
    return {
        name if names.count(name) == 1 else f"{name} ({number})": comparison
        for number, (name, comparison) in enumerate(zip(names, comparisons, strict=True), 1)
    }
