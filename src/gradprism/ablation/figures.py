"""Draw an ablation: loss along the training, and every arm beside random rows at the end."""

from collections.abc import Iterator, Sequence
from functools import partial

import polars as pl
from matplotlib.figure import Figure

from gradprism.ablation.result import BETTER, WORSE, Ablation
from gradprism.ablation.settings import RANDOM
from gradprism.figures.canvas import Heading, line_entry, make_canvas
from gradprism.figures.colours import Look, group_look, model_look
from gradprism.figures.lines import Line, LinePanel, XAxis, draw_line_panels, draw_reference
from gradprism.figures.marks import draw_mark, set_rows
from gradprism.figures.plot import Plot
from gradprism.figures.styles import Style
from gradprism.figures.text import distinct, literal

_NAMES = 0.3  # most of the width that names of arms may take


def ablation_plots(ablation: Ablation) -> Iterator[Plot]:
    """Yield the figures that there are numbers for."""
    seeds, tokens = ablation.recipe.train.seeds, ablation.recipe.train.tokens
    if not ablation.effects.is_empty():
        caption = (
            f"Loss of each arm less that of random rows after {tokens:,} response tokens, nats a token, with 95% "
            f"intervals over evaluation rows and {seeds} seed{'s' * (seeds > 1)}. Filled: differs from random rows "
            "(Holm over arms)."
        )
        data = ablation.effects.select("eval", "arm", "difference", "low", "high", "verdict")
        of = "loss less that of random rows, nats a token (left of 0: better)"
        yield Plot("arms", caption, data, partial(draw_arms, data, of))
    if not ablation.score_effects.is_empty():
        caption = (
            f"Score of each arm less that of random rows after {tokens:,} response tokens, on tasks of "
            f"lm-evaluation-harness, with 95% intervals over items and {seeds} seed{'s' * (seeds > 1)}. Filled: "
            "differs from random rows (Holm over arms)."
        )
        name = pl.format("{} ({})", "task", "metric").alias("eval")
        data = ablation.score_effects.select(name, "arm", "difference", "low", "high", "verdict")
        yield Plot("tasks", caption, data, partial(draw_arms, data, "score less that of random rows"))
    if not ablation.curves.is_empty():
        caption = (
            "Mean loss on each evaluation set along the training, nats a response token. "
            f"Bands are from the lowest to the highest of {seeds} seed{'s' * (seeds > 1)}."
        )
        yield Plot("curves", caption, ablation.curves, partial(draw_curves, ablation.curves))


def draw_arms(data: pl.DataFrame, xlabel: str, style: Style) -> Figure:
    """Draw a panel for each evaluation set, a row for each arm, the line at no difference."""
    evals = data["eval"].unique(maintain_order=True).to_list()
    arms = data["arm"].unique(maintain_order=True).to_list()
    canvas = make_canvas(style, len(evals), min(len(evals), 3))
    names = [literal(name) for name in distinct(arms, _NAMES * style.text_width, style, style.tick_font)]
    for index, (axes, name) in enumerate(zip(canvas.panels, evals, strict=True)):
        axes.set_label(name)
        draw_reference(axes, 0.0, style)
        for row in data.filter(eval=name).iter_rows(named=True):
            interval = [float("nan") if row[end] is None else row[end] for end in ("low", "high")]
            filled = row["verdict"] in (BETTER, WORSE)
            draw_mark(axes, style, model_look(0), arms.index(row["arm"]), row["difference"], interval, filled=filled)
        set_rows(axes, names, labels=canvas.first_of_row(index))
    canvas.figure.supxlabel(xlabel)
    canvas.add_legend([])
    return canvas.finish([Heading(name) for name in evals], 1.5 * style.tick_font * (len(arms) + 1) / 72)


def draw_curves(data: pl.DataFrame, style: Style) -> Figure:
    """Draw a panel for each evaluation set, a line for each arm."""
    arms = data["arm"].unique(maintain_order=True).to_list()
    looks = arm_looks(arms)
    panels = [
        LinePanel(
            name,
            Heading(name),
            f"loss on {name}",
            [Line(arm, looks[arm], data.filter(eval=name, arm=arm).sort("tokens")) for arm in arms],
        )
        for name in data["eval"].unique(maintain_order=True)
    ]
    legend = [line_entry(arm, look) for arm, look in looks.items()]
    columns = ("tokens", "loss", "lowest", "highest")
    return draw_line_panels(style, panels, legend, columns, XAxis("response tokens trained on"), 3)


def arm_looks(arms: Sequence[str]) -> dict[str, Look]:
    """Return a look for each arm, no two alike: random rows in black."""
    others = [arm for arm in arms if arm != RANDOM]
    looks = {arm: group_look(index) for index, arm in enumerate(others)}
    return {arm: looks.get(arm, Look("#000000", "o", ())) for arm in arms}
