"""Ratios of two groups by measure and projection on one axis: raw, and under each control of length."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradprism.comparison.comparison import Comparison, Group
from gradprism.figures.canvas import LOG_SCALE, Entry, Heading, make_canvas, sample_size
from gradprism.figures.colours import projection_look
from gradprism.figures.marks import BARS, draw_mark, mark_entry, set_ratio_axis, set_rows
from gradprism.figures.names import file_name
from gradprism.figures.plot import FigureKind, Missing, Plot, Plots, caption_of, groups_in_words, has_numbers
from gradprism.figures.ratios import (
    CONTROL_MARKS,
    RAW,
    controls_in_words,
    layer_mean,
    main_measures,
    of_contrast,
    projections_of,
    ratios,
    sizes_in_words,
)
from gradprism.figures.styles import Style
from gradprism.metrics.titles import title
from gradprism.prism.measures import MEAN


def forest_plots(comparison: Comparison, _: frozenset[str]) -> Plots:
    """Yield ratios of the layer means of the main measures, raw and under each control of length."""
    if not comparison.contrasts:
        yield Missing("effect-forest", "there is only one group")
    measures = main_measures(comparison)
    for first, second in comparison.contrasts:
        name = f"effect-forest-{file_name(first)}-{file_name(second)}"
        data = ratios(comparison, of_contrast(first, second), layer_mean(), pl.col("measure").is_in(measures))
        if not has_numbers(data, "value"):
            yield Missing(name, "no effect could be computed")
            continue
        pair = (comparison.group(first), comparison.group(second))
        draw = partial(draw_forest, data, measures, projections_of(comparison, data), pair)
        yield Plot(name, _caption(comparison, measures, pair, data), data, draw)


KINDS = (FigureKind(60, forest_plots, by_contrast=True),)


def _caption(comparison: Comparison, measures: Sequence[str], pair: tuple[Group, Group], data: pl.DataFrame) -> str:
    first, second = pair
    marks = (
        ", in the same rows."
        if comparison.paired
        else (
            ". Hollow: raw. Filled: overlap weights with regression on prompt and response tokens. Small: other length "
            "controls."
        )
    )
    deciding = " and ".join(data.filter(pl.col("decides"), projection=MEAN)["control"].unique(maintain_order=True))
    return caption_of(
        comparison,
        f"Ratio of the geometric means of {' and '.join(map(title, measures))} (mean over layers), "
        f"{groups_in_words([first])} over {groups_in_words([second])}, by projection{marks} {BARS}",
        controls_in_words(data),
        f"The verdict rests on {deciding}." if deciding and not comparison.paired else "",
    )


def draw_forest(
    data: pl.DataFrame, measures: Sequence[str], projections: Sequence[str], pair: tuple[Group, Group], style: Style
) -> Figure:
    """Draw a panel for each measure, under each other on one axis; a line for each projection, a mark each control."""
    shown = [measure for measure in measures if measure in set(data["measure"])]
    controls = [control for control in CONTROL_MARKS if sizes_in_words(data, control)]
    canvas = make_canvas(style, len(shown), 1)
    for axes, measure in zip(canvas.panels, shown, strict=True):
        axes.set_label(measure)
        set_rows(axes, projections, labels=True)
        set_ratio_axis(axes, style, data)
        _draw_rows(axes, style, data.filter(measure=measure), projections, controls)
        axes.tick_params(axis="x", labelbottom=axes is canvas.panels[-1])
    canvas.panels[-1].set_xlabel(f"ratio {LOG_SCALE}")
    legend = [_entry(data, control, style) for control in controls]
    canvas.add_legend(legend, [Heading(group.name, sample_size(group.n)) for group in pair])
    height = (0.5 + 0.45 * max(len(controls), 2)) * style.tick_font * len(projections) / 72
    return canvas.finish([Heading(title(measure)) for measure in shown], height)


def _entry(data: pl.DataFrame, control: str, style: Style) -> Entry:
    """Explain a mark, with the rows or pairs that it is of."""
    supported = data.filter(control=control)["support"].any()
    note = "" if control == RAW else sizes_in_words(data, control) if supported else "no common support"
    return mark_entry(style, control, CONTROL_MARKS[control], note)


def _draw_rows(
    axes: Axes, style: Style, data: pl.DataFrame, projections: Sequence[str], controls: Sequence[str]
) -> None:
    """Draw the marks of each projection under each other in its row, in the order of the legend."""
    step = 0.72 / len(controls)
    ends = pl.col("value", "low", "high").fill_null(float("nan"))
    for projection, control, support, *numbers in data.select("projection", "control", "support", ends).rows():
        if control not in controls:
            continue
        mark = CONTROL_MARKS[control]
        y = projections.index(projection) + step * (controls.index(control) - (len(controls) - 1) / 2)
        look = replace(projection_look(projection), marker=mark.marker)
        draw_mark(axes, style, look, y, numbers[0], numbers[1:], filled=mark.filled, label=f"{projection}|{control}",
                  pale=not support, size=mark.size)  # fmt: skip
