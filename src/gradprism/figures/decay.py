"""How fast singular values fall from the largest: median and quartiles over examples and layers.

Values beyond the rank of a gradient count as 0, which a logarithmic axis cannot show: line and band end there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import polars as pl
from matplotlib.figure import Figure

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.decay import MOST_EXAMPLES
from gradprism.figures.canvas import LOG_SCALE, Heading, finish, line_entry, make_canvas
from gradprism.figures.colours import group_look
from gradprism.figures.lines import draw_band, values
from gradprism.figures.plot import Missing, Plot, Plots, caption_of, groups_in_words, has_numbers
from gradprism.figures.styles import Style
from gradprism.figures.ticks import scale_for, set_x, set_y

NAME = "decay"
FLOOR, FLOOR_IN_WORDS = 1e-6, "1e-6"  # smaller ratios are rounding of float32 gradients


def decay_plots(comparison: Comparison) -> Plots:
    """Singular values over the largest, one panel for each projection and one line for each group."""
    data = _data(comparison.decay)
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
    projections = [p for p in (*comparison.projections, "mean") if p in set(data["projection"])]
    yield Plot(NAME, caption, data, partial(draw_decay, data, groups, projections))


def _data(decay: pl.DataFrame) -> pl.DataFrame:
    """What can be drawn: null in place of what is at the floor, where the band ends with its lower quartile."""
    line, band = pl.col("median") > FLOOR, pl.col("q25") > FLOOR
    kept = [pl.when(line).then("median"), *(pl.when(band).then(name) for name in ("q25", "q75"))]
    return decay.with_columns(kept).filter(line | band)


def draw_decay(data: pl.DataFrame, groups: Mapping[str, int], projections: Sequence[str], style: Style) -> Figure:
    """`groups` are all groups in their order, with their sizes."""
    headings = [Heading(projection) for projection in projections]
    looks = {group: group_look(place) for place, group in enumerate(groups)}
    canvas = make_canvas(style, headings, [line_entry(group, looks[group], style, groups[group]) for group in groups])
    x = canvas.fit_x(lambda most: scale_for(data["index"].cast(pl.Float64), most, log=True))
    shown = [value for name in ("median", "q25", "q75") for value in data[name]]
    y = scale_for(shown, canvas.most_y, log=True)
    for place, (axes, projection) in enumerate(zip(canvas.panels, projections, strict=True)):
        axes.set_label(projection)
        set_x(axes, x)
        for start, (group, look) in enumerate(looks.items()):
            line = data.filter(projection=projection, group=group).sort("index")
            middle, low, high = (values(line[name].to_list()) for name in ("median", "q25", "q75"))
            draw_band(axes, look, values(line["index"].to_list()), middle, low, high, group, start)
        set_y(axes, y, labels=canvas.first_of_row(place))
        if canvas.first_of_row(place):
            canvas.label_y(axes, "σᵢ / σ₁", log=True)
    canvas.label_x(f"index i {LOG_SCALE}")
    return finish(canvas, headings)
