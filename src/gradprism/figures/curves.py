"""Measures by layer, one panel for each group and one line for each projection: the papers' figures, with intervals."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product

import polars as pl
from matplotlib.figure import Figure

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.comparison_tables import COSINES
from gradprism.figures.canvas import Canvas, Entry, Heading, finish, line_entry, make_canvas
from gradprism.figures.colours import projection_look
from gradprism.figures.lines import Values, draw_band, values
from gradprism.figures.names import file_name
from gradprism.figures.plot import Missing, Plot, Plots, caption_of, groups_in_words, has_numbers
from gradprism.figures.scales import log_words
from gradprism.figures.styles import Style
from gradprism.figures.ticks import Scale, linear_scale, scale_for, set_x, set_y
from gradprism.metrics.titles import title

MAIN_MEASURES = ("nuclear_norm", "effective_rank")
BAND = "Bands are 95% bootstrap intervals of the mean."
_COLUMNS = ("measure", "group", "projection", "layer", "n", "mean", "mean_low", "mean_high")

Panel = tuple[str, str]  # measure, group


def measure_plots(comparison: Comparison, logs: frozenset[str]) -> Plots:
    """Each measure by layer; only nuclear norm and effective rank unless others are named.

    `logs` are the measures with logarithmic axes, here and below.
    """
    for measure in dict.fromkeys((*MAIN_MEASURES, *comparison.measures)):
        yield _plot(comparison, measure, f"Mean {title(measure)} of the gradient by layer and projection", logs)


def cosine_plots(comparison: Comparison) -> Plots:
    """Cosines of gradients of adjacent layers, and of two projections in the same layer."""
    adjacent, same = COSINES
    yield _plot(comparison, adjacent, "Mean cosine between the gradients of each layer and the next, by projection")
    yield _plot(comparison, same, "Mean cosine between the gradients of two projections of the same layer, by pair")


def four_panel_plots(comparison: Comparison, logs: frozenset[str]) -> Plots:
    """Nuclear norm and effective rank of both groups of a contrast in one row, the papers' layout."""
    if not comparison.contrasts:
        yield Missing("four-panels", "there is only one group")
    for first, second in comparison.contrasts:
        name = f"four-panels-{file_name(first)}-{file_name(second)}"
        panels = list(product(MAIN_MEASURES, (first, second)))
        data = curve_data(comparison, panels)
        if reason := unfit(comparison, data):
            yield Missing(name, reason)
            continue
        pair = groups_in_words((comparison.group(first), comparison.group(second)))
        what = f"Mean nuclear norm (left two) and effective rank (right two) by layer and projection: {pair}."
        caption = caption_of(comparison, what, BAND, log_words(MAIN_MEASURES, logs))
        yield Plot(name, caption, data, partial(draw_curves, data, panels, logs))


def _plot(comparison: Comparison, measure: str, what: str, logs: frozenset[str] = frozenset()) -> Plot | Missing:
    panels = [(measure, group.name) for group in comparison.groups]
    data, name = curve_data(comparison, panels), file_name(measure)
    if reason := unfit(comparison, data):
        return Missing(name, reason)
    caption = caption_of(comparison, f"{what}: {groups_in_words(comparison.groups)}.", BAND, log_words([measure], logs))
    default = measure in (*MAIN_MEASURES, *COSINES)
    return Plot(name, caption, data, partial(draw_curves, data, panels, logs), default)


def curve_data(comparison: Comparison, panels: Sequence[Panel]) -> pl.DataFrame:
    """Means over examples with their intervals: a row for each measure, group, projection and layer."""
    wanted = pl.DataFrame(panels, schema={"measure": pl.String, "group": pl.String}, orient="row")
    by_layer = comparison.levels.filter(pl.col("layer").is_not_null(), pl.col("projection") != "mean")
    return wanted.join(by_layer, on=("measure", "group"), how="inner", maintain_order="left_right").select(_COLUMNS)


def unfit(comparison: Comparison, data: pl.DataFrame) -> str | None:
    """Why there are no curves to draw, or None where there are."""
    if data.is_empty() or not has_numbers(data, "mean"):
        return "it was not measured, or has no value in any layer"
    if len(comparison.layers) < 2 or data["layer"].n_unique() < 2:
        return "one layer only was measured"
    return None


def draw_curves(data: pl.DataFrame, panels: Sequence[Panel], logs: frozenset[str], style: Style) -> Figure:
    """One panel for each measure and group. Panels of the same measure share their vertical axis."""
    headings = [Heading(group, _greatest_n(data, measure, group)) for measure, group in panels]
    canvas = make_canvas(style, headings, _legend(data, style))
    for measure in dict.fromkeys(measure for measure, _ in panels):
        places = [(place, group) for place, (shown, group) in enumerate(panels) if shown == measure]
        _draw_measure(canvas, data.filter(measure=measure), places, measure in logs)
    canvas.label_x("layer")
    return finish(canvas, headings)


def _draw_measure(canvas: Canvas, data: pl.DataFrame, panels: Sequence[tuple[int, str]], log: bool) -> None:
    cosine = data["measure"][0] in COSINES
    layers = data["layer"].unique().sort()
    x = layer_scale(canvas, layers)
    y = scale_for(shown_values(data), canvas.most_y, log, zero=cosine)
    for order, (place, group) in enumerate(panels):
        axes = canvas.panels[place]
        axes.set_label(group)
        _draw_panel(canvas, place, data.filter(group=group), layers, (x, y))
        begins = order == 0 or canvas.first_of_row(place)
        set_y(axes, y, labels=begins)
        if begins:
            canvas.label_y(axes, "cosine" if cosine else title(data["measure"][0]), y.log)
        if cosine:
            axes.axhline(0, color="#888888", linewidth=0.6 * canvas.style.line, zorder=1)


def _draw_panel(canvas: Canvas, place: int, data: pl.DataFrame, layers: pl.Series, scales: tuple[Scale, Scale]) -> None:
    axes = canvas.panels[place]
    set_x(axes, scales[0])
    for start, projection in enumerate(data["projection"].unique(maintain_order=True)):
        line = on_layers(data.filter(projection=projection), layers)
        middle, low, high = interval(line)
        x = values(line["layer"].to_list())
        draw_band(axes, projection_look(projection), x, middle, low, high, projection, start)


def layer_scale(canvas: Canvas, layers: pl.Series) -> Scale:
    """An axis of whole layers."""
    return canvas.fit_x(lambda most: linear_scale(int(layers[0]), int(layers[-1]), most, whole=True))


def on_layers(data: pl.DataFrame, layers: pl.Series) -> pl.DataFrame:
    """The rows of one line in the order of layers, with empty ones where a layer is missing, for the gap."""
    return layers.to_frame().join(data, on="layer", how="left").sort("layer")


def interval(line: pl.DataFrame) -> tuple[Values, Values, Values]:
    """Means, and the ends of their intervals."""
    middle, low, high = (values(line[name].to_list()) for name in ("mean", "mean_low", "mean_high"))
    return middle, low, high


def shown_values(data: pl.DataFrame) -> Iterator[float | None]:
    """Everything that the vertical axis must reach."""
    for name in ("mean", "mean_low", "mean_high"):
        yield from data[name]


def _greatest_n(data: pl.DataFrame, measure: str, group: str) -> int | None:
    return data.filter(measure=measure, group=group)["n"].max()  # type: ignore[return-value]


def _legend(data: pl.DataFrame, style: Style) -> list[Entry]:
    shown = data["projection"].unique(maintain_order=True)
    return [line_entry(projection, projection_look(projection), style) for projection in shown]
