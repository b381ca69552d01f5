"""Measures against the length of the response: every example as a point, and the running median of each group."""

from collections.abc import Mapping
from functools import partial

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradprism.comparison.comparison import Comparison
from gradprism.figures.canvas import LOG_SCALE, Entry, Heading, finish, line_entry, make_canvas
from gradprism.figures.colours import Look, group_look
from gradprism.figures.curves import MAIN_MEASURES
from gradprism.figures.lines import Values, line_style, values
from gradprism.figures.plot import Missing, Plot, Plots, caption_of, groups_in_words, has_numbers
from gradprism.figures.styles import Style
from gradprism.figures.ticks import scale_for, set_x, set_y
from gradprism.metrics.titles import title

NAME = "length"
BINS, LEAST_IN_BIN = 25, 10
_SCHEMA = {
    "measure": pl.String,
    "group": pl.String,
    "mark": pl.String,  # example | running_median
    "example_id": pl.String,
    "n_response_tokens": pl.Float64,
    "value": pl.Float64,
}


def length_plots(comparison: Comparison) -> Plots:
    """Nuclear norm and effective rank, mean over layers and projections, against response tokens."""
    measures = [measure for measure in MAIN_MEASURES if f"{measure}:mean" in comparison.examples.columns]
    parts = [part for measure in measures for part in _marks(comparison.examples, measure)]
    data = pl.concat(parts) if parts else pl.DataFrame(schema=_SCHEMA)
    if data.is_empty() or not has_numbers(data, "value"):
        known = comparison.examples["n_response_tokens"].count()
        yield Missing(NAME, "no example has a measure" if known else "the token counts are not known")
        return
    groups = {group.name: group.n for group in comparison.groups}
    caption = caption_of(
        comparison,
        "Mean over layers and projections against the length of the response, one point for each example: "
        f"{groups_in_words(comparison.groups)}.",
        _lines_in_words(data, groups),
        "All axes are logarithmic.",
    )
    yield Plot(NAME, caption, data, partial(draw_length, data, groups))


def _lines_in_words(data: pl.DataFrame, groups: Mapping[str, int]) -> str:
    """What the lines are, if there are any."""
    lined = set(data.filter(mark="running_median")["group"])
    if not lined:
        return ""
    few = "" if lined >= groups.keys() else f"; groups of fewer than {2 * LEAST_IN_BIN} have none"
    return f"Lines are running medians of at least {LEAST_IN_BIN} examples of like length{few}."


def _marks(examples: pl.DataFrame, measure: str) -> list[pl.DataFrame]:
    """Points, and after them medians: both axes are logarithmic, so what is not positive is left out."""
    points = examples.select(
        pl.lit(measure).alias("measure"),
        "group",
        pl.lit("example").alias("mark"),
        "example_id",
        pl.col("n_response_tokens").cast(pl.Float64),
        pl.col(f"{measure}:mean").alias("value"),
    ).filter(pl.col("n_response_tokens") > 0, pl.col("value") > 0, pl.col("value").is_finite())
    return [points, _running_medians(points)]


def _running_medians(points: pl.DataFrame) -> pl.DataFrame:
    """Of up to 25 bins of equally many examples; no line for fewer than two bins."""
    rank = pl.col("n_response_tokens").rank("ordinal").over("group") - 1
    size = pl.len().over("group")
    bins = pl.min_horizontal(size // LEAST_IN_BIN, pl.lit(BINS))
    binned = points.with_columns(bins=bins, bin=(rank * bins) // size).filter(pl.col("bins") > 1)
    medians = binned.group_by("measure", "group", "bin", maintain_order=True).agg(
        pl.lit("running_median").alias("mark"),
        pl.lit(None, pl.String).alias("example_id"),
        pl.col("n_response_tokens").median(),
        pl.col("value").median(),
    )
    return medians.sort("group", "bin", maintain_order=True).select(_SCHEMA.keys())


def draw_length(data: pl.DataFrame, groups: Mapping[str, int], style: Style) -> Figure:
    """`groups` are all groups in their order, with their sizes. Points are rasterised in every format."""
    measures = data["measure"].unique(maintain_order=True).to_list()
    headings = [Heading(title(measure)) for measure in measures]
    looks = {group: group_look(place) for place, group in enumerate(groups)}
    lined = set(data.filter(mark="running_median")["group"])
    legend = [_entry(group, n, looks[group], style, group in lined) for group, n in groups.items()]
    canvas = make_canvas(style, headings, legend, most_columns=2)
    x = canvas.fit_x(lambda most: scale_for(data["n_response_tokens"], most, log=True))
    for axes, measure in zip(canvas.panels, measures, strict=True):
        axes.set_label(measure)
        one = data.filter(measure=measure)
        set_x(axes, x)
        set_y(axes, scale_for(one["value"], canvas.most_y, log=True))
        canvas.label_y(axes, "mean", log=True)
        for group, look in looks.items():
            _draw_group(axes, one.filter(group=group), look, group, style)
    canvas.label_x(f"response tokens {LOG_SCALE}")
    return finish(canvas, headings)


def _entry(group: str, n: int, look: Look, style: Style, lined: bool) -> Entry:
    """A line with its marker, or the marker alone."""
    if lined:
        return line_entry(group, look, style, n)
    return Entry(group, Line2D([], [], color=look.colour, marker=look.marker, linestyle="none"), n)


def _draw_group(axes: Axes, data: pl.DataFrame, look: Look, group: str, style: Style) -> None:
    points, medians = data.filter(mark="example"), data.filter(mark="running_median")
    x, y = _places(points)
    axes.scatter(
        x,
        y,
        s=(0.8 * style.marker) ** 2,
        color=look.colour,
        marker=look.marker,
        alpha=_opacity(points.height),
        linewidths=0,
        rasterized=True,
        label=group,
    )
    x, y = _places(medians)
    axes.plot(x, y, color="white", linewidth=3 * style.line, zorder=3)
    axes.plot(x, y, color=look.colour, linestyle=line_style(look.dash), label=group, zorder=4)


def _places(data: pl.DataFrame) -> list[Values]:
    return [values(data[name].to_list()) for name in ("n_response_tokens", "value")]


def _opacity(points: int) -> float:
    return min(0.7, max(0.12, 60 / max(points, 1)))
