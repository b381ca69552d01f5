"""Groups over each other by layer, one panel for each projection, so that differences show."""

from collections.abc import Mapping
from functools import partial

import polars as pl
from matplotlib.figure import Figure

from gradprism.comparison.comparison import Comparison
from gradprism.figures.canvas import Heading, line_entry, sample_size
from gradprism.figures.colours import group_look
from gradprism.figures.lines import Line, LinePanel, XAxis, draw_line_panels
from gradprism.figures.means import BAND, BY_LAYER, in_every_layer, layer_means, reason_without_curves
from gradprism.figures.names import file_name
from gradprism.figures.plot import FigureKind, Missing, Plot, Plots, caption_of, groups_in_words
from gradprism.figures.scales import log_words
from gradprism.figures.styles import Style
from gradprism.metrics.titles import title
from gradprism.prism.measures import MAIN_MEASURES


def overlay_plots(comparison: Comparison, logs: frozenset[str]) -> Plots:
    """Yield a figure for each measure by layer: one panel for each projection, one line for each group."""
    for measure in dict.fromkeys((*MAIN_MEASURES, *comparison.measures)):
        name = f"groups-{file_name(measure)}"
        groups = {group.name: group.n for group in comparison.groups}
        data = layer_means(comparison, [(measure, group) for group in groups])
        if reason := reason_without_curves(comparison, data):
            yield Missing(name, reason)
            continue
        what = f"Mean {title(measure)} by layer, one panel for each projection: {groups_in_words(comparison.groups)}."
        caption = caption_of(comparison, what, BAND, log_words([measure], logs))
        draw = partial(draw_overlay, data, groups, measure in logs)
        yield Plot(name, caption, data, draw, measure in MAIN_MEASURES)


KINDS = (FigureKind(30, overlay_plots),)


def draw_overlay(data: pl.DataFrame, groups: Mapping[str, int], log: bool, style: Style) -> Figure:
    """Draw one measure; `groups` are the sizes of all groups by name, in their order."""
    looks = {group: group_look(index) for index, group in enumerate(groups)}
    layers, y_name = data["layer"].unique().sort(), title(data["measure"][0])
    panels = [
        LinePanel(projection, Heading(projection), y_name, [
            Line(group, look, in_every_layer(data.filter(projection=projection, group=group), layers))
            for group, look in looks.items()
        ], log)
        for projection in data["projection"].unique(maintain_order=True)
    ]  # fmt: skip
    legend = [line_entry(group, looks[group], sample_size(n)) for group, n in groups.items()]
    return draw_line_panels(style, panels, legend, BY_LAYER, XAxis("layer", whole=True))
