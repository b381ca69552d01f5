"""Measures over normalised depth: groups of one model, or several models, whatever number of layers each has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradprism.comparison.comparison import Comparison
from gradprism.figures.canvas import Entry, Heading, finish, line_entry, make_canvas
from gradprism.figures.colours import Look, group_look, model_look
from gradprism.figures.curves import BAND, MAIN_MEASURES, interval, shown_values
from gradprism.figures.lines import draw_band, line_style, values
from gradprism.figures.names import file_name
from gradprism.figures.plot import Missing, Plot, Plots, groups_in_words, has_numbers, incomplete, one_line
from gradprism.figures.scales import log_words
from gradprism.figures.styles import Style
from gradprism.figures.ticks import linear_scale, scale_for, set_x, set_y
from gradprism.metrics.titles import title

MOST_LINES = 4  # in a panel, with their bands
_COLUMNS = ("model", "group", "measure", "projection", "layer", "depth", "n", "mean", "mean_low", "mean_high")


def depth_plots(comparisons: Sequence[Comparison], logs: frozenset[str]) -> Plots:
    """Mean over projections, or one projection alone. `logs` are the measures with logarithmic axes."""
    models = model_names(comparisons)
    shared = [p for p in comparisons[0].projections if all(p in other.projections for other in comparisons)]
    for projection in ("mean", *shared):
        name = "depth" if projection == "mean" else f"depth-{file_name(projection)}"
        parts = [_depth_data(comparison, model, projection) for model, comparison in models.items()]
        data = pl.concat(parts)
        if data.is_empty() or not has_numbers(data, "mean"):
            yield Missing(name, "no model has more than one layer with a value")
            continue
        caption = _caption(models, projection, logs)
        yield Plot(name, caption, data, partial(draw_depth, data, tuple(models), logs), projection == "mean")


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
    return placed.select(_COLUMNS).clear() if few else placed.select(_COLUMNS)


def _caption(models: Mapping[str, Comparison], projection: str, logs: frozenset[str]) -> str:
    over = "mean over projections" if projection == "mean" else f"projection {projection}"
    ended = (f"{groups_in_words(made.groups)}. {incomplete(made)}".strip() for made in models.values())
    sizes = (f"{one_line(name)}: {groups}" for name, groups in zip(models, ended, strict=True))
    what = "Nuclear norm and effective rank over normalised depth (layer index over the index of the last layer)"
    return " ".join(filter(None, (f"{what}, {over}.", BAND, log_words(MAIN_MEASURES, logs), *sizes)))


@dataclass(frozen=True)
class _Plan:
    """What has a panel of its own beside each measure, and what colours tell."""

    models: tuple[str, ...]
    groups: tuple[str, ...]
    panel_of: Literal["model", "group"] | None
    colour_of: Literal["model", "group"]

    @classmethod
    def of(cls, data: pl.DataFrame, models: Sequence[str]) -> "_Plan":
        """At most four lines in a panel, if any way leads there."""
        groups = tuple(data["group"].unique(maintain_order=True))
        if data.select("model", "group").n_unique() <= MOST_LINES:
            return cls(tuple(models), groups, None, "group" if len(models) == 1 else "model")
        if len(models) == 1:
            return cls(tuple(models), groups, "group", "group")
        if len(groups) <= MOST_LINES or len(models) > MOST_LINES:
            return cls(tuple(models), groups, "model", "group" if len(groups) > 1 else "model")
        return cls(tuple(models), groups, "group", "model")

    @property
    def panels(self) -> tuple[str | None, ...]:
        """What the panels of a measure are of."""
        return {"model": self.models, "group": self.groups, None: (None,)}[self.panel_of]

    @property
    def dashed(self) -> bool:
        """Whether dashes tell groups, as colours tell models."""
        return self.panel_of is None and self.colour_of == "model" and len(self.groups) > 1

    def look(self, model: str, group: str) -> Look:
        """Of a line."""
        place = self.groups.index(group)
        if self.colour_of == "group":
            return group_look(place)
        return model_look(self.models.index(model), place if self.dashed else 0)


def draw_depth(data: pl.DataFrame, models: Sequence[str], logs: frozenset[str], style: Style) -> Figure:
    """One panel for each measure; of more than four lines one for each model, or group, with the same axes.

    Colours tell groups where each panel has one model, else models, and dashes groups.
    """
    plan, measures = _Plan.of(data, models), data["measure"].unique(maintain_order=True)
    panels = [(measure, name) for measure in measures for name in plan.panels]
    headings = [Heading(title(measure) if name is None else name) for measure, name in panels]
    canvas = make_canvas(style, headings, _legend(plan, data, style), min(4, max(2, len(plan.panels))))
    x = canvas.fit_x(lambda most: linear_scale(0, 1, most), 6)
    for place, (measure, name) in enumerate(panels):
        one, begins = data.filter(measure=measure), canvas.first_of_row(place) or name == plan.panels[0]
        y = scale_for(shown_values(one), canvas.most_y, measure in logs)
        axes = canvas.panels[place]
        axes.set_label(measure if name is None else f"{measure}|{name}")
        set_x(axes, x)
        set_y(axes, y, labels=begins)
        if begins:
            canvas.label_y(axes, title(measure), y.log)
        _draw_lines(axes, one if name is None else one.filter(pl.col(str(plan.panel_of)) == name), plan)
    canvas.label_x("layer / last layer")
    return finish(canvas, headings)


def _draw_lines(axes: Axes, data: pl.DataFrame, plan: _Plan) -> None:
    for start, (model, group) in enumerate(data.select("model", "group").unique(maintain_order=True).rows()):
        line = data.filter(model=model, group=group).sort("layer")
        middle, low, high = interval(line)
        x = values(line["depth"].to_list())
        draw_band(axes, plan.look(model, group), x, middle, low, high, f"{model}|{group}", start)


def _legend(plan: _Plan, data: pl.DataFrame, style: Style) -> list[Entry]:
    """What colours tell, then what dashes tell; sizes stand with what has the same size in every line of it."""
    first_model, first_group = plan.models[0], plan.groups[0]
    if plan.colour_of == "group":
        looks = {group: plan.look(first_model, group) for group in plan.groups}
        return [line_entry(group, look, style, _size(data, "group", group)) for group, look in looks.items()]
    models = {model: replace(plan.look(model, first_group), dash=()) for model in plan.models}
    alone = len(plan.groups) == 1
    entries = [
        line_entry(model, look, style, _size(data, "model", model) if alone else None) for model, look in models.items()
    ]
    if not plan.dashed:
        return entries
    dashes = {group: line_style(plan.look(first_model, group).dash) for group in plan.groups}
    return entries + [
        Entry(group, Line2D([], [], color="#000000", linestyle=dash), _size(data, "group", group))
        for group, dash in dashes.items()
    ]


def _size(data: pl.DataFrame, column: str, name: str) -> int | None:
    """Examples behind a line, or None where its models have different numbers."""
    sizes = data.filter(pl.col(column) == name).group_by("model", "group").agg(pl.col("n").max())["n"].unique()
    return int(sizes[0]) if len(sizes) == 1 else None
