"""Draw a claim over all contrasts and models of a study: a panel for raw figures and for each length control."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradprism.figures.canvas import LOG_SCALE, Heading, line_entry, make_canvas
from gradprism.figures.colours import model_look
from gradprism.figures.lines import draw_reference
from gradprism.figures.marks import BARS, draw_mark, set_ratio_axis, set_rows
from gradprism.figures.names import file_name
from gradprism.figures.plot import Missing, Plot, has_numbers, one_line
from gradprism.figures.ratios import MATCHED, RAW, WEIGHTED
from gradprism.figures.styles import Style
from gradprism.figures.text import distinct, literal
from gradprism.metrics.titles import headed, title
from gradprism.study.claims import Kind, is_of_ratios, means, table_kind
from gradprism.study.settings import NEAR

REGRESSED = "length regressed out"
_MOST_COLUMNS = 4
_NAMES = 0.25  # most of the width that names of contrasts may take
_BARS = "Bars are 95% intervals."
_HOLLOW = " Hollow: no common support, the sets hardly overlap in length, so that this is no evidence."


@dataclass(frozen=True)
class Axis:
    """The horizontal axis of all panels."""

    heading: str
    label: str
    reference: float | None
    log: bool = False


@dataclass(frozen=True)
class _Panel:
    """One panel: rows, and the columns drawn."""

    control: str
    rows: pl.DataFrame
    value: str
    ends: str
    n: str | pl.Expr | None = None
    support: pl.Expr | None = None

    def data(self, log: bool) -> pl.DataFrame:
        """Return a row for each mark."""
        of = {"value": self.value, "low": f"{self.ends}_low", "high": f"{self.ends}_high"}
        numbers = [pl.col(column).cast(pl.Float64).alias(name) for name, column in of.items()]
        support = pl.lit(True) if self.support is None else self.support
        n = pl.col(self.n) if isinstance(self.n, str) else self.n
        return self.rows.select(
            "model", "contrast", pl.lit(self.control).alias("control"),
            pl.lit(None, pl.Int64).alias("n") if n is None else n.round().cast(pl.Int64).alias("n"),
            support.fill_null(True).alias("support"), *(each.exp() if log else each for each in numbers),
        )  # fmt: skip


Made = tuple[Axis, list[_Panel], str]  # and the caption


def claim_plot(name: str, says: str, table: pl.DataFrame, whole: str, cut: Mapping[str, str]) -> Plot | Missing:
    """Plot the table of one claim, its means over projections.

    `whole` is the text that controls no length; `cut` has those that cut every response, and how, in words.
    """
    table = means(table)
    figure, kind = f"claim-{file_name(name)}", table_kind(table)
    if kind is None or table.is_empty():
        return Missing(figure, "nothing was compared")
    axis, parts, caption = _KINDS[kind](table, whole, cut)
    data = pl.concat([part.data(axis.log) for part in parts])
    if not has_numbers(data, "value"):
        return Missing(figure, "there is no number to draw")
    windows = "".join(f" {text}: {how}." for text, how in cut.items() if text in data["control"])
    caption = f"{one_line(says)}. {caption}{windows}"
    models = tuple(data["model"].unique(maintain_order=True))
    return Plot(figure, caption, data, partial(draw_claim, data, models, axis))


def _effects(table: pl.DataFrame, whole: str, cut: Mapping[str, str]) -> Made:
    """Lay out ratios of geometric means, or differences of means for a measure that is compared by them."""
    first, measure = table.filter(text=whole), table["measure"][0]
    effective_rows = pl.col("weighted_n_first") + pl.col("weighted_n_second")
    parts = [
        _Panel(RAW, first, "raw_effect", "raw_effect", "regression_n"),
        _Panel(WEIGHTED, first, "weighted_effect", "weighted", effective_rows, pl.col("support")),
        _Panel(MATCHED, first, "matched_effect", "matched", "matched_pairs"),
        *(_Panel(text, table.filter(text=text), "raw_effect", "raw_effect", "regression_n") for text in cut),
    ]
    ratio = is_of_ratios(table)
    caption = (
        f"{'Ratio of the geometric' if ratio else 'Difference of the'} means of {title(measure)} (mean over layers and "
        "projections), first set and second, for each contrast and model: raw; by overlap weights, on which verdicts "
        "rest (a row counts as its lengths are found in the other set too, and lengths are regressed out besides); in "
        f"length-matched pairs. {BARS if ratio else _BARS}{_HOLLOW}"
    )
    if ratio:
        return Axis(f"{headed(measure)}: first set over second", f"ratio {LOG_SCALE}", 1.0, log=True), parts, caption
    return Axis(f"{headed(measure)}: first set less second", "difference", 0.0), parts, caption


def _separations(table: pl.DataFrame, whole: str, cut: Mapping[str, str]) -> Made:
    first = table.filter(text=whole)
    parts = [
        _Panel(RAW, first, "difference", "difference", "n_first"),
        _Panel(REGRESSED, first, "held_difference", "held_difference", "n_first", ~pl.col("held_extrapolates")),
        *(_Panel(text, table.filter(text=text), "difference", "difference", "n_first") for text in cut),
    ]
    caption = (
        "How much better effective rank separates the two sets of each contrast than nuclear norm does: difference of "
        f"the areas under their ROC curves, each as AUC or 1 - AUC, whichever is larger. {_BARS}{_HOLLOW}"
    )
    return Axis("Separation by effective rank less that by nuclear norm", "difference of AUC", 0.0), parts, caption


def _cosines(table: pl.DataFrame, whole: str, cut: Mapping[str, str]) -> Made:
    """Lay out a panel for each pair, a line for each set."""
    first = table.filter(text=whole).with_columns(contrast=pl.col("set"))
    pairs = first["pair"].unique(maintain_order=True).to_list()
    parts = [_Panel(pair, first.filter(pair=pair), "median_abs", "median_abs", "n") for pair in pairs]
    caption = (
        f"Median size of the cosines over examples and layers, of each set and model. {_BARS} The line is at {NEAR}."
    )
    return Axis("Median size of cosines", "median of |cosine|", NEAR), parts, caption


def _curves(table: pl.DataFrame, whole: str, cut: Mapping[str, str]) -> Made:
    titles = {measure: title(measure) for measure in table["measure"].unique()}
    named = table.with_columns(contrast=pl.col("measure").replace(titles) + ", " + pl.col("kind"))
    parts = [
        _Panel(text, named.filter(text=text), "below_same_model", "below", "n_pairs")
        for text in table["text"].unique(maintain_order=True)
    ]
    caption = (
        "How much lower the correlation r of mean curves over depth is between models than between sets of one model "
        f"(medians over pairs of curves). {_BARS}"
    )
    return Axis("Agreement of curves within a model less between models", "difference of r", 0.0), parts, caption


def _changes(table: pl.DataFrame, whole: str, cut: Mapping[str, str]) -> Made:
    first = table.filter(text=whole)
    parts = [
        _Panel(f"{side}{' set' if text == whole else f', {text}'}", rows, f"mean_{side}", side)
        for text, rows in ((whole, first), *((text, table.filter(text=text)) for text in cut))
        for side in ("first", "second")
        if not rows.is_empty()
    ]
    parts = [replace(part, rows=part.rows.filter(pl.col(part.value) > 0).with_columns(
        pl.col(part.value, f"{part.ends}_low", f"{part.ends}_high").log())) for part in parts]  # fmt: skip
    measure = table["measure"][0].removeprefix("mad:")
    caption = (
        f"Mean absolute difference of {title(measure)} between neighbouring layers, of each set. It is larger for "
        f"larger gradients. {_BARS}"
    )
    return Axis(f"Change of {title(measure)} from layer to layer", f"MAD {LOG_SCALE}", None, log=True), parts, caption


_KINDS: dict[Kind, Callable[[pl.DataFrame, str, Mapping[str, str]], Made]] = {
    "effects": _effects, "separation": _separations, "cosines": _cosines, "curves": _curves, "changes": _changes,
}  # fmt: skip


def draw_claim(data: pl.DataFrame, models: Sequence[str], axis: Axis, style: Style) -> Figure:
    """Draw a panel for each control, a row for each contrast, a colour for each model."""
    controls = data["control"].unique(maintain_order=True).to_list()
    contrasts = data["contrast"].unique(maintain_order=True).to_list()
    columns = len(controls) if len(controls) <= _MOST_COLUMNS else math.ceil(len(controls) / 2)
    canvas = make_canvas(style, len(controls), columns)
    names = [literal(name) for name in distinct(contrasts, _NAMES * style.text_width, style, style.tick_font)]
    canvas.share_x(log=axis.log)
    for index, (axes, control) in enumerate(zip(canvas.panels, controls, strict=True)):
        axes.set_label(control)
        if axis.log and axis.reference:
            set_ratio_axis(axes, style, data)
        elif axis.reference is not None:
            draw_reference(axes, axis.reference, style)
        _draw_marks(axes, style, data.filter(control=control), contrasts, models)
        set_rows(axes, names, labels=canvas.first_of_row(index))
    canvas.figure.supxlabel(axis.label)
    canvas.add_legend(
        [line_entry(model, model_look(index)) for index, model in enumerate(models)], [Heading(axis.heading)]
    )
    height = 1.5 * style.tick_font * (len(contrasts) * max(len(models) / 2, 1) + 1) / 72
    return canvas.finish([Heading(control) for control in controls], height)


def _draw_marks(axes: Axes, style: Style, data: pl.DataFrame, contrasts: Sequence[str], models: Sequence[str]) -> None:
    step = 0.6 / max(len(models), 2)
    for row in data.filter(pl.col("value").is_finite()).iter_rows(named=True):
        model, filled = models.index(row["model"]), row["support"]
        y = contrasts.index(row["contrast"]) + (model - (len(models) - 1) / 2) * step
        interval = [row[end] if row[end] is not None else math.nan for end in ("low", "high")]
        draw_mark(axes, style, model_look(model), y, row["value"], interval, filled=filled,
                  linestyle="-" if filled else ":")  # fmt: skip
