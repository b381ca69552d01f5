"""Measures against response tokens: every example as a point, and the running median of each group."""

from collections.abc import Mapping
from functools import partial

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradprism.comparison.comparison import Comparison
from gradprism.figures.canvas import LOG_SCALE, Entry, Heading, line_entry, make_canvas, sample_size
from gradprism.figures.colours import Look, group_look
from gradprism.figures.plot import FigureKind, Missing, Plot, Plots, caption_of, groups_in_words, has_numbers
from gradprism.figures.styles import Style
from gradprism.figures.ticks import set_logarithmic
from gradprism.metrics.titles import title
from gradprism.prism.measures import MAIN_MEASURES

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


def length_plots(comparison: Comparison, _: frozenset[str]) -> Plots:
    """Yield nuclear norm and effective rank, mean over layers and projections, against response tokens."""
    measures = [measure for measure in MAIN_MEASURES if f"{measure}:mean" in comparison.examples.columns]
    parts = [part for measure in measures for part in _points_and_medians(comparison.examples, measure)]
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


KINDS = (FigureKind(80, length_plots),)


def _lines_in_words(data: pl.DataFrame, groups: Mapping[str, int]) -> str:
    """Explain the lines, if there are any."""
    lined = set(data.filter(mark="running_median")["group"])
    if not lined:
        return ""
    few = "" if lined >= groups.keys() else f"; groups of fewer than {2 * LEAST_IN_BIN} have none"
    return f"Lines are running medians of at least {LEAST_IN_BIN} examples of like length{few}."


def _points_and_medians(examples: pl.DataFrame, measure: str) -> list[pl.DataFrame]:
    """Return points, then medians; values that are not positive have no place on logarithmic axes."""
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
    """Return medians of up to 25 bins of equally many examples; none for fewer than two bins."""
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
    """Draw a panel for each measure; `groups` are the sizes of all groups by name. Points are rasterised everywhere."""
    measures = data["measure"].unique(maintain_order=True).to_list()
    looks = {group: group_look(index) for index, group in enumerate(groups)}
    canvas = make_canvas(style, len(measures), 2)
    canvas.share_x(log=True)
    for axes, measure in zip(canvas.panels, measures, strict=True):
        axes.set_label(measure)
        set_logarithmic(axes.yaxis)
        canvas.label_y(axes, title(measure))
        for group, look in looks.items():
            _draw_group(axes, data.filter(measure=measure, group=group), look, group, style)
    canvas.figure.supxlabel(f"response tokens {LOG_SCALE}")
    lined = set(data.filter(mark="running_median")["group"])
    canvas.add_legend([_entry(group, looks[group], sample_size(n), group in lined) for group, n in groups.items()])
    return canvas.finish([Heading(title(measure)) for measure in measures])


def _entry(group: str, look: Look, note: str, lined: bool) -> Entry:
    """Make a legend's entry of a line with its marker, or of the marker alone."""
    if lined:
        return line_entry(group, look, note)
    return Entry(group, note, Line2D([], [], color=look.colour, marker=look.marker, linestyle="none"))


def _draw_group(axes: Axes, data: pl.DataFrame, look: Look, group: str, style: Style) -> None:
    points, medians = data.filter(mark="example"), data.filter(mark="running_median")
    opacity = min(0.7, max(0.12, 60 / max(points.height, 1)))
    axes.scatter(points["n_response_tokens"], points["value"], s=(0.8 * style.marker) ** 2, color=look.colour,
                 marker=look.marker, alpha=opacity, linewidths=0, rasterized=True, label=group)  # fmt: skip
    x, y = medians["n_response_tokens"], medians["value"]
    axes.plot(x, y, color="white", linewidth=3 * style.line, zorder=3)
    axes.plot(x, y, color=look.colour, linestyle=look.linestyle, label=group, zorder=4)
