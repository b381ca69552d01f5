"""Groups over each other by layer, one panel for each projection, so that differences show."""

from collections.abc import Mapping
from functools import partial

import polars as pl
from matplotlib.figure import Figure

from gradprism.comparison.comparison import Comparison
from gradprism.figures.canvas import Heading, finish, line_entry, make_canvas
from gradprism.figures.colours import group_look
from gradprism.figures.curves import (
    BAND,
    MAIN_MEASURES,
    curve_data,
    interval,
    layer_scale,
    on_layers,
    shown_values,
    unfit,
)
from gradprism.figures.lines import draw_band, values
from gradprism.figures.names import file_name
from gradprism.figures.plot import Missing, Plot, Plots, caption_of, groups_in_words
from gradprism.figures.scales import log_words
from gradprism.figures.styles import Style
from gradprism.figures.ticks import scale_for, set_x, set_y
from gradprism.metrics.titles import title


def overlay_plots(comparison: Comparison, logs: frozenset[str]) -> Plots:
    """Each measure by layer: one panel for each projection, one line for each group. `logs` have logarithmic axes."""
    for measure in dict.fromkeys((*MAIN_MEASURES, *comparison.measures)):
        name = f"groups-{file_name(measure)}"
        groups = {group.name: group.n for group in comparison.groups}
        data = curve_data(comparison, [(measure, group) for group in groups])
        if reason := unfit(comparison, data):
            yield Missing(name, reason)
            continue
        what = f"Mean {title(measure)} by layer, one panel for each projection: {groups_in_words(comparison.groups)}."
        caption = caption_of(comparison, what, BAND, log_words([measure], logs))
        draw = partial(draw_overlay, data, groups, measure in logs)
        yield Plot(name, caption, data, draw, measure in MAIN_MEASURES)


def draw_overlay(data: pl.DataFrame, groups: Mapping[str, int], log: bool, style: Style) -> Figure:
    """`groups` are all groups in their order, with their sizes."""
    projections = data["projection"].unique(maintain_order=True).to_list()
    headings = [Heading(projection) for projection in projections]
    looks = {group: group_look(place) for place, group in enumerate(groups)}
    canvas = make_canvas(style, headings, [line_entry(group, looks[group], style, groups[group]) for group in groups])
    layers = data["layer"].unique().sort()
    x = layer_scale(canvas, layers)
    y = scale_for(shown_values(data), canvas.most_y, log)
    for place, (axes, projection) in enumerate(zip(canvas.panels, projections, strict=True)):
        axes.set_label(projection)
        set_x(axes, x)
        for start, (group, look) in enumerate(looks.items()):
            line = on_layers(data.filter(projection=projection, group=group), layers)
            middle, low, high = interval(line)
            draw_band(axes, look, values(line["layer"].to_list()), middle, low, high, group, start)
        set_y(axes, y, labels=canvas.first_of_row(place))
        if canvas.first_of_row(place):
            canvas.label_y(axes, title(data["measure"][0]), y.log)
    canvas.label_x("layer")
    return finish(canvas, headings)
