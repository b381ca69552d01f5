"""What is left of an effect when length is held: each of the three controls beside the same number without it.

The three are on scales of their own, as none can be turned into another: a difference in the measure's own numbers
between pairs of like length, a ratio from a regression of logs, and a rank correlation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradprism.analysis.comparison import Comparison, Group
from gradprism.figures.canvas import Canvas, Entry, Heading, finish, make_canvas
from gradprism.figures.colours import OTHER_COLOUR, projection_look
from gradprism.figures.curves import MAIN_MEASURES
from gradprism.figures.names import file_name
from gradprism.figures.plot import Missing, Plot, Plots, groups_in_words, has_numbers, of_model
from gradprism.figures.styles import Style
from gradprism.figures.text import measure_name
from gradprism.figures.ticks import scale_for, set_x


@dataclass(frozen=True)
class _Control:
    heading: str
    axis: str
    none: float  # where there is no effect


CONTROLS = {
    "matched": _Control("matched in length", "difference", 0.0),
    "regression": _Control("regression", "ratio", 1.0),
    "partial": _Control("partial rank", "Spearman ρ", 0.0),
}


_ROWS = pl.col("n_first") + pl.col("n_second")


def forest_plots(comparison: Comparison) -> Plots:
    """The effect on the layer mean of nuclear norm and effective rank, raw and under each control of length."""
    if not comparison.contrasts:
        yield Missing("effect-forest", "there is only one group")
    for first, second in comparison.contrasts:
        name = f"effect-forest-{file_name(first)}-{file_name(second)}"
        data = _data(comparison, first, second)
        if data.is_empty() or not has_numbers(data, "value"):
            yield Missing(name, "no effect could be computed")
            continue
        projections = [p for p in (*comparison.projections, "mean") if p in set(data["projection"])]
        pair = (comparison.group(first), comparison.group(second))
        yield Plot(name, _caption(comparison, pair), data, partial(draw_forest, data, projections, pair))


def _data(comparison: Comparison, first: str, second: str) -> pl.DataFrame:
    effects = comparison.effects.filter(
        pl.col("measure").is_in(MAIN_MEASURES),
        pl.col("layer").is_null(),
        pl.col("regression_scale").fill_null("log") == "log",
        first=first,
        second=second,
    )
    keys = ["first", "second", "measure", "projection"]
    marks = [mark for name in CONTROLS for mark in _marks(name)]
    order = {measure: place for place, measure in enumerate(MAIN_MEASURES)}
    parts = [
        effects.select(*keys, pl.lit(name).alias("control"), pl.lit(held).alias("held"), n.alias("n"), *numbers)
        for name, held, n, numbers in marks
    ]
    return pl.concat(parts).sort(pl.col("measure").replace_strict(order, default=9), maintain_order=True)


def _marks(control: str) -> list[tuple[str, str, pl.Expr, list[pl.Expr]]]:
    """Of a control: the number without it and the number with it, each with its interval if it has one."""
    raw, held = {"matched": _matched, "regression": _regression, "partial": _partial}[control]()
    pairs = pl.col("matched_pairs") if control == "matched" else _ROWS
    return [(control, "nothing", _ROWS, _triple(*raw)), (control, "length", pairs, _triple(*held))]


def _matched() -> tuple[list[pl.Expr], list[pl.Expr]]:
    raw, held = ("difference", "difference_low", "difference_high"), ("difference", "low", "high")
    return [pl.col(name) for name in raw], [pl.col(f"matched_{name}") for name in held]


def _regression() -> tuple[list[pl.Expr], list[pl.Expr]]:
    none, held = pl.lit(None, pl.Float64), ("effect", "low", "high")
    return [pl.col("raw_effect").exp(), none, none], [pl.col(f"regression_{name}").exp() for name in held]


def _partial() -> tuple[list[pl.Expr], list[pl.Expr]]:
    """Spearman's raw correlation has the interval of the AUC: both are linear in the rank sum."""
    delta, rho = pl.col("cliffs_delta"), pl.col("spearman")
    per_delta = pl.when(delta.abs() > 1e-9).then(rho / delta)
    ends = [(2 * pl.col(name) - 1) * per_delta for name in ("auc_low", "auc_high")]
    return [rho, *ends], [pl.col(name) for name in ("partial_spearman", "partial_low", "partial_high")]


def _triple(value: pl.Expr, low: pl.Expr, high: pl.Expr) -> list[pl.Expr]:
    return [value.alias("value"), low.alias("low"), high.alias("high")]


def _caption(comparison: Comparison, pair: tuple[Group, Group]) -> str:
    first, second = pair
    return (
        f"Effect of the group on the layer mean of nuclear norm and effective rank, {groups_in_words([first])} against "
        f"{groups_in_words([second])}: hollow as it is, filled with length held. Left: difference of means, over all "
        "and over pairs of like response length. Middle: ratio of geometric means from a regression of logs, without "
        "and with log prompt and response tokens. Right: Spearman correlation with membership in the first group, raw "
        "(interval of the AUC, rescaled) and given prompt and response tokens. Bars are 95% intervals; a number "
        f"without one has none. {of_model(comparison)}"
    )


def draw_forest(data: pl.DataFrame, projections: Sequence[str], pair: tuple[Group, Group], style: Style) -> Figure:
    """A row of panels for each measure, a column for each control, a line for each projection."""
    measures = [measure for measure in MAIN_MEASURES if measure in set(data["measure"])]
    places = [(measure, control) for measure in measures for control in CONTROLS]
    headings = [Heading(CONTROLS[control].heading) for _, control in places]
    title = [Heading(group.name, group.n) for group in pair]
    canvas = make_canvas(style, headings, _legend(style), 3, title, 1.7 * style.tick_font * len(projections) / 72)
    for place, (axes, (measure, control)) in enumerate(zip(canvas.panels, places, strict=True)):
        axes.set_label(f"{measure}|{control}")
        _draw_panel(canvas, axes, data.filter(measure=measure, control=control), projections, CONTROLS[control].none)
        axes.tick_params(axis="y", labelleft=canvas.first_of_row(place), left=False)
        if canvas.first_of_row(place):
            canvas.label_y(axes, measure_name(measure))
    canvas.label_x(*(control.axis for control in CONTROLS.values()))
    return finish(canvas, headings)


def _legend(style: Style) -> list[Entry]:
    def mark(face: str) -> Line2D:
        return Line2D([], [], color=OTHER_COLOUR, marker="o", markerfacecolor=face, markersize=1.5 * style.marker)

    return [Entry("raw", mark("white")), Entry("length held", mark(OTHER_COLOUR))]


def _draw_panel(canvas: Canvas, axes: Axes, data: pl.DataFrame, projections: Sequence[str], none: float) -> None:
    shown = [none, *(value for name in ("value", "low", "high") for value in data[name])]
    set_x(axes, canvas.fit_x(lambda most: scale_for(shown, most, log=False), 5))
    axes.axvline(none, color="#888888", linewidth=0.6 * canvas.style.line, zorder=1)
    for held, shift in (("nothing", -0.18), ("length", 0.18)):
        rows = {projection: numbers for projection, *numbers in _rows(data.filter(held=held))}
        for place, projection in enumerate(projections):
            if projection in rows:
                _draw_mark(canvas, axes, rows[projection], place + shift, projection, held)
    axes.grid(False, axis="y")
    axes.set_ylim(len(projections) - 0.4, -0.6)
    axes.set_yticks(range(len(projections)), projections)


def _rows(data: pl.DataFrame) -> list[tuple[Any, ...]]:
    return data.select("projection", *(pl.col(name).fill_null(math.nan) for name in ("value", "low", "high"))).rows()


def _draw_mark(canvas: Canvas, axes: Axes, numbers: Sequence[float], y: float, projection: str, held: str) -> None:
    value, low, high = numbers
    look, style = projection_look(projection), canvas.style
    axes.plot([low, high], [y, y], color=look.colour, label=f"{projection}|{held}|interval", zorder=2)
    face = look.colour if held == "length" else "white"
    size = style.marker * (1.5 if look.marker != "." else 3)
    axes.plot(
        [value], [y], marker=look.marker, color=look.colour, markerfacecolor=face, markersize=size,
        markeredgewidth=0.8 * style.line, linestyle="none", label=f"{projection}|{held}", zorder=3,
    )  # fmt: skip
