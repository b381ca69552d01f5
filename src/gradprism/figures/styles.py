"""Sizes and fonts of conferences, slides and web pages: how wide a figure may be, and how small its letters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradprism.core.errors import GradPrismError


@dataclass(frozen=True)
class Style:
    """Sizes and fonts of figures; lengths in inches, fonts in points.

    The families are among those that matplotlib brings, so that a figure is the same on every machine; a glyph that
    the first lacks is taken from the next.
    """

    name: str
    text_width: float
    column_width: float  # of figures with one column of panels
    families: tuple[str, ...]
    font: float  # titles and axis labels, like the captions of the venue
    tick_font: float  # ticks and legends
    line: float  # width in points
    marker: float
    panel_heights: tuple[float, float]  # least and greatest height of the axes of one panel
    panel_ratio: float  # height of axes over width, between the two
    page_height: float | None = None  # of slides, which are filled
    dpi: int = 300
    dark: bool = False  # on dark ground


_SERIF = ("STIXGeneral", "DejaVu Serif", "DejaVu Sans")
_SANS = ("DejaVu Sans", "STIXGeneral")
_TICKS = {"size": 2.2, "width": 0.6, "pad": 2.0}  # in widths of a line
_MINOR = {"size": 1.2, "width": 0.4}


def _paper(name: str, text_width: float, column_width: float) -> Style:
    return Style(name, text_width, column_width, _SERIF, 9, 7.5, 1.0, 2.4, (0.85, 1.7), 0.85)


def _web(name: str, *, dark: bool) -> Style:
    """Return the style of a page 830 pixels wide, such as a README on GitHub."""
    return Style(name, 8.3, 5.5, _SANS, 11.5, 10.5, 1.4, 3.6, (1.2, 2.6), 0.8, dpi=200, dark=dark)


STYLES: Mapping[str, Style] = {
    "neurips": _paper("neurips", 5.5, 3.4),  # one column of text: a single panel takes three fifths
    "acl": _paper("acl", 6.3, 3.03),
    "icml": _paper("icml", 6.75, 3.25),
    "slides": Style("slides", 13.33, 13.33, _SANS, 18, 15, 2.2, 6, (1.2, 5.5), 0.8, page_height=7.5, dpi=150),
    "web": _web("web", dark=False),
    "web-dark": _web("web-dark", dark=True),
}


def style_named(name: str) -> Style:
    """Return a style by its name; raises `GradPrismError` for an unknown one."""
    if name not in STYLES:
        raise GradPrismError(f"Unknown style {name!r}; choose one of {', '.join(STYLES)}.")
    return STYLES[name]


def settings(style: Style) -> dict[str, Any]:
    """Return matplotlib's parameters for making and writing figures of a style.

    PDF embeds fonts as TrueType (42), which publishers accept where they refuse Type 3. SVG draws letters as
    paths: whoever opens it sees the same letters, whatever fonts they have.
    """
    return {
        "font.family": list(style.families),
        "mathtext.fontset": "stix" if style.families is _SERIF else "dejavusans",
        "font.size": style.font,
        "axes.titlesize": style.font,
        "axes.labelsize": style.font,
        "figure.titlesize": style.font,
        "figure.labelsize": style.font,
        "xtick.labelsize": style.tick_font,
        "ytick.labelsize": style.tick_font,
        "legend.fontsize": style.tick_font,
        "axes.linewidth": 0.6 * style.line,
        "axes.titlepad": 0.5 * style.font,
        "axes.labelpad": 0.25 * style.font,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#E4E4E4",
        "grid.linewidth": 0.5 * style.line,
        **{f"{axis}tick.major.{what}": value * style.line for axis in "xy" for what, value in _TICKS.items()},
        **{f"{axis}tick.minor.{what}": value * style.line for axis in "xy" for what, value in _MINOR.items()},
        "lines.linewidth": style.line,
        "lines.markersize": style.marker,
        "hatch.linewidth": 0.4 * style.line,
        "hatch.color": "#00000080",
        "legend.frameon": False,
        "legend.handlelength": 2.4,
        "legend.columnspacing": 1.4,
        "legend.borderaxespad": 0.2,
        "legend.borderpad": 0.2,
        "figure.constrained_layout.w_pad": 0.35 * style.font / 72,
        "figure.constrained_layout.h_pad": 0.35 * style.font / 72,
        "figure.dpi": style.dpi,
        "text.hinting": "none",  # letters as wide as in PDF, so that one layout serves all formats
        "pdf.fonttype": 42,
        "svg.fonttype": "path",
        "svg.hashsalt": "gradprism",
        "text.usetex": False,
        "axes.unicode_minus": True,
        "axes.formatter.use_mathtext": True,
        "axes.formatter.useoffset": False,
        "path.simplify": False,
    }
