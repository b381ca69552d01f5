"""Which measures and metrics go together: one matrix, raw below the diagonal, with length held above it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.evidence import ALPHA
from gradprism.figures.lines import Values
from gradprism.figures.plot import Missing, Plot, Plots, caption_of, groups_in_words, has_numbers
from gradprism.figures.styles import Style
from gradprism.figures.text import distinct, literal, width
from gradprism.metrics.titles import title

NAME = "correlations"
MAP, NO_VALUE = "RdBu_r", "#C8C8C8"
_DARK = 0.6  # from here on what is written into a cell is white
MOST_NAMES = 36  # more would need letters too small to read
HEADING = "above the diagonal: given lengths\nbelow: raw"
_SHOWN = ("x", "y", "n", "spearman", "q", "partial", "partial_q")


def matrix_plots(comparison: Comparison) -> Plots:
    """Spearman's correlations in the order in which they cluster."""
    data = comparison.correlations.select(_SHOWN)
    names = _names(data)
    columns = len(names)
    if len(names) > MOST_NAMES:
        names = [name for name in names if _is_whole(name)][:MOST_NAMES]
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
        f"q of at least {ALPHA:g} (Benjamini-Hochberg), or none; grey: the diagonal, and where there is no value.",
        few,
    )
    yield Plot(NAME, caption, data, partial(draw_matrix, data, names))


def _is_whole(name: str) -> bool:
    """A metric, a column, or the mean of a measure over projections: not one projection alone."""
    return ":" not in name or name.startswith("column:") or name.endswith(":mean")


def _sizes_in_words(data: pl.DataFrame) -> str:
    """How many examples have both values of a pair, from the fewest to the most."""
    counts = data.filter(pl.col("spearman").is_finite())["n"].to_list()
    least, most = min(counts), max(counts)
    return f"{least:,} of them in each pair" if least == most else f"{least:,} to {most:,} of them in a pair"


def _names(data: pl.DataFrame) -> list[str]:
    """In clustered order: x stands before y in every row."""
    before = dict.fromkeys([*data["x"], *data["y"]], 0)
    for y in data["y"]:
        before[y] += 1
    return sorted(before, key=lambda name: before[name])


@dataclass(frozen=True)
class _Sizes:
    """Of the parts of the figure, in inches; the font of the names in points."""

    names: float
    cell: float
    across: float
    height: float
    top: float
    font: float


def draw_matrix(data: pl.DataFrame, names: Sequence[str], style: Style) -> Figure:
    """A square of cells with the names of rows and columns; values are written where they fit."""
    room = min(0.3 * style.text_width, 14 * style.font / 72)
    labels = distinct([title(name) for name in names], room, style, style.tick_font)
    sizes = _sizes(labels, style)
    figure = Figure(figsize=(sizes.across, sizes.height))
    FigureCanvasAgg(figure)
    table, norm = _table(data, names, "spearman", "partial"), Normalize(-1, 1)
    axes = _add_axes(figure, sizes, len(names))
    axes.pcolormesh(np.ma.masked_invalid(table), cmap=MAP, norm=norm, edgecolors="white", linewidth=0.4 * style.line)
    middles, shown = np.arange(len(names)) + 0.5, [literal(label) for label in labels]
    axes.set_xticks(middles, shown, rotation=90, fontsize=sizes.font)
    axes.set_yticks(middles, shown, fontsize=sizes.font)
    axes.set_title(HEADING)
    _write_values(axes, table, sizes.cell, style)
    _mark_unsure(axes, table, _table(data, names, "q", "partial_q"), sizes.cell)
    _draw_scale(figure, axes, norm, sizes, style)
    return figure


def _sizes(labels: Sequence[str], style: Style) -> _Sizes:
    """Smaller cells need smaller letters, which leave room for larger cells: settled in three rounds."""
    font, top, scale = style.tick_font, 3.4 * style.font / 72, 5 * style.font / 72
    for _ in range(3):
        longest = max(width(label, style, font) for label in labels) + style.tick_font / 72
        cell = min(3.6 * style.tick_font / 72, (style.text_width - longest - scale) / len(labels))
        if style.page_height is not None:
            cell = min(cell, (style.page_height - longest - top) / len(labels))
        font = min(style.tick_font, 0.85 * cell * 72)
    longest = max(width(label, style, font) for label in labels) + style.tick_font / 72
    side = cell * len(labels)
    if style.page_height is not None:
        return _Sizes(longest, cell, style.text_width, style.page_height, top, font)
    return _Sizes(longest, cell, max(longest + side + scale, style.column_width), longest + side + top, top, font)


def _add_axes(figure: Figure, sizes: _Sizes, count: int) -> Axes:
    side = sizes.cell * count
    left = sizes.names + max(0.0, sizes.across - sizes.names - side - 5 * sizes.top / 3.4) / 2
    bottom = sizes.height - sizes.top - side
    box = (left / sizes.across, bottom / sizes.height, side / sizes.across, side / sizes.height)
    axes = figure.add_axes(box, label=NAME)
    axes.set_facecolor(NO_VALUE)
    axes.grid(False)
    axes.set(xlim=(0, count), ylim=(count, 0))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return axes


def _table(data: pl.DataFrame, names: Sequence[str], raw_column: str, held_column: str) -> Values:
    """Row i, column j: raw where i > j, with length held where i < j; the diagonal is empty."""
    places = {name: place for place, name in enumerate(names)}
    table = np.full((len(names), len(names)), np.nan)
    for x, y, raw, held in data.select("x", "y", raw_column, held_column).rows():
        table[places[y], places[x]] = np.nan if raw is None else raw
        table[places[x], places[y]] = np.nan if held is None else held
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


def _mark_unsure(axes: Axes, table: Values, q: Values, cell: float) -> None:
    """A dot in the lower right corner of cells that are not significant."""
    rows, columns = np.nonzero(np.isfinite(table) & ~(q < ALPHA))
    dark = np.abs(table[rows, columns]) > _DARK
    size = min(3.0, max(1.0, 0.12 * cell * 72))  # points across
    colours = np.where(dark, "white", "black")
    axes.scatter(columns + 0.86, rows + 0.86, s=size**2, c=colours, linewidths=0, label="unsure")


def _draw_scale(figure: Figure, axes: Axes, norm: Normalize, sizes: _Sizes, style: Style) -> None:
    square = axes.get_position()
    gap = 0.6 * style.font / 72 / sizes.across
    bar = figure.add_axes((square.x1 + gap, square.y0, gap, square.height))
    scale = figure.colorbar(ScalarMappable(norm, MAP), cax=bar)
    scale.set_ticks([-1, 0, 1], labels=["−1", "0", "1"])
    scale.outline.set_linewidth(0.4 * style.line)
    bar.set_ylabel("Spearman ρ" if square.height * sizes.height * 72 > 6 * style.font else "ρ")
