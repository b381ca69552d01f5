"""`Canvas`: a figure of panels with headings above them and a legend outside, in which nothing can overlap.

Matplotlib's constrained layout places everything once, with headings of one letter; then headings are shortened to
the widths of their panels. The layout is fixed, so that every format is written with the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from gradprism.figures.colours import Look
from gradprism.figures.styles import Style
from gradprism.figures.text import distinct, drawable, literal, shortened, width
from gradprism.figures.ticks import add_minor_ticks, fix_ticks, set_logarithmic

LOG_SCALE = "(log scale)"
_HANDLE = 5.2  # width of a legend's line and gaps beside its text, in font sizes


@dataclass(frozen=True)
class Heading:
    """A heading: a name of any length, which is shortened, and a note, which is not."""

    name: str
    note: str = ""

    @property
    def ending(self) -> str:
        """The note in brackets."""
        return f" ({self.note})" if self.note else ""


@dataclass(frozen=True)
class Entry(Heading):
    """One entry of a legend, with the line or marker that it explains."""

    handle: Artist = field(default_factory=Artist)


@dataclass(frozen=True)
class Canvas:
    """Panels in rows, of one size; lengths are in inches."""

    figure: Figure
    panels: tuple[Axes, ...]
    style: Style
    columns: int
    y_names: dict[Axes, str] = field(default_factory=dict)

    def first_of_row(self, index: int) -> bool:
        """Return whether no panel stands to the left of the panel at an index."""
        return index % self.columns == 0

    def lowest(self, index: int) -> bool:
        """Return whether no panel stands under the panel at an index."""
        return index + self.columns >= len(self.panels)

    def share_x(self, *, log: bool) -> None:
        """Give all panels one horizontal axis."""
        for axes in self.panels[1:]:
            axes.sharex(self.panels[0])
        if log:
            set_logarithmic(self.panels[0].xaxis)

    def label_y(self, axes: Axes, name: str) -> None:
        """Set the name of the vertical axis of a panel, with a remark if it is logarithmic."""
        self.y_names[axes] = name

    def add_legend(self, entries: Sequence[Entry], title: Sequence[Heading] = ()) -> None:
        """Put a legend above the panels, and above it a title: what is compared with what."""
        style, across = self.style, self.figure.get_figwidth()
        heading = " against ".join(self._names(title, across / max(len(title), 1) - 3 * style.font / 72, style.font))
        if not entries:
            self.figure.suptitle(heading)
            return
        handle = _HANDLE * style.tick_font / 72
        most = across / min(len(entries), 2) - handle
        if max(width(entry.ending, style, style.tick_font) for entry in entries) > most / 2:
            most = across - handle
        labels = self._names(entries, most, style.tick_font)
        longest = max(width(label.replace(r"\$", "$"), style, style.tick_font) for label in labels)
        rows = math.ceil(len(entries) / max(1, int(across / (longest + handle))))
        self.figure.legend(
            [entry.handle for entry in entries],
            [f" {label}" if label.startswith("_") else label for label in labels],  # matplotlib leaves out _names
            loc="outside upper center",
            ncols=math.ceil(len(entries) / rows),
            title=heading,
        )

    def finish(self, headings: Sequence[Heading], panel_height: float | None = None) -> Figure:
        """Put headings above the panels, make these as high as asked or as the style has it, and fix the layout."""
        style, figure, width_in = self.style, self.figure, self.figure.get_figwidth()
        rows, letters = math.ceil(len(self.panels) / self.columns), (style.font + 2.2 * style.tick_font) / 72
        estimate = (width_in - letters) / self.columns - 1.5 * style.tick_font / 72
        lines = 2 if any(heading.note and self._width(heading) > estimate for heading in headings) else 1
        beside = (lines * 1.25 * style.font) / 72 + letters  # headings, ticks and gaps of a row
        outside = self._height_outside_panels()
        least, greatest = style.panel_heights
        panel = panel_height or min(greatest, max(least, style.panel_ratio * estimate))
        if style.page_height is not None:
            panel = max(least, 0.8 * (panel_height or 0), (style.page_height - outside) / rows - beside)
        figure.set_figheight(max(style.page_height or 0, rows * (panel + beside) + outside))
        self._set_y_names(panel)
        for axes in self.panels:
            axes.set_title("X\nX" if lines == 2 else "X")
        lay_out(figure)
        both_axes = [axis for axes in self.panels for axis in (axes.xaxis, axes.yaxis)]
        changed = [fix_ticks(axis) for axis in both_axes]
        if any(changed):
            lay_out(figure)
        panel_width = min(axes.get_position().width for axes in self.panels) * width_in
        titles = self._names(headings, panel_width, style.font, notes_below=lines == 2)
        for axes, title in zip(self.panels, titles, strict=True):
            axes.set_title(title)
        if any(axis.get_offset_text().get_text() for axis in both_axes):  # a power of ten lifts the title beside it
            lay_out(figure)
        figure.set_layout_engine(None)  # "none" would have every file drawn twice
        for axis in both_axes:
            add_minor_ticks(axis)
        return figure

    def _width(self, heading: Heading) -> float:
        return width(drawable(heading.name, self.style) + heading.ending, self.style, self.style.font)

    def _height_outside_panels(self) -> float:
        """Measure the legend, its title, the common name of horizontal axes and colour scales, with gaps."""
        figure, font = self.figure, self.style.font / 72
        texts = [text for text in (figure.get_suptitle(), figure.get_supxlabel()) if text]
        legends = sum(legend.get_window_extent().height for legend in figure.legends) / figure.dpi
        scales = 4.5 * font if len(figure.axes) > len(self.panels) else 0.0
        return legends + len(texts) * 2 * font + scales + 0.7 * font

    def _set_y_names(self, most: float) -> None:
        style = self.style
        for axes, name in self.y_names.items():
            ending = f" {LOG_SCALE}" if axes.get_yscale() == "log" else ""
            if ending and width(drawable(name, style) + ending, style, style.font) > most:
                ending = f"\n{LOG_SCALE}"
            axes.set_ylabel(literal(shortened(name, most, style, style.font)) + ending)

    def _names(self, named: Sequence[Heading], most: float, size: float, *, notes_below: bool = False) -> list[str]:
        """Return names with their notes, at most so many inches wide."""
        endings = [f"\n{each.note}" if notes_below else each.ending for each in named]
        beside = 0.0 if notes_below else max((width(ending, self.style, size) for ending in endings), default=0.0)
        names = distinct([each.name for each in named], most - beside, self.style, size)
        return [literal(name) + ending for name, ending in zip(names, endings, strict=True)]


def make_canvas(style: Style, count: int, most_columns: int = 4) -> Canvas:
    """Make a figure of so many empty panels, at most `most_columns` beside each other."""
    rows = math.ceil(count / most_columns)
    columns = math.ceil(count / rows)
    across = style.column_width if columns == 1 else style.text_width
    figure = Figure(figsize=(across, across), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for empty in grid[count:]:
        empty.remove()
    for axes in grid[:count]:
        axes.yaxis.OFFSETTEXTPAD = 4  # points: a power of ten stands clear of the panel
    return Canvas(figure, tuple(grid[:count]), style, columns)


def sample_size(n: int | None) -> str:
    """Return a number of examples as a note; empty where it is not known."""
    return "" if n is None else f"n = {n:,}"


def line_entry(name: str, look: Look, note: str = "") -> Entry:
    """Make a legend's entry of a line with its marker."""
    return Entry(name, note, Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.linestyle))


def lay_out(figure: Figure) -> None:
    """Place everything in a figure anew."""
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.execute(figure)
