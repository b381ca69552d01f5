"""A claim over all contrasts and models of a study: each ratio as it is, and under each control of length."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradprism.analysis.titles import headed, title
from gradprism.figures.canvas import LOG_SCALE, Canvas, Heading, finish, line_entry, make_canvas
from gradprism.figures.colours import model_look
from gradprism.figures.names import file_name
from gradprism.figures.plot import Missing, Plot, has_numbers, one_line
from gradprism.figures.styles import Style
from gradprism.figures.text import distinct, literal
from gradprism.figures.ticks import scale_for, set_x

RAW, MATCHED, REGRESSION = "as it is", "matched in length", "regression on length"
_COLUMNS = {
    RAW: ("raw_effect", "raw_effect_low", "raw_effect_high", "regression_n"),
    MATCHED: ("matched_effect", "matched_low", "matched_high", "matched_pairs"),
    REGRESSION: ("regression_effect", "regression_low", "regression_high", "regression_n"),
}
_MOST_COLUMNS = 4
_NAMES = 0.25  # most of the width that names of contrasts may take


def claim_plot(name: str, says: str, table: pl.DataFrame, whole: str, cut: Mapping[str, int]) -> Plot | Missing:
    """Of the table of one claim on a measure.

    `whole` is the text that holds no length; `cut` those that cut every response to so many tokens.
    """
    figure = f"claim-{file_name(name)}"
    logged = table.filter(pl.col("regression_scale") == "log") if "regression_scale" in table.columns else table.clear()
    if logged.is_empty():
        return Missing(figure, "no ratio of means could be computed")
    data = pl.concat(list(_parts(logged, whole, cut)))
    if not has_numbers(data, "value"):
        return Missing(figure, "no ratio of means could be computed")
    measure = title(logged["measure"][0])
    caption = (
        f"{one_line(says)}: ratio of the geometric means of {measure} (mean over layers and projections) of the "
        "first set and the second, for each contrast and model. In order: as it is; over pairs of like response "
        "length; from a regression of logs with log prompt and response tokens"
        + "".join(f"; with every response cut to its first {n} token{'s' * (n > 1)}" for n in cut.values())
        + ". Bars are 95% intervals; the axis is logarithmic. Hollow: the sets hardly overlap in length, so that the "
        "regression extrapolates, and is no evidence." + _left_out(table, logged)
    )
    models = tuple(table["model"].unique(maintain_order=True))
    return Plot(figure, caption, data, partial(draw_claim, data, models, logged["measure"][0]))


def _left_out(table: pl.DataFrame, logged: pl.DataFrame) -> str:
    names = table.join(logged, on="contrast", how="anti")["contrast"].unique(maintain_order=True)
    return f" Without a ratio, since a value is not above 0: {', '.join(map(one_line, names))}." if len(names) else ""


def _parts(table: pl.DataFrame, whole: str, cut: Mapping[str, int]) -> Iterator[pl.DataFrame]:
    for control, columns in _COLUMNS.items():
        yield _part(table.filter(text=whole), control, columns)
    for text, n in cut.items():
        yield _part(table.filter(text=text), f"first {n} token{'s' * (n > 1)}", _COLUMNS[RAW])


def _part(table: pl.DataFrame, control: str, columns: Sequence[str]) -> pl.DataFrame:
    value, low, high, n = columns
    extrapolates = ~pl.col("overlap").fill_null(False) if control == REGRESSION else pl.lit(False)
    return table.select(
        "model", "contrast", "first", "second", "measure", pl.lit(control).alias("control"),
        pl.col(n).cast(pl.Int64).alias("n"), extrapolates.alias("extrapolates"),
        *(pl.col(column).cast(pl.Float64).exp().alias(as_)
          for column, as_ in ((value, "value"), (low, "low"), (high, "high"))),
    )  # fmt: skip


def draw_claim(data: pl.DataFrame, models: Sequence[str], measure: str, style: Style) -> Figure:
    """A panel a control, a line a contrast, a colour a model."""
    controls = data["control"].unique(maintain_order=True).to_list()
    contrasts = data["contrast"].unique(maintain_order=True).to_list()
    headings = [Heading(control) for control in controls]
    legend = [line_entry(model, model_look(place), style) for place, model in enumerate(models)]
    height = 1.5 * style.tick_font * (len(contrasts) * max(len(models) / 2, 1) + 1) / 72
    style = replace(style, panel_heights=(height, height))  # every name has its line, however many there are
    columns = len(controls) if len(controls) <= _MOST_COLUMNS else math.ceil(len(controls) / 2)
    canvas = make_canvas(
        style, headings, legend, columns, [Heading(f"{headed(measure)}: first set over second")], height
    )
    scale = canvas.fit_x(
        lambda most: scale_for([1.0, *(value for name in ("value", "low", "high") for value in data[name])], most,
                               log=True),
        4,
    )  # fmt: skip
    room = _NAMES * style.text_width
    names = [literal(name) for name in distinct(contrasts, room, style, style.tick_font)]
    for place, (axes, control) in enumerate(zip(canvas.panels, controls, strict=True)):
        axes.set_label(control)
        set_x(axes, scale)
        axes.axvline(1.0, color="#888888", linewidth=0.6 * style.line, zorder=1)
        _draw_marks(canvas, axes, data.filter(control=control), contrasts, models)
        axes.grid(False, axis="y")
        axes.set_ylim(len(contrasts) - 0.4, -0.6)
        axes.set_yticks(range(len(contrasts)), names)
        axes.tick_params(axis="y", labelleft=canvas.first_of_row(place), left=False)
    canvas.label_x(f"ratio {LOG_SCALE}")
    return finish(canvas, headings)


def _draw_marks(
    canvas: Canvas, axes: Axes, data: pl.DataFrame, contrasts: Sequence[str], models: Sequence[str]
) -> None:
    style, step = canvas.style, 0.6 / max(len(models), 2)
    for row in data.filter(pl.col("value").is_finite()).iter_rows(named=True):
        place = models.index(row["model"])
        look = model_look(place)
        y = contrasts.index(row["contrast"]) + (place - (len(models) - 1) / 2) * step
        ends = [row[end] if row[end] is not None else math.nan for end in ("low", "high")]
        filled = "white" if row["extrapolates"] else look.colour
        axes.plot(ends, [y, y], color=look.colour, linestyle=":" if row["extrapolates"] else "-", zorder=2)
        axes.plot([row["value"]], [y], marker=look.marker, color=look.colour, markerfacecolor=filled,
                  markersize=1.3 * style.marker, zorder=3)  # fmt: skip
