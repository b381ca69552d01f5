"""The answer of a comparison in one picture: is it better, or just longer? A row for each contrast and main measure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gradprism.comparison.comparison import Comparison, Finding
from gradprism.comparison.findings import KINDS as KINDS_OF_FINDING
from gradprism.comparison.findings import by_importance
from gradprism.figures.canvas import LOG_SCALE, Canvas, Entry, Heading, make_canvas
from gradprism.figures.colours import OTHER_COLOUR, projection_look
from gradprism.figures.marks import BARS, draw_mark, mark_entry, set_ratio_axis, set_rows
from gradprism.figures.plot import FigureKind, Missing, Plot, Plots, caption_of, groups_in_words, has_numbers
from gradprism.figures.ratios import (
    CONTROL_MARKS,
    PAIRED,
    RAW,
    controls_in_words,
    layer_mean,
    main_measures,
    ratios,
)
from gradprism.figures.styles import Style
from gradprism.figures.text import distinct, literal
from gradprism.metrics.titles import title
from gradprism.prism.measures import MEAN

NAME = "answer"
MOST_CONTRASTS = 12  # more would need a page of their own
UNDECIDED = ("unclear", "none", "chosen", "missing")  # kinds of findings, drawn in grey
_STRIP_COLOUR = "#F0F0F0"


@dataclass(frozen=True)
class Row:
    """A line of the figure: a contrast, or a measure of the contrast above it with the verdict."""

    first: str
    second: str
    measure: str | None = None
    kind: str = ""


def answer_plots(comparison: Comparison, _: frozenset[str]) -> Plots:
    """Yield raw and length-controlled ratios of all contrasts, those decided first, each with its verdict."""
    measures = main_measures(comparison)
    found = by_importance([each for each in comparison.findings if each.measure in measures])
    rows = _rows(found)
    shown = pl.DataFrame([(row.first, row.second, row.measure) for row in rows if row.measure], orient="row",
                         schema=dict.fromkeys(("first", "second", "measure"), pl.String))  # fmt: skip
    means = ratios(comparison, layer_mean(), pl.col("projection") == MEAN)
    means = means.filter((pl.col("control") == RAW) | pl.col("decides"))
    data = shown.join(means, on=shown.columns, how="inner", maintain_order="left_right")
    if not comparison.contrasts:
        yield Missing(NAME, "there is only one group")
    elif not has_numbers(data, "value"):
        yield Missing(NAME, "no effect could be computed")
    else:
        kinds = {(row.first, row.second, row.measure): row.kind for row in rows}
        verdict = [_verdict(kinds[key]) for key in data.select("first", "second", "measure").rows()]
        data = data.with_columns(verdict=pl.Series(verdict, dtype=pl.String)).drop("layer", "decides")
        yield Plot(NAME, _caption(comparison, measures, data), data, partial(draw_answer, data, rows))


KINDS = (FigureKind(5, answer_plots, by_group_of_pairs=True),)


def _rows(found: Sequence[Finding]) -> list[Row]:
    """Return the lines from the top: each contrast, and under it its measures."""
    contrasts: dict[tuple[str, str], list[Row]] = {}
    for each in found:
        measures = contrasts.setdefault((each.first, each.second), [Row(each.first, each.second)])
        measures.append(Row(each.first, each.second, each.measure, each.kind))
    return [row for rows in list(contrasts.values())[:MOST_CONTRASTS] for row in rows]


def _verdict(kind: str) -> str:
    return KINDS_OF_FINDING[kind].name if kind in KINDS_OF_FINDING else kind


def _caption(comparison: Comparison, measures: Sequence[str], data: pl.DataFrame) -> str:
    left_out = len(comparison.contrasts) - data.select("first", "second").n_unique()
    return caption_of(
        comparison,
        f"Ratio of the geometric means of {' and '.join(map(title, measures))} (mean over layers and projections), the "
        f"first group of each contrast over the second{_marks_in_words(comparison)} {BARS} "
        f"Contrasts that are decided come first. {groups_in_words(comparison.groups)}.",
        controls_in_words(data),
        f"{left_out} further contrasts are not shown." if left_out > 0 else "",
    )


def _marks_in_words(comparison: Comparison) -> str:
    if comparison.paired:
        return ", in the same rows; the verdict is at the right."
    return ". Hollow: raw. Filled: length-controlled, by the control on which the verdict at the right rests."


def draw_answer(data: pl.DataFrame, rows: Sequence[Row], style: Style) -> Figure:
    """Draw a line for each contrast and measure: its ratios, and the verdict at the right."""
    canvas = make_canvas(style, 1)
    canvas.figure.set_figwidth(style.text_width)
    axes = canvas.panels[0]
    axes.set_label(NAME)
    set_rows(axes, [literal(title(row.measure)) if row.measure else "" for row in rows], labels=True)
    set_ratio_axis(axes, style, data)
    controls = [control for control in CONTROL_MARKS if control in set(data["control"])]
    for y, row in enumerate(rows):
        if row.measure is None:
            _draw_strip(axes, style, y)
        else:
            _draw_row(axes, style, data.filter(first=row.first, second=row.second, measure=row.measure), y)
            colour = OTHER_COLOUR if row.kind in UNDECIDED else "black"
            axes.text(1.015, y, _verdict(row.kind), transform=axes.get_yaxis_transform(), va="center_baseline",
                      fontsize=style.tick_font, color=colour)  # fmt: skip
    axes.set_xlabel(f"ratio {LOG_SCALE}")
    canvas.add_legend([_entry(style, control) for control in controls if control != PAIRED])
    figure = canvas.finish([Heading("first group over the second")], 1.75 * style.tick_font * len(rows) / 72)
    _write_contrasts(canvas, rows)
    return figure


def _entry(style: Style, control: str) -> Entry:
    mark = replace(CONTROL_MARKS[control], size=1.0)
    return mark_entry(style, control, mark) if control == RAW else mark_entry(style, "length-controlled", mark, control)


def _draw_strip(axes: Axes, style: Style, y: int) -> None:
    """Draw the ground on which the names of a contrast stand, over the grid."""
    axes.add_patch(Rectangle((0, y - 0.42), 1, 0.84, transform=axes.get_yaxis_transform(), color=_STRIP_COLOUR,
                             linewidth=0, zorder=1.5))  # fmt: skip


def _draw_row(axes: Axes, style: Style, data: pl.DataFrame, y: int) -> None:
    ends = pl.col("value", "low", "high").fill_null(float("nan"))
    for control, support, value, *interval in data.select("control", "support", ends).rows():
        mark = CONTROL_MARKS[control]
        look = replace(projection_look(MEAN), marker=mark.marker)
        label = f"{data['first'][0]}|{data['second'][0]}|{data['measure'][0]}|{control}"
        beside = {RAW: -0.16, PAIRED: 0.0}.get(control, 0.16)
        draw_mark(axes, style, look, y + beside, value, interval, filled=mark.filled,
                  label=label, pale=not support)  # fmt: skip


def _write_contrasts(canvas: Canvas, rows: Sequence[Row]) -> None:
    """Write the names of each contrast into its strip, as wide as there is room."""
    axes, style = canvas.panels[0], canvas.style
    across = axes.get_position().width * canvas.figure.get_figwidth()
    contrasts = [(y, row) for y, row in enumerate(rows) if row.measure is None]
    most = 0.46 * across - 2.5 * style.tick_font / 72
    names = distinct([name for _, row in contrasts for name in (row.first, row.second)], most, style, style.tick_font)
    for (y, _), first, second in zip(contrasts, names[::2], names[1::2], strict=True):
        axes.text(0.01, y, f"{literal(first)} against {literal(second)}", transform=axes.get_yaxis_transform(),
                  va="center_baseline", fontsize=style.tick_font)  # fmt: skip
