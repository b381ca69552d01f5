"""Rows of marks with intervals: one row for each name, from the top."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from gradprism.figures.colours import Look, paler
from gradprism.figures.styles import Style


def set_rows(axes: Axes, names: Sequence[str], *, labels: bool) -> None:
    """Put names at 0, 1, 2 ... down the vertical axis; without `labels` where the panel to the left has them."""
    axes.grid(False, axis="y")
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelleft=labels, left=False)


def draw_mark(
    axes: Axes, style: Style, look: Look, y: float, value: float, interval: Sequence[float], *, filled: bool,
    label: str = "", linestyle: str = "-", pale: bool = False,
) -> None:  # fmt: skip
    """Draw a marker at a value, filled or hollow, over its interval; `pale` where it is no evidence."""
    colour = paler(look.colour) if pale else look.colour
    axes.plot(interval, [y, y], color=colour, linestyle=linestyle, label=f"{label}|interval", zorder=2)
    axes.plot(
        [value], [y], marker=look.marker, color=colour, markerfacecolor=colour if filled else "white",
        markersize=style.marker * (1.4 if look.marker != "." else 2.8), markeredgewidth=0.8 * style.line,
        linestyle="none", label=label, zorder=3,
    )  # fmt: skip
