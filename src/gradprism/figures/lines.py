"""Lines over layers with the interval as a band; what is missing is a gap."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from gradprism.figures.colours import Dash, Look

MARKERS = 8  # about so many on each line, so that dashes still show
BAND_OPACITY = 0.18

Values = npt.NDArray[np.float64]


def draw_band(
    axes: Axes, look: Look, x: Values, middle: Values, low: Values, high: Values, label: str, start: int = 0
) -> None:
    """A line through `middle` and a band from `low` to `high`, NaN where there is none.

    Markers begin at the point `start`: lines that begin at different ones do not hide each other's.
    """
    axes.fill_between(x, low, high, color=look.colour, alpha=BAND_OPACITY, linewidth=0, zorder=2)
    draw_line(axes, look, x, middle, label, start)


def draw_line(axes: Axes, look: Look, x: Values, y: Values, label: str, start: int = 0) -> None:
    """A line with a marker on some of its points, and on all that have no neighbour."""
    axes.plot(
        x,
        y,
        color=look.colour,
        marker=look.marker,
        linestyle=line_style(look.dash),
        markevery=_marked(y, start),
        label=label,
        zorder=3,
    )


def line_style(dash: Dash) -> Any:
    """Dashes as matplotlib takes them."""
    return (0, dash) if dash else "-"


def values(column: Sequence[float | None]) -> Values:
    """A column with NaN for what is missing."""
    return np.array([np.nan if value is None else value for value in column], dtype=np.float64)


def _marked(y: Values, start: int) -> list[int]:
    there = np.isfinite(y)
    neighbour = np.append(there[1:], False) | np.append(False, there[:-1])
    every = max(1, -(-len(y) // MARKERS))
    regular = np.arange(len(y)) % every == start % every
    return [int(place) for place in np.flatnonzero(there & (regular | ~neighbour))]
