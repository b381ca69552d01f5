"""`Canvas`: a figure of panels with headings above them and one legend outside, in which nothing can overlap.

Widths are settled in two steps. Panels are laid out with headings of one letter; then each heading is shortened to
the panel that it got, and the layout is fixed, so that every format is written with the same.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from gradprism.figures.colours import Look
from gradprism.figures.lines import line_style
from gradprism.figures.styles import Style
from gradprism.figures.text import bare, distinct, drawable, literal, shortened, width
from gradprism.figures.ticks import Scale

LOG_SCALE = "(log scale)"
_HANDLE = 5.2  # room of a legend's line and gaps beside its text, in letters


@dataclass(frozen=True)
class Heading:
    """What stands above a panel: a name of any length, and of how many examples, or a short remark."""

    name: str
    n: int | None = None
    remark: str = ""

    @property
    def count(self) -> str:
        """The examples or the remark, in brackets."""
        inside = self.remark if self.n is None else f"n = {self.n:,}"
        return f" ({inside})" if inside else ""


@dataclass(frozen=True)
class Entry:
    """One entry of a legend: a name of any length, its examples, and the line it stands for."""

    name: str
    handle: Artist
    n: int | None = None


@dataclass(frozen=True)
class Canvas:
    """Panels in rows, each `panel_width` x `panel_height` inches at least."""

    figure: Figure
    panels: tuple[Axes, ...]
    style: Style
    columns: int
    panel_width: float
    panel_height: float

    def first_of_row(self, place: int) -> bool:
        """Whether no panel stands to the left of the panel at a place."""
        return place % self.columns == 0

    def lowest(self, place: int) -> bool:
        """Whether no panel stands under the panel at a place."""
        return place + self.columns >= len(self.panels)

    def fit_x(self, scale: Callable[[int], Scale], most: int = 8) -> Scale:
        """The scale with the most ticks, `most` at most, whose labels fit under a panel; `scale` makes one."""
        made = [scale(count) for count in range(most, 1, -1)]
        return next((one for one in made if self._fits_x(one)), made[-1])

    def _fits_x(self, scale: Scale) -> bool:
        style = self.style
        longest = max((width(bare(label), style, style.tick_font) for label in scale.labels), default=0.0)
        return longest + style.tick_font / 72 <= scale.gap * self.panel_width

    @property
    def most_y(self) -> int:
        """How many tick labels fit beside a panel."""
        return min(6, max(2, int(self.panel_height * 72 / (self.style.tick_font * 2.2))))

    def label_x(self, *texts: str) -> None:
        """Name the horizontal axes, under the lowest panel of each column: one name for all, or one for each."""
        for place, axes in enumerate(self.panels):
            if self.lowest(place):
                text = texts[place % self.columns % len(texts)]
                axes.set_xlabel(literal(shortened(text, self.panel_width, self.style, self.style.font)))

    def label_y(self, axes: Axes, text: str, log: bool = False) -> None:
        """Name the vertical axis of a panel, and say that it is logarithmic: behind the name, or under it."""
        style = self.style
        ending = f" {LOG_SCALE}" if log else ""
        if log and width(drawable(text, style) + ending, style, style.font) > self.panel_height:
            ending = f"\n{LOG_SCALE}"
        axes.set_ylabel(literal(shortened(text, self.panel_height, style, style.font)) + ending)


def make_canvas(
    style: Style,
    headings: Sequence[Heading],
    legend: Sequence[Entry] = (),
    most_columns: int = 4,
    title: Sequence[Heading] = (),
    panel_height: float | None = None,
    below: float = 0.0,
) -> Canvas:
    """An empty panel for each heading, at most `most_columns` beside each other.

    `title` stands over all panels: what is compared with what. `panel_height` in inches, where it follows from what
    is drawn; slides are filled all the same. `below` leaves room under the panels, in inches.
    """
    rows = math.ceil(len(headings) / most_columns)
    columns = math.ceil(len(headings) / rows)
    across = style.column_width if columns == 1 else style.text_width
    panel_width = _panel_width(style, across, columns)
    lines = 2 if any(_too_wide(heading, panel_width, style) for heading in headings) else 1
    once = (_legend_columns(legend, across, style)[1] * 1.6 * style.tick_font + 2.5 * style.font) / 72
    once += below + (2 * style.font / 72 if title else 0)
    panel_height, height = _heights(style, rows, panel_height or style.panel_ratio * panel_width, lines, once)
    figure = Figure(figsize=(across, height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for empty in grid[len(headings) :]:
        empty.remove()
    canvas = Canvas(figure, tuple(grid[: len(headings)]), style, columns, panel_width, panel_height)
    for axes in canvas.panels:
        axes.set_title("X\nX" if lines == 2 else "X")
    _place_title(canvas, title)
    _place_legend(canvas, legend, "outside lower center" if title else "outside upper center")
    return canvas


def finish(canvas: Canvas, headings: Sequence[Heading]) -> Figure:
    """Lay the panels out, shorten the headings to their panels, and fix all places."""
    fix_layout(canvas.figure)
    style, across = canvas.style, canvas.figure.get_size_inches()[0]
    rooms = [axes.get_position().width * across for axes in canvas.panels]
    two_lines = any("\n" in axes.get_title() for axes in canvas.panels)
    counts = [heading.count for heading in headings]
    beside = [0.0 if two_lines else width(count, style, style.font) for count in counts]
    names = _shown(headings, math.inf, style)
    if any(width(name, style, style.font) > room for name, room in zip(names, np.subtract(rooms, beside), strict=True)):
        names = _shown(headings, min(rooms) - max(beside), style)
    for axes, name, count in zip(canvas.panels, names, counts, strict=True):
        axes.set_title(literal(name) + ("\n" + count.strip(" ()") if two_lines else count))
    return canvas.figure


def _shown(headings: Sequence[Heading], room: float, style: Style) -> list[str]:
    return distinct([heading.name for heading in headings], room, style, style.font)


def fix_layout(figure: Figure) -> None:
    """Lay a figure out once, and for good."""
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.execute(figure)
    figure.set_layout_engine("none")


def line_entry(name: str, look: Look, style: Style, n: int | None = None) -> Entry:
    """A line with its marker."""
    line = Line2D([], [], color=look.colour, marker=look.marker, linestyle=line_style(look.dash))
    return Entry(name, line, n)


def _panel_width(style: Style, across: float, columns: int) -> float:
    left = (1.5 * style.font + 3.5 * style.tick_font) / 72
    return (across - left) / columns - 1.5 * style.tick_font / 72


def _too_wide(heading: Heading, room: float, style: Style) -> bool:
    return bool(heading.count) and width(drawable(heading.name, style) + heading.count, style, style.font) > room


def _heights(style: Style, rows: int, panel: float, lines: int, once: float) -> tuple[float, float]:
    """Height of a panel's axes, and of the figure, in inches; `once` is what legend and names of axes take."""
    row = (lines * 1.25 * style.font + style.font + 2.2 * style.tick_font) / 72  # heading, ticks, gaps
    least, greatest = style.panel_heights
    panel = min(greatest, max(least, panel))
    if style.page_height is not None:
        panel = max(least, (style.page_height - once) / rows - row)
    return panel, max(style.page_height or 0.0, rows * (panel + row) + once)


def _place_title(canvas: Canvas, title: Sequence[Heading]) -> None:
    if not title:
        return
    style, across = canvas.style, float(canvas.figure.get_size_inches()[0])
    taken = max(width(heading.count, style, style.font) for heading in title) + 3 * style.font / 72
    names = distinct([heading.name for heading in title], across / len(title) - taken, style, style.font)
    shown = (literal(name) + heading.count for name, heading in zip(names, title, strict=True))
    canvas.figure.suptitle(" against ".join(shown))


def _place_legend(canvas: Canvas, legend: Sequence[Entry], where: Any) -> None:
    if not legend:
        return
    style, across = canvas.style, float(canvas.figure.get_size_inches()[0])
    columns, _ = _legend_columns(legend, across, style)
    room = across / columns - _HANDLE * style.tick_font / 72
    handles, labels = [entry.handle for entry in legend], _legend_labels(legend, room, style)
    canvas.figure.legend(handles, labels, loc=where, ncols=columns)


def _legend_columns(legend: Sequence[Entry], across: float, style: Style) -> tuple[int, int]:
    """Columns and rows of the legend: as many columns as the longest entry allows, two at least."""
    if not legend:
        return 0, 0
    handle = _HANDLE * style.tick_font / 72
    longest = max(width(text, style, style.tick_font) for text in _legend_labels(legend, math.inf, style))
    columns = min(len(legend), max(int(across / (longest + handle)), 2))
    rows = math.ceil(len(legend) / columns)
    return math.ceil(len(legend) / rows), rows


def _legend_labels(legend: Sequence[Entry], room: float, style: Style) -> list[str]:
    """Shortened to `room` inches; matplotlib leaves out what begins with an underscore, hence the space."""
    counts = ["" if entry.n is None else f" (n = {entry.n:,})" for entry in legend]
    names = dict[Entry, str]()
    for count in dict.fromkeys(counts):
        alike = [entry for entry, own in zip(legend, counts, strict=True) if own == count]
        left = room - width(count, style, style.tick_font)
        names |= zip(alike, distinct([entry.name for entry in alike], left, style, style.tick_font), strict=True)
    shown = (literal(f" {names[entry]}" if names[entry].startswith("_") else names[entry]) for entry in legend)
    return [name + count for name, count in zip(shown, counts, strict=True)]
