"""Length-controlled effects: each of the three controls of length beside the raw number.

Two are ratios on the same axis: over pairs of like length, and from a regression of logs. The third is a rank
correlation, which cannot be turned into a ratio.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradprism.comparison.comparison import Comparison, Group
from gradprism.figures.canvas import LOG_SCALE, Entry, Heading, make_canvas, sample_size
from gradprism.figures.colours import OTHER_COLOUR, projection_look
from gradprism.figures.lines import draw_reference
from gradprism.figures.marks import draw_mark, set_rows
from gradprism.figures.names import file_name
from gradprism.figures.pairs import Pairs, pairs_in_length
from gradprism.figures.plot import FigureKind, Missing, Plot, Plots, caption_of, groups_in_words, has_numbers
from gradprism.figures.styles import Style
from gradprism.figures.ticks import set_logarithmic
from gradprism.metrics.titles import title
from gradprism.prism.measures import MAIN_MEASURES, MEAN


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
        """True where its columns are logs of ratios."""
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


def forest_plots(comparison: Comparison, _: frozenset[str]) -> Plots:
    """Yield effects on the layer mean of nuclear norm and effective rank, raw and under each control of length."""
    if not comparison.contrasts:
        yield Missing("effect-forest", "there is only one group")
    for first, second in comparison.contrasts:
        name = f"effect-forest-{file_name(first)}-{file_name(second)}"
        data = _effects(comparison, first, second)
        if data.is_empty() or not has_numbers(data, "value"):
            yield Missing(name, "no effect could be computed")
            continue
        projections = [p for p in (*comparison.projections, MEAN) if p in set(data["projection"])]
        pairs = pairs_in_length(comparison, first, second)
        pair = (comparison.group(first), comparison.group(second))
        draw = partial(draw_forest, data, projections, pair, pairs)
        yield Plot(name, _caption(comparison, pair, pairs), data, draw)


KINDS = (FigureKind(60, forest_plots, by_contrast=True),)


def _effects(comparison: Comparison, first: str, second: str) -> pl.DataFrame:
    """Return a row for each measure, projection and control, raw and length-controlled."""
    effects = comparison.effects.filter(
        pl.col("measure").is_in(MAIN_MEASURES),
        pl.col("layer").is_null(),
        pl.col("regression_scale") == "log",
        first=first,
        second=second,
    )
    order = {measure: index for index, measure in enumerate(MAIN_MEASURES)}
    parts = [
        effects.select(columns) for name, control in CONTROLS.items() for columns in _raw_and_controlled(name, control)
    ]
    return pl.concat(parts).sort(pl.col("measure").replace_strict(order, default=9), maintain_order=True)


def _raw_and_controlled(name: str, control: _Control) -> Iterator[list[pl.Expr]]:
    """Yield the columns of the raw number, then of the length-controlled one."""
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
    far = "Regression and partial correlation lack common support there, are no evidence, and are pale."
    return caption_of(
        comparison,
        f"Effect of the group on the layer mean of nuclear norm and effective rank, {groups_in_words([first])} against "
        f"{groups_in_words([second])}: hollow: raw; filled: length-controlled. Left: ratio of geometric means, over "
        "all rows and over pairs of like response length. Middle: the same ratio, and from a regression of logs with "
        "log prompt and response tokens. Right: Spearman correlation with membership in the first group, raw and given "
        "prompt and response tokens. Bars are 95% intervals; axes of ratios are logarithmic.",
        pairs.sentence,
        "" if pairs.overlap else far,
    )


def draw_forest(
    data: pl.DataFrame, projections: Sequence[str], pair: tuple[Group, Group], pairs: Pairs, style: Style
) -> Figure:
    """Draw a row of panels for each measure, a column for each control, a line for each projection."""
    measures = [measure for measure in MAIN_MEASURES if measure in set(data["measure"])]
    panels = [(measure, control) for measure in measures for control in CONTROLS]
    canvas = make_canvas(style, len(panels), len(CONTROLS))
    for index, (axes, (measure, control)) in enumerate(zip(canvas.panels, panels, strict=True)):
        axes.set_label(f"{measure}|{control}")
        if control == "regression":  # both ratios on one axis
            axes.sharex(canvas.panels[index - 1])
        if CONTROLS[control].ratio:
            set_logarithmic(axes.xaxis)
        draw_reference(axes, CONTROLS[control].none, style)
        pale = not pairs.overlap and control != "matched"
        _draw_effects(axes, style, data.filter(measure=measure, control=control), projections, pale)
        set_rows(axes, projections, labels=canvas.first_of_row(index))
        axes.set_xlabel(CONTROLS[control].axis if canvas.lowest(index) else "")
        if canvas.first_of_row(index):
            canvas.label_y(axes, title(measure))
    canvas.add_legend(_legend(style), [Heading(group.name, sample_size(group.n)) for group in pair])
    notes = [_note(data.filter(measure=measure, control=control), pairs) for measure, control in panels]
    headings = [Heading(CONTROLS[control].heading, note) for (_, control), note in zip(panels, notes, strict=True)]
    return canvas.finish(headings, 1.7 * style.tick_font * len(projections) / 72)


def _note(data: pl.DataFrame, pairs: Pairs) -> str:
    """Return the number of pairs, from the fewest to the most; for other controls a missing common support."""
    if data["control"][0] != "matched":
        return "" if pairs.overlap else "no common support"
    counts = sorted({int(n or 0) for n in data.filter(held="length")["n"]})
    if counts[-1] == 0:
        return "no pairs"
    return f"{counts[0]:,} pair{'s' * (counts[0] != 1)}" if len(counts) == 1 else f"{counts[0]:,}–{counts[-1]:,} pairs"


def _legend(style: Style) -> list[Entry]:
    def mark(face: str) -> Line2D:
        return Line2D([], [], color=OTHER_COLOUR, marker="o", markerfacecolor=face, markersize=1.5 * style.marker)

    return [Entry("raw", "", mark("white")), Entry("length-controlled", "", mark(OTHER_COLOUR))]


def _draw_effects(axes: Axes, style: Style, data: pl.DataFrame, projections: Sequence[str], pale: bool) -> None:
    """Draw the raw effect of each projection, hollow, over the length-controlled one, pale without common support."""
    numbers = data.select("projection", "held", pl.col("value", "low", "high").fill_null(float("nan")))
    for projection, held, value, *interval in numbers.filter(pl.col("projection").is_in(projections)).rows():
        y = projections.index(projection) + (0.18 if held == "length" else -0.18)
        label = f"{projection}|{held}"
        filled = held == "length"
        look = projection_look(projection)
        draw_mark(axes, style, look, y, value, interval, filled=filled, label=label, pale=pale and filled)
