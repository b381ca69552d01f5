"""Where in the model two groups differ: an effect size for each layer and projection, raw and with length held."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from gradprism.comparison.comparison import Comparison, Group
from gradprism.comparison.evidence import ALPHA
from gradprism.figures.canvas import Canvas, Heading, finish, make_canvas
from gradprism.figures.curves import MAIN_MEASURES, layer_scale
from gradprism.figures.lines import Values, values
from gradprism.figures.names import file_name
from gradprism.figures.pairs import Pairs, pairs_in_length
from gradprism.figures.plot import Missing, Plot, Plots, caption_of, groups_in_words, has_numbers
from gradprism.figures.styles import Style
from gradprism.figures.text import literal, shortened
from gradprism.figures.ticks import set_x
from gradprism.metrics.titles import title

MAP, NO_VALUE = "RdBu_r", "#C8C8C8"
_SCALE = 4.5  # height of a colour scale with its name, in letters
STATISTICS = {"auc": ("q", "AUC"), "partial_spearman": ("partial_q", "partial Spearman ρ")}
RANGES = {"auc": (0.0, 1.0), "partial_spearman": (-1.0, 1.0)}  # the same for all contrasts, so that they compare


def heatmap_plots(comparison: Comparison) -> Plots:
    """AUC, and beside it Spearman's correlation given lengths, of nuclear norm and effective rank."""
    if not comparison.contrasts:
        yield Missing("effect-heatmap", "there is only one group")
    for first, second in comparison.contrasts:
        name = f"effect-heatmap-{file_name(first)}-{file_name(second)}"
        pairs = pairs_in_length(comparison, first, second)
        data = _data(comparison, first, second, pairs)
        if data["layer"].n_unique() < 2:
            yield Missing(name, "one layer only was measured")
        elif not has_numbers(data, "value"):
            yield Missing(name, "no effect could be computed in any layer")
        else:
            projections = [p for p in (*comparison.projections, "mean") if p in set(data["projection"])]
            pair = (comparison.group(first), comparison.group(second))
            yield Plot(name, _caption(comparison, pair, pairs), data, partial(draw_heatmap, data, projections, pair))


def _data(comparison: Comparison, first: str, second: str, pairs: Pairs) -> pl.DataFrame:
    """A row a cell. What extrapolates is no evidence, however small its q."""
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
    far = (
        ""
        if pairs.overlap
        else ("The partial correlation extrapolates there and is no evidence, so that all of its cells are hatched.")
    )
    return caption_of(
        comparison,
        f"Effect of the group on nuclear norm and effective rank by layer and projection, {groups_in_words([first])} "
        f"against {groups_in_words([second])}. Left: AUC, the probability that an example of the first exceeds one of "
        "the second. Right: Spearman correlation with membership in the first, given prompt and response tokens. "
        f"Hatched: not significant (Benjamini-Hochberg q of at least {ALPHA:g}, or none); grey: no value. Colours "
        "have the same range in all such figures.",
        pairs.sentence,
        far,
    )


def draw_heatmap(data: pl.DataFrame, projections: Sequence[str], pair: tuple[Group, Group], style: Style) -> Figure:
    """A row of panels for each measure, a column and a colour scale for each statistic."""
    measures = [measure for measure in MAIN_MEASURES if measure in set(data["measure"])]
    places = [(measure, statistic) for measure in measures for statistic in STATISTICS]
    far = set(data.filter(pl.col("extrapolates"))["statistic"])
    headings = [
        Heading(f"{title(m)}: {STATISTICS[s][1]}", remark="extrapolates" if s in far else "") for m, s in places
    ]
    above = [Heading(group.name, group.n) for group in pair]
    height = 1.5 * style.tick_font * len(projections) / 72
    canvas = make_canvas(style, headings, (), 2, above, height, below=_SCALE * style.font / 72)
    norms = {statistic: Normalize(*RANGES[statistic]) for statistic in STATISTICS}
    for place, (axes, (measure, statistic)) in enumerate(zip(canvas.panels, places, strict=True)):
        axes.set_label(f"{measure}|{statistic}")
        _draw_panel(canvas, axes, data.filter(measure=measure, statistic=statistic), projections, norms[statistic])
        axes.tick_params(axis="y", labelleft=canvas.first_of_row(place))
    canvas.label_x("layer")
    for column, (statistic, norm) in enumerate(norms.items()):
        _draw_scale(canvas, column, norm, f"{STATISTICS[statistic][1]}  (white: none)")
    return finish(canvas, headings)


def _draw_panel(canvas: Canvas, axes: Axes, data: pl.DataFrame, projections: Sequence[str], norm: Normalize) -> None:
    layers = data["layer"].unique().sort()
    table, certain = (_table(data, layers, projections, name) for name in ("value", "significant"))
    edges = _edges(layers.to_numpy().astype(float))
    axes.set_facecolor(NO_VALUE)
    axes.grid(False)
    rows: Values = np.arange(len(projections) + 1, dtype=np.float64) - 0.5
    axes.pcolormesh(edges, rows, np.ma.masked_invalid(table), cmap=MAP, norm=norm)
    _hatch(canvas, axes, edges, rows, (certain != 1) & np.isfinite(table))
    set_x(axes, layer_scale(canvas, layers))
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(len(projections) - 0.5, -0.5)
    axes.set_yticks(range(len(projections)), projections)


def _hatch(canvas: Canvas, axes: Axes, x: Values, y: Values, cells: npt.NDArray[np.bool_]) -> None:
    """Hatch cells between the edges x and y as one shape, so that lines run on from each to the next."""
    boxes = [
        Path([(x[i], y[j]), (x[i + 1], y[j]), (x[i + 1], y[j + 1]), (x[i], y[j + 1])])
        for j, i in zip(*np.nonzero(cells), strict=True)
    ]
    if boxes:
        hatch = "/" * round(54 / canvas.style.font)  # lines an inch: fewer where all is larger
        shape = Path.make_compound_path(*boxes)
        axes.add_patch(PathPatch(shape, facecolor="none", edgecolor="#00000080", linewidth=0, hatch=hatch))


def _edges(layers: Values) -> Values:
    """Between neighbouring layers, wherever they are, and as far outside."""
    middles = (layers[1:] + layers[:-1]) / 2
    return np.concatenate([[2 * layers[0] - middles[0]], middles, [2 * layers[-1] - middles[-1]]])


def _table(data: pl.DataFrame, layers: pl.Series, projections: Sequence[str], column: str) -> Values:
    """Projections x layers."""
    cells = {(p, layer): value for p, layer, value in data.select("projection", "layer", column).rows()}
    return np.stack([values([cells.get((p, layer)) for layer in layers]) for p in projections])


def _draw_scale(canvas: Canvas, column: int, norm: Normalize, text: str) -> None:
    above = [axes for place, axes in enumerate(canvas.panels) if place % canvas.columns == column]
    colours = ScalarMappable(norm, MAP)
    bar = canvas.figure.colorbar(colours, ax=above, location="bottom", aspect=30, shrink=0.9, pad=0.02)
    ticks = [float(norm.inverse(share)) for share in (0, 0.5, 1)]
    bar.set_ticks(ticks, labels=[f"{tick:.1f}".replace("-", "−") for tick in ticks])
    bar.set_label(literal(shortened(text, canvas.panel_width, canvas.style, canvas.style.font)))
    bar.outline.set_linewidth(0.4 * canvas.style.line)
