"""Correlations of measures and metrics: one matrix, raw below the diagonal, length-controlled above it."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.length_controls import ALPHA
from gradprism.figures.canvas import lay_out
from gradprism.figures.colours import DIVERGING_MAP, NO_VALUE_COLOUR
from gradprism.figures.lines import Values
from gradprism.figures.plot import FigureKind, Missing, Plot, Plots, caption_of, groups_in_words, has_numbers
from gradprism.figures.styles import Style
from gradprism.figures.text import distinct, literal, width
from gradprism.metrics.titles import title

NAME = "correlations"
_DARK = 0.6  # from here on what is written into a cell is white
MOST_NAMES = 36  # more would need letters too small to read
HEADING = "above the diagonal: given lengths\nbelow: raw"
_SHOWN = ("x", "y", "n", "spearman", "q", "partial", "partial_q")


def matrix_plots(comparison: Comparison, _: frozenset[str]) -> Plots:
    """Yield Spearman's correlations in the order in which they cluster."""
    data = comparison.correlations.select(_SHOWN)
    names = _clustered_names(data)
    columns = len(names)
    if len(names) > MOST_NAMES:
        names = [name for name in names if _is_of_all_projections(name)][:MOST_NAMES]
        data = data.filter(pl.col("x").is_in(names), pl.col("y").is_in(names))
    if data.is_empty() or not has_numbers(data, "spearman"):
        yield Missing(NAME, "there are no two columns to correlate")
        return
    few = f"Of {columns} columns, {len(names)} are shown." if columns > len(names) else ""
    caption = caption_of(
        comparison,
        "Spearman correlations in clustered order, raw below the diagonal, given prompt and response tokens above it, "
        f"over the examples of all groups pooled: {groups_in_words(comparison.groups)}; {_sizes_in_words(data)}. "
        "Groups that were chosen as extremes make correlations larger than they are among all examples. A dot marks "
        f"p adj. (Benjamini-Hochberg) below {ALPHA:g}; grey: the diagonal, and where there is no value.",
        few,
    )
    yield Plot(NAME, caption, data, partial(draw_matrix, data, names))


KINDS = (FigureKind(90, matrix_plots),)


def _is_of_all_projections(name: str) -> bool:
    """Return whether a name is a metric, a column, or the mean of a measure over projections."""
    return ":" not in name or name.startswith("column:") or name.endswith(":mean")


def _sizes_in_words(data: pl.DataFrame) -> str:
    """Say how many examples have both values of a pair, from the fewest to the most."""
    counts = data.filter(pl.col("spearman").is_finite())["n"].to_list()
    least, most = min(counts), max(counts)
    return f"{least:,} of them in each pair" if least == most else f"{least:,} to {most:,} of them in a pair"


def _clustered_names(data: pl.DataFrame) -> list[str]:
    """Return the names in clustered order: x stands before y in every row."""
    before = dict.fromkeys([*data["x"], *data["y"]], 0)
    for y in data["y"]:
        before[y] += 1
    return sorted(before, key=lambda name: before[name])


def draw_matrix(data: pl.DataFrame, names: Sequence[str], style: Style) -> Figure:
    """Draw a square of cells with the names of rows and columns; values are written where they fit."""
    across, count = style.text_width, len(names)
    figure = Figure(figsize=(across, style.page_height or 1.4 * across), layout="compressed")
    FigureCanvasAgg(figure)
    table, norm = _square(data, names, "spearman", "partial"), Normalize(-1, 1)
    axes = figure.add_subplot(label=NAME, aspect="equal", facecolor=NO_VALUE_COLOUR)
    axes.set_title(HEADING)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.pcolormesh(np.ma.masked_invalid(table), cmap=DIVERGING_MAP, norm=norm, edgecolors="white",
                    linewidth=0.4 * style.line)  # fmt: skip
    axes.invert_yaxis()
    most = min(0.3 * across, 14 * style.font / 72)
    labels = [literal(text) for text in distinct([title(name) for name in names], most, style, style.tick_font)]
    axes.set_xticks(np.arange(count) + 0.5, labels, rotation=90)
    axes.set_yticks(np.arange(count) + 0.5, labels)
    scale = figure.colorbar(ScalarMappable(norm, DIVERGING_MAP), ax=axes, aspect=30, pad=0.02, ticks=[-1, 0, 1])
    scale.set_label("Spearman ρ" if count > 4 else "ρ")
    scale.outline.set_linewidth(0.4 * style.line)
    cell = _settle_size(figure, axes, count, style)
    _write_values(axes, table, cell, style)
    _mark_significant(axes, table, _square(data, names, "q", "partial_q"), cell)
    return figure


def _settle_size(figure: Figure, axes: Axes, count: int, style: Style) -> float:
    """Settle the size of letters and of the figure; returns the side of a cell in inches."""
    for _ in range(2):  # smaller letters leave room for larger cells
        lay_out(figure)
        cell = axes.get_window_extent().width / figure.dpi / count
        axes.tick_params(labelsize=min(style.tick_font, 0.85 * cell * 72))
    if style.page_height is None:
        smaller = max(0.0, cell - 3.6 * style.tick_font / 72)
        across, height = figure.get_figwidth() - smaller * count, figure.get_tightbbox().height - smaller * count
        figure.set_size_inches(max(across, style.column_width), height + style.font / 72)
        lay_out(figure)
        cell -= smaller
    figure.set_layout_engine(None)  # "none" would have every file drawn twice
    return cell


def _square(data: pl.DataFrame, names: Sequence[str], raw_column: str, controlled_column: str) -> Values:
    """Return row i, column j: raw where i > j, length-controlled where i < j; the diagonal is empty."""
    indices = {name: index for index, name in enumerate(names)}
    table = np.full((len(names), len(names)), np.nan)
    for x, y, raw, controlled in data.select("x", "y", raw_column, controlled_column).rows():
        table[indices[y], indices[x]] = np.nan if raw is None else raw
        table[indices[x], indices[y]] = np.nan if controlled is None else controlled
    return table


def _write_values(axes: Axes, table: Values, cell: float, style: Style) -> None:
    size = style.tick_font - 1
    if width("−.88", style, size) > 0.85 * cell:
        return
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            text = f"{round(value, 2) + 0.0:.2f}".replace("-0.", "−.").replace("0.", ".").replace("-", "−")
            colour = "white" if abs(value) > _DARK else "black"
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=size, color=colour)


def _mark_significant(axes: Axes, table: Values, q: Values, cell: float) -> None:
    """Put a dot into the lower right corner of cells that are significant."""
    rows, columns = np.nonzero(np.isfinite(table) & (q < ALPHA))
    dark = np.abs(table[rows, columns]) > _DARK
    size = min(3.0, max(1.0, 0.12 * cell * 72))  # points across
    colours = np.where(dark, "white", "black")
    axes.scatter(columns + 0.86, rows + 0.86, s=size**2, c=colours, linewidths=0, label="significant")
