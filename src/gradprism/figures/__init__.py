"""Figures of comparisons, as papers and slides print them.

- `draw_figures`: all figures, or those named, into PDF, SVG, PNG and CSV with captions -> [`Drawn`]
- `available`: the names of those that can be drawn
- `figure`: one of them as a matplotlib figure, with its numbers; `write_figure` puts it into a file

Importing this needs no matplotlib; drawing does (the extra `report`).
"""

from gradprism.figures.drawing import FORMATS, Drawn, available, draw_figures, figure, write_figure
from gradprism.figures.styles import STYLES

__all__ = ["FORMATS", "STYLES", "Drawn", "available", "draw_figures", "figure", "write_figure"]
