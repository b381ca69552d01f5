"""Figures of comparisons, as papers and slides print them.

- `draw_figures`: all figures, or those named, into PDF, SVG, PNG and CSV with captions -> [`Drawn`]
- `available`: the names of those that can be drawn
- `figure`: one of them as a matplotlib figure, with its numbers; `write_figure` puts it into a file

Importing this needs no matplotlib; drawing does (the extra `report`).

To add a figure, write one file in `figures/kinds`; the catalogue finds it. In it

1. a function from a comparison (and the set of measures with logarithmic axes) yields a `Plot` for each figure: name,
   caption, a table with exactly the numbers drawn, and the function that draws them in a style; or `Missing` with the
   reason where there is nothing to draw;
2. `KINDS = (FigureKind(position, of_model=that_function),)` declares it.

`lines.draw_line_panels` draws panels of curves with bands, `marks` rows of values with intervals; any other figure puts
its own artists into the panels of `canvas.make_canvas`.
"""

from gradprism.figures.api import FORMATS, Drawn, available, draw_figures, figure, write_figure
from gradprism.figures.styles import STYLES

__all__ = ["FORMATS", "STYLES", "Drawn", "available", "draw_figures", "figure", "write_figure"]
