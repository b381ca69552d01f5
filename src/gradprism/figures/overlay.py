"""Groups over each other, so that differences show: by layer for each projection, and over depth across models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradprism.analysis.comparison import Comparison
from gradprism.figures.canvas import Entry, Heading, finish, line_entry, make_canvas
from gradprism.figures.colours import GROUP_DASHES, Look, group_look
from gradprism.figures.curves import BAND, MAIN_MEASURES, curve_data, layer_scale, on_layers, shown_values, unfit
from gradprism.figures.lines import Values, draw_band, line_style, values
from gradprism.figures.names import file_name
from gradprism.figures.plot import Missing, Plot, Plots, groups_in_words, has_numbers, of_model, one_line
from gradprism.figures.styles import Style
from gradprism.figures.text import measure_name
from gradprism.figures.ticks import linear_scale, scale_for, set_x, set_y

_DEPTH = ("model", "group", "measure", "projection", "layer", "depth", "n", "mean", "mean_low", "mean_high")


def overlay_plots(comparison: Comparison) -> Plots:
    """Each measure by layer: one panel for each projection, one line for each group."""
    for measure in dict.fromkeys((*MAIN_MEASURES, *comparison.measures)):
        name = f"groups-{file_name(measure)}"
        groups = {group.name: group.n for group in comparison.groups}
        data = curve_data(comparison, [(measure, group) for group in groups])
        if reason := unfit(comparison, data):
            yield Missing(name, reason)
            continue
        caption = (
            f"Mean {measure_name(measure)} by layer, one panel for each projection: "
            f"{groups_in_words(comparison.groups)}. {BAND}. {of_model(comparison)}"
        )
        yield Plot(name, caption, data, partial(draw_overlay, data, groups), measure in MAIN_MEASURES)


def draw_overlay(data: pl.DataFrame, groups: Mapping[str, int], style: Style) -> Figure:
    """`groups` are all groups in their order, with their sizes."""
    projections = data["projection"].unique(maintain_order=True).to_list()
    headings = [Heading(projection) for projection in projections]
    looks = {group: group_look(place) for place, group in enumerate(groups)}
    canvas = make_canvas(style, headings, [line_entry(group, looks[group], style, groups[group]) for group in groups])
    layers = data["layer"].unique().sort()
    x = layer_scale(canvas, layers)
    y = scale_for(shown_values(data), canvas.most_y)
    for place, (axes, projection) in enumerate(zip(canvas.panels, projections, strict=True)):
        axes.set_label(projection)
        set_x(axes, x)
        for start, (group, look) in enumerate(looks.items()):
            line = on_layers(data.filter(projection=projection, group=group), layers)
            middle, low, high = _interval(line)
            draw_band(axes, look, values(line["layer"].to_list()), middle, low, high, group, start)
        set_y(axes, y, labels=canvas.first_of_row(place))
        if canvas.first_of_row(place):
            canvas.label_y(axes, measure_name(data["measure"][0]))
    canvas.label_x("layer")
    return finish(canvas, headings)


@dataclass(frozen=True)
class _Series:
    """One line over depth."""

    model: str
    group: str
    look: Look


def depth_plots(comparisons: Sequence[Comparison]) -> Plots:
    """Measures over normalised depth: groups of one model, or several models; mean over projections, or one alone."""
    models = model_names(comparisons)
    shared = [p for p in comparisons[0].projections if all(p in other.projections for other in comparisons)]
    for projection in ("mean", *shared):
        name = "depth" if projection == "mean" else f"depth-{file_name(projection)}"
        parts = [_depth_data(comparison, model, projection) for model, comparison in models.items()]
        data = pl.concat(parts)
        if data.is_empty() or not has_numbers(data, "mean"):
            yield Missing(name, "no model has more than one layer with a value")
            continue
        caption = _depth_caption(models, projection)
        yield Plot(name, caption, data, partial(draw_depth, data, tuple(models)), projection == "mean")


def model_names(comparisons: Sequence[Comparison]) -> dict[str, Comparison]:
    """Comparisons by their model's name; those of one model are numbered."""
    names = [comparison.model for comparison in comparisons]
    return {
        name if names.count(name) == 1 else f"{name} ({place})": comparison
        for place, (name, comparison) in enumerate(zip(names, comparisons, strict=True), 1)
    }


def _depth_data(comparison: Comparison, model: str, projection: str) -> pl.DataFrame:
    last = max(int(comparison.about["model"]["layers"]), max(comparison.layers) + 1) - 1
    by_layer = comparison.levels.filter(
        pl.col("measure").is_in(MAIN_MEASURES), pl.col("projection") == projection, pl.col("layer").is_not_null()
    )
    few = by_layer["layer"].n_unique() < 2
    placed = by_layer.with_columns(model=pl.lit(model), depth=pl.col("layer") / max(last, 1))
    return placed.select(_DEPTH).clear() if few else placed.select(_DEPTH)


def _depth_caption(models: Mapping[str, Comparison], projection: str) -> str:
    over = "mean over projections" if projection == "mean" else f"projection {projection}"
    sizes = "; ".join(f"{one_line(name)}: {groups_in_words(made.groups)}" for name, made in models.items())
    return (
        f"Nuclear norm and effective rank over normalised depth (layer index over the index of the last layer), "
        f"{over}. {BAND}. {sizes}."
    )


def draw_depth(data: pl.DataFrame, models: Sequence[str], style: Style) -> Figure:
    """One panel for each measure. Colours tell models, dashes groups; with one model, colours tell groups."""
    measures = data["measure"].unique(maintain_order=True).to_list()
    headings = [Heading(measure_name(measure)) for measure in measures]
    series = _series(data, models)
    canvas = make_canvas(style, headings, _depth_legend(series, data, style), most_columns=2)
    for axes, measure in zip(canvas.panels, measures, strict=True):
        axes.set_label(measure)
        one = data.filter(measure=measure)
        set_x(axes, canvas.fit_x(lambda most: linear_scale(0, 1, most), 6))
        set_y(axes, scale_for(shown_values(one), canvas.most_y))
        for start, line in enumerate(series):
            rows = one.filter(model=line.model, group=line.group).sort("layer")
            middle, low, high = _interval(rows)
            name = f"{line.model}|{line.group}"
            draw_band(axes, line.look, values(rows["depth"].to_list()), middle, low, high, name, start)
    canvas.label_x("layer / last layer")
    return finish(canvas, headings)


def _series(data: pl.DataFrame, models: Sequence[str]) -> list[_Series]:
    groups = data["group"].unique(maintain_order=True).to_list()
    pairs = data.select("model", "group").unique(maintain_order=True).rows()
    if len(models) == 1:
        return [_Series(model, group, group_look(groups.index(group))) for model, group in pairs]
    looks = [group_look(models.index(model)) for model, _ in pairs]
    dashes = [GROUP_DASHES[groups.index(group) % len(GROUP_DASHES)] for _, group in pairs]
    return [
        _Series(model, group, Look(look.colour, look.marker, dash))
        for (model, group), look, dash in zip(pairs, looks, dashes, strict=True)
    ]


def _depth_legend(series: Sequence[_Series], data: pl.DataFrame, style: Style) -> list[Entry]:
    """Models, then groups; sizes stand with what has the same size in every line of it."""
    models = {line.model: line.look for line in series}
    groups = {line.group: line.look for line in series}
    if len(models) == 1:
        return [line_entry(group, look, style, _size(data, "group", group)) for group, look in groups.items()]
    alone = len(groups) == 1
    entries = [
        line_entry(name, Look(look.colour, look.marker, ()), style, _size(data, "model", name) if alone else None)
        for name, look in models.items()
    ]
    dashed = [
        Entry(group, Line2D([], [], color="#000000", linestyle=line_style(look.dash)), _size(data, "group", group))
        for group, look in groups.items()
    ]
    return entries if alone else entries + dashed


def _size(data: pl.DataFrame, column: str, name: str) -> int | None:
    """Examples behind a line, or None where its models have different numbers."""
    sizes = data.filter(pl.col(column) == name).group_by("model", "group").agg(pl.col("n").max())["n"].unique()
    return int(sizes[0]) if len(sizes) == 1 else None


def _interval(line: pl.DataFrame) -> tuple[Values, Values, Values]:
    middle, low, high = (values(line[name].to_list()) for name in ("mean", "mean_low", "mean_high"))
    return middle, low, high
