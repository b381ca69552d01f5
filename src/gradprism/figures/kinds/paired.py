"""Paired rows: each row before and after as a line, by group of rows, with the geometric means over them."""

from collections.abc import Mapping, Sequence
from functools import partial

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradprism.comparison.comparison import Comparison
from gradprism.figures.canvas import Heading, line_entry, make_canvas, sample_size
from gradprism.figures.colours import OTHER_COLOUR, Look, group_look
from gradprism.figures.paired_lines import ALL, OTHERS, paired_lines
from gradprism.figures.plot import FigureKind, Missing, Plot, Plots, caption_of, has_numbers
from gradprism.figures.ratios import main_measures
from gradprism.figures.styles import Style
from gradprism.figures.text import literal, shortened
from gradprism.figures.ticks import set_logarithmic
from gradprism.metrics.titles import title

NAME = "paired"


def paired_plots(comparison: Comparison, _: frozenset[str]) -> Plots:
    """Yield a line a row from before to after for the main measures; nothing of comparisons that are not paired."""
    if comparison.paired is None:
        return
    first, second = comparison.contrasts[0]
    data = pl.concat([paired_lines(comparison, measure) for measure in main_measures(comparison)])
    measures = data["measure"].unique(maintain_order=True).to_list()
    if not has_numbers(data, "first"):
        yield Missing(NAME, "no row has a value above 0 on both sides")
        return
    n, drawn = len(comparison.paired.pairs), data.filter(mark="row")["example_id"].n_unique()
    caption = caption_of(
        comparison,
        f"{' and '.join(map(title, measures)).capitalize()} (mean over layers and projections) of the same {n:,} rows "
        f"in {second} and {first}, a thin line a row. Thick lines are geometric means"
        + (" of each group of rows." if data["group"].n_unique() > 1 else " of all rows."),
        f"{drawn:,} rows are drawn, evenly spaced in the order of the data." if drawn < n else "",
        "The vertical axes are logarithmic.",
    )
    yield Plot(NAME, caption, data, partial(draw_paired, data, (second, first)))


KINDS = (FigureKind(7, paired_plots, by_group_of_pairs=True),)


def draw_paired(data: pl.DataFrame, sides: Sequence[str], style: Style) -> Figure:
    """Draw a panel for each measure; `sides` are the names of the left and the right end of every line."""
    measures = data["measure"].unique(maintain_order=True).to_list()
    groups = data.filter(mark="mean", measure=measures[0]).select("group", "n").rows()
    named = [group for group, _ in groups if group not in (ALL, OTHERS)]
    looks = {group: group_look(index) for index, group in enumerate(named)}
    looks |= {ALL: Look("#000000", "o", ()), OTHERS: Look(OTHER_COLOUR, ".", ())}
    alone = len(groups) == 1
    canvas = make_canvas(style, len(measures), 2)
    for axes, measure in zip(canvas.panels, measures, strict=True):
        axes.set_label(measure)
        set_logarithmic(axes.yaxis)
        canvas.label_y(axes, title(measure))
        _draw_panel(axes, data.filter(measure=measure), looks, style, alone=alone)
        most = 0.4 * style.text_width / max(len(measures), 1)
        axes.set_xticks([0, 1], [literal(shortened(side, most, style, style.tick_font)) for side in sides])
        axes.set_xlim(-0.3, 1.3)
        axes.grid(False, axis="x")
    if not alone:
        canvas.add_legend([line_entry(group, looks[group], sample_size(n)) for group, n in groups])
    return canvas.finish([Heading(title(measure)) for measure in measures])


def _draw_panel(axes: Axes, data: pl.DataFrame, looks: Mapping[str, Look], style: Style, *, alone: bool) -> None:
    """Draw the rows of each group thin, and their mean over them."""
    n = data.filter(mark="row").height
    for mark, group, first, second in data.select("mark", "group", "first", "second").rows():
        look = looks[group]
        if mark == "row":
            axes.plot([0, 1], [second, first], color=OTHER_COLOUR if alone else look.colour, linewidth=0.5 * style.line,
                      alpha=min(0.6, max(0.15, 12 / n)), label=f"{group}|row")  # fmt: skip
        else:
            axes.plot([0, 1], [second, first], color="white", linewidth=3.2 * style.line, zorder=3)
            axes.plot([0, 1], [second, first], color=look.colour, marker=look.marker, linestyle=look.linestyle,
                      linewidth=1.6 * style.line, markersize=1.6 * style.marker, label=group, zorder=4)  # fmt: skip
