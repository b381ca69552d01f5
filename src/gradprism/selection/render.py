"""Terminal output of a selection: counts, thresholds, ties and lengths."""

from collections.abc import Callable, Iterator

import polars as pl
from rich.console import Group, RenderableType
from rich.text import Text

from gradprism.core.numbers import count, number
from gradprism.core.terminal_tables import plain_table, spaced, summary_table
from gradprism.selection.selection import Selection


def render_selection(selection: Selection) -> RenderableType:
    """Render counts and reasons, the values of each group, ties at the cuts, and response lengths."""
    return Group(*spaced(_sections(selection)))


def _sections(selection: Selection) -> Iterator[RenderableType]:
    yield summary_table(selection.summary_lines)
    if selection.thresholds.height:
        yield _frame_table("Values of the groups", selection.thresholds, left=2)
    if selection.ties.height:
        yield _tie_table(selection)
    yield _frame_table(f"Response length ({selection.length_unit})", selection.lengths, left=1, show=count)
    if selection.length_correlations.height:
        yield _frame_table(f"Spearman with length ({selection.length_unit})", selection.length_correlations, left=1)
    if selection.diversity.height:
        yield _frame_table("Vendi score, and that of random rows", selection.diversity, left=1)


def _frame_table(title: str, frame: pl.DataFrame, left: int, show: Callable[..., str] = number) -> RenderableType:
    table = plain_table(title, frame.columns, left=left)
    for row in frame.iter_rows():
        table.add_row(*(_cell(value, show) for value in row))
    return table


def _cell(value: object, show: Callable[..., str]) -> Text:
    """Format a number by `show`, a whole one with separators."""
    if isinstance(value, float) or value is None:
        return Text(show(value))
    return Text(f"{value:,}" if isinstance(value, int) else str(value))


def _tie_table(selection: Selection) -> RenderableType:
    rule = f"Rows that share the value at a cut are taken in an order drawn with seed {selection.seed}."
    return Group(_frame_table("Ties at a cut", selection.ties.drop_nulls("metric"), left=3), Text(rule, style="dim"))
