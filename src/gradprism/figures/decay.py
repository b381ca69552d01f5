"""How fast singular values fall from the largest: median and quartiles over examples and layers."""

from collections.abc import Mapping, Sequence
from functools import partial

import polars as pl
from matplotlib.figure import Figure

from gradprism.analysis.comparison import Comparison
from gradprism.figures.canvas import Heading, finish, line_entry, make_canvas
from gradprism.figures.colours import group_look
from gradprism.figures.lines import draw_band, values
from gradprism.figures.plot import Missing, Plot, Plots, groups_in_words, has_numbers, of_model
from gradprism.figures.styles import Style
from gradprism.figures.ticks import scale_for, set_x, set_y

NAME = "decay"
FLOOR = 1e-6  # smaller ratios are rounding of float32 gradients


def decay_plots(comparison: Comparison) -> Plots:
    """Singular values over the largest, one panel for each projection and one line for each group."""
    data = comparison.decay.filter(pl.col("median") > FLOOR)
    if data.is_empty() or not has_numbers(data, "median"):
        yield Missing(NAME, "no singular values were stored")
        return
    groups = {group.name: group.n for group in comparison.groups}
    caption = (
        "Singular values relative to the largest of the same gradient, by their index: median (line) and quartiles "
        f"(band) over examples and layers, down to {FLOOR:g}: {groups_in_words(comparison.groups)}. "
        f"{of_model(comparison)}"
    )
    projections = [p for p in (*comparison.projections, "mean") if p in set(data["projection"])]
    yield Plot(NAME, caption, data, partial(draw_decay, data, groups, projections))


def draw_decay(data: pl.DataFrame, groups: Mapping[str, int], projections: Sequence[str], style: Style) -> Figure:
    """`groups` are all groups in their order, with their sizes."""
    headings = [Heading(projection) for projection in projections]
    looks = {group: group_look(place) for place, group in enumerate(groups)}
    canvas = make_canvas(style, headings, [line_entry(group, looks[group], style, groups[group]) for group in groups])
    x = canvas.fit_x(lambda most: scale_for(data["index"].cast(pl.Float64), most, log=True))
    shown = [value for name in ("median", "q25", "q75") for value in data[name] if value is not None and value > FLOOR]
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
            canvas.label_y(axes, "σᵢ / σ₁")
    canvas.label_x("index i")
    return finish(canvas, headings)
