"""The decay of singular values from the largest: median and quartiles over examples and layers.

Values beyond the rank of a gradient count as 0, which a logarithmic axis cannot show: line and band end there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import polars as pl
from matplotlib.figure import Figure

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.decay import MOST_EXAMPLES
from gradprism.figures.canvas import Heading, line_entry, sample_size
from gradprism.figures.colours import group_look
from gradprism.figures.lines import Line, LinePanel, XAxis, draw_line_panels
from gradprism.figures.plot import FigureKind, Missing, Plot, Plots, caption_of, groups_in_words, has_numbers
from gradprism.figures.styles import Style
from gradprism.prism.measures import MEAN

NAME = "decay"
FLOOR, FLOOR_IN_WORDS = 1e-6, "1e-6"  # smaller ratios are rounding of float32 gradients


def decay_plots(comparison: Comparison, _: frozenset[str]) -> Plots:
    """Yield singular values over the largest, one panel for each projection and one line for each group."""
    data = _above_floor(comparison.decay)
    if data.is_empty() or not has_numbers(data, "median"):
        yield Missing(NAME, "no singular values were stored")
        return
    sampled = [replace(group, n=min(group.n, MOST_EXAMPLES)) for group in comparison.groups]
    groups = {group.name: group.n for group in sampled}
    caption = caption_of(
        comparison,
        "Singular values relative to the largest of the same gradient, by their index: median (line) and quartiles "
        f"(band) over the layers of at most {MOST_EXAMPLES} examples of a group: {groups_in_words(sampled)}. Values "
        "beyond the rank of a gradient count as 0. The line ends where the median, and the band where the lower "
        f"quartile, is {FLOOR_IN_WORDS} or less: 0, or rounding of 32-bit gradients. Both axes are logarithmic.",
    )
    projections = [p for p in (*comparison.projections, MEAN) if p in set(data["projection"])]
    yield Plot(NAME, caption, data, partial(draw_decay, data, groups, projections))


def _above_floor(decay: pl.DataFrame) -> pl.DataFrame:
    """Put null in place of values at the floor, where the band ends with its lower quartile."""
    line, band = pl.col("median") > FLOOR, pl.col("q25") > FLOOR
    kept = [pl.when(line).then("median"), *(pl.when(band).then(name) for name in ("q25", "q75"))]
    return decay.with_columns(kept).filter(line | band)


KINDS = (FigureKind(70, decay_plots),)


def draw_decay(data: pl.DataFrame, groups: Mapping[str, int], projections: Sequence[str], style: Style) -> Figure:
    """Draw a panel for each projection; `groups` are the sizes of all groups by name, in their order."""
    looks = {group: group_look(index) for index, group in enumerate(groups)}
    panels = [
        LinePanel(projection, Heading(projection), "σᵢ / σ₁", [
            Line(group, look, data.filter(projection=projection, group=group).sort("index"))
            for group, look in looks.items()
        ], log=True)
        for projection in projections
    ]  # fmt: skip
    legend = [line_entry(group, looks[group], sample_size(n)) for group, n in groups.items()]
    return draw_line_panels(style, panels, legend, ("index", "median", "q25", "q75"), XAxis("index i", log=True))
