"""Measures over normalised depth: groups of one model, or several models, whatever number of layers each has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradprism.comparison.comparison import Comparison
from gradprism.figures.canvas import Entry, Heading, line_entry, sample_size
from gradprism.figures.colours import Look, group_look, model_look
from gradprism.figures.lines import Line, LinePanel, XAxis, draw_line_panels
from gradprism.figures.means import BAND, INTERVAL
from gradprism.figures.names import file_name
from gradprism.figures.plot import (
    FigureKind,
    Missing,
    Plot,
    Plots,
    groups_in_words,
    has_numbers,
    incomplete,
    numbered_models,
    one_line,
)
from gradprism.figures.scales import log_words
from gradprism.figures.styles import Style
from gradprism.metrics.titles import title
from gradprism.prism.measures import MAIN_MEASURES, MEAN

MOST_LINES = 4  # in a panel, with their bands
_COLUMNS = ("model", "group", "measure", "projection", "layer", "depth", "n", *INTERVAL)


def depth_plots(comparisons: Sequence[Comparison], logs: frozenset[str]) -> Plots:
    """Yield the mean over projections, and each projection that all models have, which is drawn only if named."""
    models = numbered_models(comparisons)
    shared = [p for p in comparisons[0].projections if all(p in other.projections for other in comparisons)]
    for projection in (MEAN, *shared):
        name = "depth" if projection == MEAN else f"depth-{file_name(projection)}"
        parts = [_depth_data(comparison, model, projection) for model, comparison in models.items()]
        data = pl.concat(parts)
        if data.is_empty() or not has_numbers(data, "mean"):
            yield Missing(name, "no model has more than one layer with a value")
            continue
        caption = _caption(models, projection, logs)
        yield Plot(name, caption, data, partial(draw_depth, data, tuple(models), logs), projection == MEAN)


KINDS = (FigureKind(100, across_models=depth_plots),)


def _depth_data(comparison: Comparison, model: str, projection: str) -> pl.DataFrame:
    last = max(int(comparison.about["model"]["layers"]), max(comparison.layers) + 1) - 1
    by_layer = comparison.levels.filter(
        pl.col("measure").is_in(MAIN_MEASURES), pl.col("projection") == projection, pl.col("layer").is_not_null()
    )
    few = by_layer["layer"].n_unique() < 2
    placed = by_layer.with_columns(model=pl.lit(model), depth=pl.col("layer") / max(last, 1))
    return placed.select(_COLUMNS).clear() if few else placed.select(_COLUMNS)


def _caption(models: Mapping[str, Comparison], projection: str, logs: frozenset[str]) -> str:
    over = "mean over projections" if projection == MEAN else f"projection {projection}"
    ended = (f"{groups_in_words(made.groups)}. {incomplete(made)}".strip() for made in models.values())
    sizes = (f"{one_line(name)}: {groups}" for name, groups in zip(models, ended, strict=True))
    what = "Nuclear norm and effective rank over normalised depth (layer index over the index of the last layer)"
    return " ".join(filter(None, (f"{what}, {over}.", BAND, log_words(MAIN_MEASURES, logs), *sizes)))


@dataclass(frozen=True)
class _Division:
    """The division of lines into panels beside each measure, and the meaning of colours and dashes."""

    models: tuple[str, ...]
    groups: tuple[str, ...]
    panel_of: Literal["model", "group"] | None
    colour_of: Literal["model", "group"]

    @property
    def panels(self) -> tuple[str | None, ...]:
        """The models or groups that have a panel of their own."""
        return {"model": self.models, "group": self.groups, None: (None,)}[self.panel_of]

    @property
    def dashed(self) -> bool:
        """True where dashes tell groups, as colours tell models."""
        return self.panel_of is None and self.colour_of == "model" and len(self.groups) > 1

    def look(self, model: str, group: str) -> Look:
        """Return colour, marker and dashes of a line."""
        index = self.groups.index(group)
        if self.colour_of == "group":
            return group_look(index)
        return model_look(self.models.index(model), index if self.dashed else 0)


def _divide(data: pl.DataFrame, models: Sequence[str]) -> _Division:
    """Divide lines into panels of at most four, if any way leads there."""
    groups = tuple(data["group"].unique(maintain_order=True))
    if data.select("model", "group").n_unique() <= MOST_LINES:
        return _Division(tuple(models), groups, None, "group" if len(models) == 1 else "model")
    if len(models) == 1:
        return _Division(tuple(models), groups, "group", "group")
    if len(groups) <= MOST_LINES or len(models) > MOST_LINES:
        return _Division(tuple(models), groups, "model", "group" if len(groups) > 1 else "model")
    return _Division(tuple(models), groups, "group", "model")


def draw_depth(data: pl.DataFrame, models: Sequence[str], logs: frozenset[str], style: Style) -> Figure:
    """Draw one panel for each measure; of more than four lines one for each model, or group, with the same axes.

    Colours tell groups where each panel has one model, else models, and dashes groups.
    """
    division = _divide(data, models)
    panels = [
        LinePanel(
            measure if name is None else f"{measure}|{name}",
            Heading(title(measure) if name is None else name),
            title(measure),
            _lines(data if name is None else data.filter(pl.col(str(division.panel_of)) == name), measure, division),
            measure in logs,
        )
        for measure in data["measure"].unique(maintain_order=True)
        for name in division.panels
    ]
    most_columns = min(4, max(2, len(division.panels)))
    x_axis = XAxis("layer / last layer")
    return draw_line_panels(style, panels, _legend(division, data), ("depth", *INTERVAL), x_axis, most_columns)


def _lines(data: pl.DataFrame, measure: str, division: _Division) -> list[Line]:
    data = data.filter(measure=measure)
    return [
        Line(f"{model}|{group}", division.look(model, group), data.filter(model=model, group=group).sort("layer"))
        for model, group in data.select("model", "group").unique(maintain_order=True).rows()
    ]


def _legend(division: _Division, data: pl.DataFrame) -> list[Entry]:
    """Explain colours, then dashes; sizes stand with models or groups whose lines all have the same size."""
    first_model, first_group = division.models[0], division.groups[0]
    if division.colour_of == "group":
        looks = {group: division.look(first_model, group) for group in division.groups}
        return [line_entry(group, look, _common_size(data, "group", group)) for group, look in looks.items()]
    models = {model: replace(division.look(model, first_group), dash=()) for model in division.models}
    alone = len(division.groups) == 1
    entries = [
        line_entry(model, look, _common_size(data, "model", model) if alone else "") for model, look in models.items()
    ]
    if not division.dashed:
        return entries
    dashes = {group: division.look(first_model, group).linestyle for group in division.groups}
    return entries + [
        Entry(group, _common_size(data, "group", group), Line2D([], [], color="#000000", linestyle=dash))
        for group, dash in dashes.items()
    ]


def _common_size(data: pl.DataFrame, column: str, name: str) -> str:
    """Return the number of examples behind the lines of a model or group, or nothing where lines differ in it."""
    sizes = data.filter(pl.col(column) == name).group_by("model", "group").agg(pl.col("n").max())["n"].unique()
    return sample_size(int(sizes[0])) if len(sizes) == 1 else ""
