"""Ratios of two groups for each layer and projection, raw and length-controlled, in one range of colours."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from gradprism.comparison.comparison import Comparison, Group
from gradprism.comparison.length_controls import ALPHA
from gradprism.figures.canvas import Canvas, Heading, make_canvas, sample_size
from gradprism.figures.colours import DIVERGING_MAP, NO_VALUE_COLOUR, PALE
from gradprism.figures.names import file_name
from gradprism.figures.plot import FigureKind, Missing, Plot, Plots, caption_of, groups_in_words, has_numbers
from gradprism.figures.ratios import (
    PAIRED,
    RAW,
    WEIGHTED,
    controls_in_words,
    main_measures,
    projections_of,
    ratios,
)
from gradprism.figures.styles import Style
from gradprism.figures.ticks import number_label, set_whole
from gradprism.metrics.titles import title

SHOWN = {RAW: "raw", WEIGHTED: "length-controlled", PAIRED: "in the same rows"}
TICKS: Mapping[float, Sequence[float]] = {  # by the greatest factor that has a colour of its own
    1.25: (0.8, 0.9, 1, 1.1, 1.25),
    1.5: (0.67, 0.8, 1, 1.25, 1.5),
    2: (0.5, 0.7, 1, 1.4, 2),
    4: (0.25, 0.5, 1, 2, 4),
}


def heatmap_plots(comparison: Comparison, _: frozenset[str]) -> Plots:
    """Yield ratios of the main measures in each cell, raw and with overlap weights, in the same colours everywhere."""
    if not comparison.contrasts:
        yield Missing("effect-heatmap", "there is only one group")
    measures = main_measures(comparison)
    everything = ratios(comparison, pl.col("layer").is_not_null(), pl.col("measure").is_in(measures))
    everything = everything.filter(pl.col("control").is_in([*SHOWN]))
    greatest = greatest_colour(everything)
    for first, second in comparison.contrasts:
        name = f"effect-heatmap-{file_name(first)}-{file_name(second)}"
        data = everything.filter(first=first, second=second).drop("decides")
        if not has_numbers(data, "value"):
            yield Missing(name, "no effect could be computed in any layer")
        elif data["layer"].n_unique() < 2:
            yield Missing(name, "one layer only was measured")
        else:
            pair = (comparison.group(first), comparison.group(second))
            draw = partial(draw_heatmap, data, measures, projections_of(comparison, data), pair, greatest)
            yield Plot(name, _caption(comparison, measures, pair, data, greatest), data, draw)


KINDS = (FigureKind(50, heatmap_plots, by_contrast=True),)


def greatest_colour(data: pl.DataFrame) -> float:
    """Return the factor at the end of the colour scale of all contrasts: a round one above what half of them reach."""
    shown = data.filter(pl.col("value").is_finite() & (pl.col("value") > 0) & pl.col("support"))
    reached = shown.group_by("first", "second").agg(pl.col("value").log().abs().max())["value"].to_list()
    most = median(reached) if reached else 0.0
    return next((factor for factor in TICKS if math.log(factor) >= most), max(TICKS))


def _caption(
    comparison: Comparison, measures: Sequence[str], pair: tuple[Group, Group], data: pl.DataFrame, greatest: float
) -> str:
    first, second = pair
    panels = (
        ", in the same rows."
        if comparison.paired
        else (
            ". Left: raw. Right: overlap weights with regression on prompt and response tokens, on which verdicts rest."
        )
    )
    return caption_of(
        comparison,
        f"Ratio of the geometric means of {' and '.join(map(title, measures))} by layer and projection, "
        f"{groups_in_words([first])} over {groups_in_words([second])}{panels} A dot marks a difference that is "
        f"found: 95% interval without 1, p adj. (Benjamini-Hochberg) below {ALPHA:g}. Grey: no value. The scale of "
        f"colours is logarithmic, the same in all contrasts of the comparison, from a factor of 1/{greatest:g} to "
        f"{greatest:g}.",
        "Ratios beyond it have its end colours." if _exceeds(data, greatest) else "",
        controls_in_words(data),
    )


def _exceeds(data: pl.DataFrame, greatest: float) -> bool:
    finite = data.filter(pl.col("value").is_finite())["value"]
    return bool((finite.log().abs() > math.log(greatest)).any())


def draw_heatmap(
    data: pl.DataFrame, measures: Sequence[str], projections: Sequence[str], pair: tuple[Group, Group],
    greatest: float, style: Style,
) -> Figure:  # fmt: skip
    """Draw a row of panels for each measure, raw and length-controlled beside each other, and one colour scale."""
    shown = [measure for measure in measures if measure in set(data["measure"])]
    panels = [(measure, control) for measure in shown for control in SHOWN if control in set(data["control"])]
    canvas = make_canvas(style, len(panels), 2)
    norm = LogNorm(1 / greatest, greatest)
    for index, (axes, (measure, control)) in enumerate(zip(canvas.panels, panels, strict=True)):
        axes.set_label(f"{measure}|{control}")
        _draw_cells(axes, style, data.filter(measure=measure, control=control), projections, norm)
        axes.tick_params(axis="y", labelleft=canvas.first_of_row(index))
        axes.set_xlabel("layer" if canvas.lowest(index) else "")
    _draw_colour_scale(canvas, norm, greatest, beyond=_exceeds(data, greatest))
    canvas.add_legend([], [Heading(group.name, sample_size(group.n)) for group in pair])
    supported = {control for control, support in data.select("control", "support").rows() if support}
    notes = ["" if control in supported else "no common support" for _, control in panels]
    names = [f"{title(measure)}: {SHOWN[control]}" for measure, control in panels]
    return canvas.finish([*map(Heading, names, notes)], 1.5 * style.tick_font * len(projections) / 72)


def _draw_cells(axes: Axes, style: Style, data: pl.DataFrame, projections: Sequence[str], norm: LogNorm) -> None:
    """Draw projections x layers, pale without common support, with a dot where a difference is found."""
    layers, rows = sorted(data["layer"].unique()), pl.DataFrame({"projection": projections})
    value, significant, support = (
        rows.join(data.pivot("layer", index="projection", values=name), "projection", "left", maintain_order="left")
        .select(map(str, layers)).cast(pl.Float64).to_numpy()
        for name in ("value", "significant", "support")
    )  # fmt: skip
    axes.set_facecolor(NO_VALUE_COLOUR)
    axes.grid(False)
    for pale in (True, False):
        cells = np.ma.masked_where(~np.isfinite(value) | ((support == 1) == pale), value)
        if cells.count():
            axes.pcolormesh(layers, range(len(projections)), cells, cmap=_colour_map(pale), norm=norm,
                            shading="nearest", label="pale" if pale else "supported")  # fmt: skip
    found, at = np.nonzero((significant == 1) & np.isfinite(value))
    cell = 0.4 * style.text_width * 72 / len(layers)  # points across, about
    size = min(0.3 * style.tick_font, max(0.7, 0.45 * cell))
    axes.scatter(np.array(layers)[at], found, s=size**2, c="black", edgecolors="white", linewidths=0.2 * size,
                 label="significant")  # fmt: skip
    axes.set_xlim(layers[0] - 0.5, layers[-1] + 0.5)
    set_whole(axes.xaxis)
    axes.set_yticks(range(len(projections)), projections)
    axes.set_ylim(len(projections) - 0.5, -0.5)


def _colour_map(pale: bool) -> Colormap:
    """Return the map of effects; `pale` mixed with white, for what is no evidence."""
    whole = matplotlib.colormaps[DIVERGING_MAP]
    return ListedColormap(1 - PALE * (1 - whole(np.linspace(0, 1, 256)))) if pale else whole


def _draw_colour_scale(canvas: Canvas, norm: LogNorm, greatest: float, *, beyond: bool) -> None:
    scale = canvas.figure.colorbar(
        ScalarMappable(norm, DIVERGING_MAP), ax=list(canvas.panels), location="bottom", aspect=50, shrink=0.7,
        pad=0.02, extend="both" if beyond else "neither",
    )  # fmt: skip
    scale.locator, scale.minorlocator = FixedLocator(TICKS[greatest]), NullLocator()
    scale.formatter = FuncFormatter(number_label)
    scale.set_label("ratio (1: no difference)")
    scale.outline.set_linewidth(0.4 * canvas.style.line)
