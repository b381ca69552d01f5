"""Rows of marks with intervals: one row for each name, from the top."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gradprism.figures.canvas import Entry
from gradprism.figures.colours import OTHER_COLOUR, Look, paler
from gradprism.figures.lines import draw_reference
from gradprism.figures.styles import Style
from gradprism.figures.ticks import set_logarithmic


@dataclass(frozen=True)
class Mark:
    """The form of a mark, which also tells it from others in grey; `size` is a factor."""

    marker: str
    filled: bool = True
    size: float = 1.0


BARS = "Bars are 95% intervals, and go on where they reach the edge; the axis is logarithmic, with a line at 1."


def set_rows(axes: Axes, names: Sequence[str], *, labels: bool) -> None:
    """Put names at 0, 1, 2 ... down the vertical axis; without `labels` where the panel to the left has them."""
    axes.grid(False, axis="y")
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelleft=labels, left=False)


def draw_mark(
    axes: Axes, style: Style, look: Look, y: float, value: float, interval: Sequence[float], *, filled: bool,
    label: str = "", linestyle: str = "-", pale: bool = False, size: float = 1.0,
) -> None:  # fmt: skip
    """Draw a marker at a value, filled or hollow, over its interval; `pale` where it is no evidence."""
    colour = paler(look.colour) if pale else look.colour
    axes.plot(interval, [y, y], color=colour, linestyle=linestyle, linewidth=size * style.line,
              label=f"{label}|interval", zorder=2)  # fmt: skip
    axes.plot(
        [value], [y], marker=look.marker, color=colour, markerfacecolor=colour if filled else "white",
        markersize=size * style.marker * (1.4 if look.marker != "." else 2.8), markeredgewidth=0.8 * style.line,
        linestyle="none", label=label, zorder=3,
    )  # fmt: skip


def mark_entry(style: Style, name: str, mark: Mark, note: str = "") -> Entry:
    """Make a legend's entry of a mark with its interval."""
    face = OTHER_COLOUR if mark.filled else "white"
    handle = Line2D([], [], color=OTHER_COLOUR, marker=mark.marker, markerfacecolor=face,
                    markersize=1.5 * mark.size * style.marker)  # fmt: skip
    return Entry(name, note, handle)


def set_ratio_axis(axes: Axes, style: Style, data: pl.DataFrame) -> None:
    """Make the horizontal axis logarithmic with a line at 1, as wide as the ratios that are evidence.

    Ratios without common support widen it, and their intervals do not.
    """
    set_logarithmic(axes.xaxis)
    draw_reference(axes, 1, style)
    ends = pl.concat([data["value"], *(data.filter(pl.col("support"))[end] for end in ("low", "high"))])
    logs = [0.0, *(math.log(end) for end in ends.drop_nulls() if 0 < end < math.inf)]
    low, high = min(logs), max(logs)
    room = max(0.04 * (high - low), 0.02)
    axes.set_xlim(math.exp(low - room), math.exp(high + room))
