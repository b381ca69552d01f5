"""Measures by layer, one panel for each group and one line for each projection: the papers' figures, with intervals."""

from collections.abc import Sequence
from functools import partial
from itertools import product

import polars as pl
from matplotlib.figure import Figure

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.comparison_tables import COSINES
from gradprism.figures.canvas import Heading, line_entry, sample_size
from gradprism.figures.colours import projection_look
from gradprism.figures.lines import Line, LinePanel, XAxis, draw_line_panels
from gradprism.figures.means import BAND, BY_LAYER, in_every_layer, layer_means, reason_without_curves
from gradprism.figures.names import file_name
from gradprism.figures.plot import FigureKind, Missing, Plot, Plots, caption_of, groups_in_words
from gradprism.figures.scales import log_words
from gradprism.figures.styles import Style
from gradprism.metrics.titles import title
from gradprism.prism.measures import MAIN_MEASURES

Panel = tuple[str, str]  # measure, group


def measure_plots(comparison: Comparison, logs: frozenset[str]) -> Plots:
    """Yield a figure for each measure; only those of nuclear norm and effective rank are drawn by default."""
    for measure in dict.fromkeys((*MAIN_MEASURES, *comparison.measures)):
        what = f"Mean {title(measure)} of the gradient by layer and projection"
        yield _plot(comparison, measure, what, logs, default=measure in MAIN_MEASURES)


def cosine_plots(comparison: Comparison, logs: frozenset[str]) -> Plots:
    """Yield the cosines of gradients of adjacent layers, and of two projections in the same layer."""
    adjacent, same = COSINES
    between_layers = "Mean cosine between the gradients of each layer and the next, by projection"
    yield _plot(comparison, adjacent, between_layers, logs)
    between_projections = "Mean cosine between the gradients of two projections of the same layer, by pair"
    yield _plot(comparison, same, between_projections, logs)


def four_panel_plots(comparison: Comparison, logs: frozenset[str]) -> Plots:
    """Yield nuclear norm and effective rank of both groups of each contrast in one row, the papers' layout."""
    if not comparison.contrasts:
        yield Missing("four-panels", "there is only one group")
    for first, second in comparison.contrasts:
        name = f"four-panels-{file_name(first)}-{file_name(second)}"
        panels = list(product(MAIN_MEASURES, (first, second)))
        data = layer_means(comparison, panels)
        if reason := reason_without_curves(comparison, data):
            yield Missing(name, reason)
            continue
        pair = groups_in_words((comparison.group(first), comparison.group(second)))
        what = f"Mean nuclear norm (left two) and effective rank (right two) by layer and projection: {pair}."
        caption = caption_of(comparison, what, BAND, log_words(MAIN_MEASURES, logs))
        yield Plot(name, caption, data, partial(draw_curves, data, panels, logs))


KINDS = (
    FigureKind(10, measure_plots),
    FigureKind(20, four_panel_plots, by_contrast=True),
    FigureKind(40, cosine_plots),
)


def _plot(
    comparison: Comparison, measure: str, what: str, logs: frozenset[str], default: bool = True
) -> Plot | Missing:
    panels = [(measure, group.name) for group in comparison.groups]
    data, name = layer_means(comparison, panels), file_name(measure)
    if reason := reason_without_curves(comparison, data):
        return Missing(name, reason)
    caption = caption_of(comparison, f"{what}: {groups_in_words(comparison.groups)}.", BAND, log_words([measure], logs))
    return Plot(name, caption, data, partial(draw_curves, data, panels, logs), default)


def draw_curves(data: pl.DataFrame, panels: Sequence[Panel], logs: frozenset[str], style: Style) -> Figure:
    """Draw one panel for each measure and group; panels of the same measure share their vertical axis."""
    legend = [line_entry(name, projection_look(name)) for name in data["projection"].unique(maintain_order=True)]
    drawn = [_panel(data.filter(measure=measure), group, measure in logs) for measure, group in panels]
    return draw_line_panels(style, drawn, legend, BY_LAYER, XAxis("layer", whole=True))


def _panel(data: pl.DataFrame, group: str, log: bool) -> LinePanel:
    measure, layers = data["measure"][0], data["layer"].unique().sort()
    own, cosine = data.filter(group=group), measure in COSINES
    lines = [
        Line(projection, projection_look(projection), in_every_layer(own.filter(projection=projection), layers))
        for projection in own["projection"].unique(maintain_order=True)
    ]
    heading = Heading(group, sample_size(own.select(pl.col("n").max()).item()))
    return LinePanel(group, heading, "cosine" if cosine else title(measure), lines, log, zero=cosine)
