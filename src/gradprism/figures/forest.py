"""What is left of an effect when length is held: each of the three controls beside the same number without it.

Two are ratios on the same axis: over pairs of like length, and from a regression of logs. The third is a rank
correlation, which cannot be turned into a ratio.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradprism.comparison.comparison import Comparison, Group
from gradprism.figures.canvas import LOG_SCALE, Canvas, Entry, Heading, finish, make_canvas
from gradprism.figures.colours import OTHER_COLOUR, projection_look
from gradprism.figures.curves import MAIN_MEASURES
from gradprism.figures.names import file_name
from gradprism.figures.pairs import Pairs, pairs_in_length
from gradprism.figures.plot import Missing, Plot, Plots, caption_of, groups_in_words, has_numbers
from gradprism.figures.styles import Style
from gradprism.figures.ticks import scale_for, set_x
from gradprism.metrics.titles import title


@dataclass(frozen=True)
class _Control:
    heading: str
    axis: str
    none: float  # where there is no effect
    raw: str  # columns of EFFECTS, each with those of its interval
    held: str
    interval: str  # of `held`: the beginning of its columns
    n_raw: str
    n_held: str

    @property
    def ratio(self) -> bool:
        """Whether its columns are logs of ratios."""
        return self.none == 1


_RATIO = f"ratio {LOG_SCALE}"
CONTROLS = {
    "matched": _Control(
        "matched in length", _RATIO, 1.0, "raw_effect", "matched_effect", "matched", "regression_n", "matched_pairs"
    ),
    "regression": _Control(
        "regression", _RATIO, 1.0, "raw_effect", "regression_effect", "regression", "regression_n", "regression_n"
    ),
    "partial": _Control(
        "partial rank", "Spearman ρ", 0.0, "spearman", "partial_spearman", "partial", "partial_n", "partial_n"
    ),
}


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
        pairs = pairs_in_length(comparison, first, second)
        pair = (comparison.group(first), comparison.group(second))
        draw = partial(draw_forest, data, projections, pair, pairs)
        yield Plot(name, _caption(comparison, pair, pairs), data, draw)


def _data(comparison: Comparison, first: str, second: str) -> pl.DataFrame:
    """A row for each measure, projection and control, with nothing held and with length held."""
    effects = comparison.effects.filter(
        pl.col("measure").is_in(MAIN_MEASURES),
        pl.col("layer").is_null(),
        pl.col("regression_scale") == "log",
        first=first,
        second=second,
    )
    order = {measure: place for place, measure in enumerate(MAIN_MEASURES)}
    parts = [effects.select(columns) for name, control in CONTROLS.items() for columns in _marks(name, control)]
    return pl.concat(parts).sort(pl.col("measure").replace_strict(order, default=9), maintain_order=True)


def _marks(name: str, control: _Control) -> Iterator[list[pl.Expr]]:
    """The number without the control, and with it."""
    keys = [pl.col(key) for key in ("first", "second", "measure", "projection")]
    for held, n, value, interval in (
        ("nothing", control.n_raw, control.raw, control.raw),
        ("length", control.n_held, control.held, control.interval),
    ):
        columns = [pl.col(column) for column in (value, f"{interval}_low", f"{interval}_high")]
        shown = [column.exp() if control.ratio else column for column in columns]
        named = [column.alias(as_) for column, as_ in zip(shown, ("value", "low", "high"), strict=True)]
        yield [*keys, pl.lit(name).alias("control"), pl.lit(held).alias("held"), pl.col(n).alias("n"), *named]


def _caption(comparison: Comparison, pair: tuple[Group, Group], pairs: Pairs) -> str:
    first, second = pair
    far = "" if pairs.overlap else "Regression and partial correlation extrapolate there and are no evidence."
    return caption_of(
        comparison,
        f"Effect of the group on the layer mean of nuclear norm and effective rank, {groups_in_words([first])} against "
        f"{groups_in_words([second])}: hollow as it is, filled with length held. Left: ratio of geometric means, over "
        "all rows and over pairs of like response length. Middle: the same ratio, and from a regression of logs with "
        "log prompt and response tokens. Right: Spearman correlation with membership in the first group, raw and given "
        "prompt and response tokens. Bars are 95% intervals; axes of ratios are logarithmic.",
        pairs.sentence,
        far,
    )


def draw_forest(
    data: pl.DataFrame, projections: Sequence[str], pair: tuple[Group, Group], pairs: Pairs, style: Style
) -> Figure:
    """A row of panels for each measure, a column for each control, a line for each projection."""
    measures = [measure for measure in MAIN_MEASURES if measure in set(data["measure"])]
    places = [(measure, control) for measure in measures for control in CONTROLS]
    headings = [
        Heading(CONTROLS[control].heading, remark=_remark(data.filter(measure=measure, control=control), pairs))
        for measure, control in places
    ]
    above = [Heading(group.name, group.n) for group in pair]
    canvas = make_canvas(style, headings, _legend(style), 3, above, 1.7 * style.tick_font * len(projections) / 72)
    for place, (axes, (measure, control)) in enumerate(zip(canvas.panels, places, strict=True)):
        axes.set_label(f"{measure}|{control}")
        _draw_panel(canvas, axes, data.filter(measure=measure), control, projections)
        axes.tick_params(axis="y", labelleft=canvas.first_of_row(place), left=False)
        if canvas.first_of_row(place):
            canvas.label_y(axes, title(measure))
    canvas.label_x(*(control.axis for control in CONTROLS.values()))
    return finish(canvas, headings)


def _remark(data: pl.DataFrame, pairs: Pairs) -> str:
    """The number of pairs, from the fewest to the most of all projections; of other controls, whether they hold."""
    if data["control"][0] != "matched":
        return "" if pairs.overlap else "extrapolates"
    counts = sorted({int(n or 0) for n in data.filter(held="length")["n"]})
    if counts[-1] == 0:
        return "no pairs"
    return f"{counts[0]:,} pair{'s' * (counts[0] != 1)}" if len(counts) == 1 else f"{counts[0]:,}–{counts[-1]:,} pairs"


def _legend(style: Style) -> list[Entry]:
    def mark(face: str) -> Line2D:
        return Line2D([], [], color=OTHER_COLOUR, marker="o", markerfacecolor=face, markersize=1.5 * style.marker)

    return [Entry("raw", mark("white")), Entry("length held", mark(OTHER_COLOUR))]


def _draw_panel(canvas: Canvas, axes: Axes, data: pl.DataFrame, control: str, projections: Sequence[str]) -> None:
    """Of one measure; both ratios have the same axis."""
    none, ratio = CONTROLS[control].none, CONTROLS[control].ratio
    alike = data.filter(pl.col("control").is_in([name for name, other in CONTROLS.items() if other.ratio == ratio]))
    shown = [none, *(value for name in ("value", "low", "high") for value in alike[name])]
    set_x(axes, canvas.fit_x(lambda most: scale_for(shown, most, log=ratio), 5))
    data = data.filter(control=control)
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
