"""Panels of lines with intervals as bands; what is missing is a gap."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradprism.figures.canvas import LOG_SCALE, Entry, Heading, make_canvas
from gradprism.figures.colours import REFERENCE_COLOUR, Look
from gradprism.figures.styles import Style
from gradprism.figures.ticks import set_logarithmic, set_whole

MARKERS = 8  # about so many on each line, so that dashes still show
BAND_OPACITY = 0.18

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """A line with its band; `rows` hold x, y, and the ends of the interval, in columns that the drawing names."""

    label: str
    look: Look
    rows: pl.DataFrame


@dataclass(frozen=True)
class LinePanel:
    """Lines under one heading. Panels with the same name of the vertical axis share that axis."""

    label: str  # by which the panel is found among the axes of a figure
    heading: Heading
    y_name: str
    lines: Sequence[Line]
    log: bool = False
    zero: bool = False  # draw a line at 0


@dataclass(frozen=True)
class XAxis:
    """The horizontal axis, which all panels share."""

    name: str
    log: bool = False
    whole: bool = False  # ticks at whole numbers only


def draw_line_panels(
    style: Style,
    panels: Sequence[LinePanel],
    legend: Sequence[Entry],
    columns: Sequence[str],
    x_axis: XAxis,
    most_columns: int = 4,
) -> Figure:
    """Draw panels of lines; `columns` name x, y, and the low and high ends of intervals in the rows of each line."""
    canvas = make_canvas(style, len(panels), most_columns)
    canvas.share_x(log=x_axis.log)
    if x_axis.whole:
        set_whole(canvas.panels[0].xaxis)
    leading: dict[str, Axes] = {}
    for index, (axes, panel) in enumerate(zip(canvas.panels, panels, strict=True)):
        axes.set_label(panel.label)
        begins = panel.y_name not in leading or canvas.first_of_row(index)
        if panel.y_name in leading:
            axes.sharey(leading[panel.y_name])
        leading.setdefault(panel.y_name, axes)
        if panel.log:
            set_logarithmic(axes.yaxis)
        if begins:
            canvas.label_y(axes, panel.y_name)
        else:
            axes.tick_params(axis="y", labelleft=False)
            axes.yaxis.get_offset_text().set_visible(False)
        if panel.zero:
            draw_reference(axes, 0, style, horizontal=True)
        for start, line in enumerate(panel.lines):
            draw_band(axes, line, columns, start)
    canvas.figure.supxlabel(f"{x_axis.name} {LOG_SCALE}" if x_axis.log else x_axis.name)
    canvas.add_legend(legend)
    return canvas.finish([panel.heading for panel in panels])


def draw_band(axes: Axes, line: Line, columns: Sequence[str], start: int = 0) -> None:
    """Draw a line and its interval as a band; NaN is a gap.

    Markers begin at the point `start`: lines that begin at different ones do not hide each other's.
    """
    x, y, low, high = line.rows.select(columns).cast(pl.Float64).to_numpy().T
    look = line.look
    axes.fill_between(x, low, high, color=look.colour, alpha=BAND_OPACITY, linewidth=0, zorder=2)
    axes.plot(x, y, color=look.colour, marker=look.marker, linestyle=look.linestyle, markevery=_marked(y, start),
              label=line.label, zorder=3)  # fmt: skip


def draw_reference(axes: Axes, value: float, style: Style, *, horizontal: bool = False) -> None:
    """Draw a thin grey line at a value, such as that of no effect."""
    draw = axes.axhline if horizontal else axes.axvline
    draw(value, color=REFERENCE_COLOUR, linewidth=0.6 * style.line, zorder=1)


def _marked(y: Values, start: int) -> list[int]:
    """Choose the points with markers: every so many, and all that have no neighbour."""
    there = np.isfinite(y)
    neighbour = np.append(there[1:], False) | np.append(False, there[:-1])
    every = max(1, -(-len(y) // MARKERS))
    regular = np.arange(len(y)) % every == start % every
    return [int(index) for index in np.flatnonzero(there & (regular | ~neighbour))]
