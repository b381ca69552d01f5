"""Effect sizes of two groups for each layer and projection, raw and length-controlled."""

from collections.abc import Sequence
from functools import partial

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LinearLocator

from gradprism.comparison.comparison import Comparison, Group
from gradprism.comparison.length_controls import ALPHA
from gradprism.figures.canvas import Canvas, Heading, make_canvas, sample_size
from gradprism.figures.colours import DIVERGING_MAP, NO_VALUE_COLOUR, PALE
from gradprism.figures.names import file_name
from gradprism.figures.pairs import Pairs, pairs_in_length
from gradprism.figures.plot import FigureKind, Missing, Plot, Plots, caption_of, groups_in_words, has_numbers
from gradprism.figures.styles import Style
from gradprism.figures.ticks import set_whole
from gradprism.metrics.titles import title
from gradprism.prism.measures import MAIN_MEASURES, MEAN

STATISTICS = {"auc": ("q", "AUC"), "partial_spearman": ("partial_q", "partial Spearman ρ")}
RANGES = {"auc": (0.0, 1.0), "partial_spearman": (-1.0, 1.0)}  # the same for all contrasts, so that they compare


def heatmap_plots(comparison: Comparison, _: frozenset[str]) -> Plots:
    """Yield AUC, and beside it Spearman's correlation given lengths, of nuclear norm and effective rank."""
    if not comparison.contrasts:
        yield Missing("effect-heatmap", "there is only one group")
    for first, second in comparison.contrasts:
        name = f"effect-heatmap-{file_name(first)}-{file_name(second)}"
        pairs = pairs_in_length(comparison, first, second)
        data = _effects(comparison, first, second, pairs)
        if data["layer"].n_unique() < 2:
            yield Missing(name, "one layer only was measured")
        elif not has_numbers(data, "value"):
            yield Missing(name, "no effect could be computed in any layer")
        else:
            projections = [p for p in (*comparison.projections, MEAN) if p in set(data["projection"])]
            pair = (comparison.group(first), comparison.group(second))
            yield Plot(name, _caption(comparison, pair, pairs), data, partial(draw_heatmap, data, projections, pair))


KINDS = (FigureKind(50, heatmap_plots, by_contrast=True),)


def _effects(comparison: Comparison, first: str, second: str, pairs: Pairs) -> pl.DataFrame:
    """Return a row for each cell; without common support no cell is significant, however small its adjusted p."""
    effects = comparison.effects.filter(
        pl.col("measure").is_in(MAIN_MEASURES), pl.col("layer").is_not_null(), first=first, second=second
    )
    keys = ("first", "second", "measure", "projection", "layer", "n_first", "n_second")
    extrapolates = {"auc": False, "partial_spearman": not pairs.overlap}
    parts = [
        effects.select(
            *keys,
            pl.lit(name).alias("statistic"),
            pl.col(name).alias("value"),
            pl.col(q).alias("q"),
            pl.lit(extrapolates[name]).alias("extrapolates"),
            ((pl.col(q) < ALPHA) & ~pl.lit(extrapolates[name])).alias("significant"),
        )
        for name, (q, _) in STATISTICS.items()
    ]
    return pl.concat(parts).sort("measure", "statistic", maintain_order=True)


def _caption(comparison: Comparison, pair: tuple[Group, Group], pairs: Pairs) -> str:
    first, second = pair
    far = "" if pairs.overlap else "The partial correlation lacks common support there, is no evidence, and is pale."
    return caption_of(
        comparison,
        f"Effect of the group on nuclear norm and effective rank by layer and projection, {groups_in_words([first])} "
        f"against {groups_in_words([second])}. Left: AUC, the probability that an example of the first exceeds one of "
        "the second. Right: Spearman correlation with membership in the first, given prompt and response tokens. "
        f"A dot marks a significant effect (p adj., Benjamini-Hochberg, below {ALPHA:g}); grey: no value. Colours "
        "have the same range in all such figures.",
        pairs.sentence,
        far,
    )


def draw_heatmap(data: pl.DataFrame, projections: Sequence[str], pair: tuple[Group, Group], style: Style) -> Figure:
    """Draw a row of panels for each measure, a column and a colour scale for each statistic."""
    measures = [measure for measure in MAIN_MEASURES if measure in set(data["measure"])]
    panels = [(measure, statistic) for measure in measures for statistic in STATISTICS]
    far = set(data.filter(pl.col("extrapolates"))["statistic"])
    canvas = make_canvas(style, len(panels), 2)
    norms = {statistic: Normalize(*RANGES[statistic]) for statistic in STATISTICS}
    for index, (axes, (measure, statistic)) in enumerate(zip(canvas.panels, panels, strict=True)):
        axes.set_label(f"{measure}|{statistic}")
        own = data.filter(measure=measure, statistic=statistic)
        _draw_cells(axes, style, own, projections, norms[statistic], statistic in far)
        axes.tick_params(axis="y", labelleft=canvas.first_of_row(index))
        axes.set_xlabel("layer" if canvas.lowest(index) else "")
    for column, (statistic, norm) in enumerate(norms.items()):
        _draw_colour_scale(canvas, column, norm, f"{STATISTICS[statistic][1]}  (white: none)")
    canvas.add_legend([], [Heading(group.name, sample_size(group.n)) for group in pair])
    notes = ["no common support" if statistic in far else "" for _, statistic in panels]
    names = [f"{title(measure)}: {STATISTICS[statistic][1]}" for measure, statistic in panels]
    return canvas.finish([*map(Heading, names, notes)], 1.5 * style.tick_font * len(projections) / 72)


def _draw_cells(
    axes: Axes, style: Style, data: pl.DataFrame, projections: Sequence[str], norm: Normalize, pale: bool
) -> None:
    """Draw projections x layers, with a dot in all cells that are significant."""
    layers, rows = sorted(data["layer"].unique()), pl.DataFrame({"projection": projections})
    value, significant = (
        rows.join(data.pivot("layer", index="projection", values=name), "projection", "left", maintain_order="left")
        .select(map(str, layers)).cast(pl.Float64).to_numpy()
        for name in ("value", "significant")
    )  # fmt: skip
    axes.set_facecolor(NO_VALUE_COLOUR)
    axes.grid(False)
    shown = np.ma.masked_invalid(value)
    axes.pcolormesh(layers, range(len(projections)), shown, cmap=_colour_map(pale), norm=norm, shading="nearest")
    found, at = np.nonzero((significant == 1) & np.isfinite(value))
    cell = 0.4 * style.text_width * 72 / len(layers)  # points across, about
    size = min(0.3 * style.tick_font, max(0.7, 0.45 * cell))
    axes.scatter(np.array(layers)[at], found, s=size**2, c="black", edgecolors="white", linewidths=0.2 * size,
                 label="significant")  # fmt: skip
    set_whole(axes.xaxis)
    axes.set_yticks(range(len(projections)), projections)
    axes.invert_yaxis()


def _colour_map(pale: bool) -> Colormap:
    """Return the map of effects; `pale` mixed with white, for what is no evidence."""
    whole = matplotlib.colormaps[DIVERGING_MAP]
    return ListedColormap(1 - PALE * (1 - whole(np.linspace(0, 1, 256)))) if pale else whole


def _draw_colour_scale(canvas: Canvas, column: int, norm: Normalize, text: str) -> None:
    above = list(canvas.panels[column :: canvas.columns])
    colours = ScalarMappable(norm, DIVERGING_MAP)
    scale = canvas.figure.colorbar(colours, ax=above, location="bottom", aspect=30, shrink=0.9, pad=0.02)
    scale.locator = LinearLocator(3)
    scale.set_label(text)
    scale.outline.set_linewidth(0.4 * canvas.style.line)
