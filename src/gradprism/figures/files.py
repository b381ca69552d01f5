"""Figures as bytes, the same for the same numbers: without dates and random names."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from gradprism.figures.dark import set_dark
from gradprism.figures.plot import Plot
from gradprism.figures.styles import Style, settings

_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": "gradprism", "Producer": "gradprism"},
    "svg": {"Date": None, "Creator": "gradprism"},
    "png": {"Software": "gradprism"},
}


def make(plot: Plot, style: Style) -> Figure:
    """Draw a plot in a style, whatever matplotlib is set to elsewhere, and without pyplot."""
    with _style_applied(style):
        figure = plot.draw(style)
        if style.dark:
            set_dark(figure)
        return figure


def figure_bytes(figure: Figure, file_format: str, style: Style) -> bytes:
    """Write a figure as pdf, svg or png."""
    buffer = io.BytesIO()
    with _style_applied(style):
        figure.savefig(buffer, format=file_format, dpi=style.dpi, metadata=_METADATA[file_format])
    return buffer.getvalue()


@contextmanager
def _style_applied(style: Style) -> Iterator[None]:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        parameters: Any = matplotlib.rcParams  # its keys are typed by name, and not the same in every release
        parameters.update(settings(style))
        yield
