"""Measures along the steps of a training: a line for each projection, and one for each of a few layers."""

from collections.abc import Sequence
from functools import partial

import polars as pl
from matplotlib.figure import Figure

from gradprism.comparison.along_steps import LOSS, along_layers, along_projections, step_of, steps_of
from gradprism.comparison.comparison import Comparison
from gradprism.figures.canvas import Heading, line_entry
from gradprism.figures.colours import Look, group_look, projection_look
from gradprism.figures.lines import Line, LinePanel, XAxis, draw_line_panels
from gradprism.figures.means import BAND, INTERVAL
from gradprism.figures.plot import FigureKind, Missing, Plot, Plots, has_numbers, one_line
from gradprism.figures.scales import log_words
from gradprism.figures.styles import Style
from gradprism.metrics.titles import title
from gradprism.prism.measures import MEAN


def step_plots(comparisons: Sequence[Comparison], logs: frozenset[str]) -> Plots:
    """Yield the measures over the steps by projection, and by layer; nothing for models that are not in training."""
    if not any(step_of(made) is not None for made in comparisons):
        return
    steps = steps_of(comparisons)
    if not steps:
        yield Missing("steps", "it needs two or more steps, of one training and of nothing else")
        return
    what = "by projection, mean over layers, with the mean loss of the rows"
    yield _plot("steps", along_projections(steps), steps, logs, what)
    yield _plot("steps-layers", along_layers(steps), steps, logs, "by layer, mean over projections")


KINDS = (FigureKind(110, across_models=step_plots),)


def _plot(
    name: str, data: pl.DataFrame, steps: dict[int, Comparison], logs: frozenset[str], what: str
) -> Plot | Missing:
    if data.is_empty() or not has_numbers(data, "mean"):
        return Missing(name, "nothing has a value in two steps")
    sizes = sorted({group.n for made in steps.values() for group in made.groups})
    n = f"n = {sizes[0]:,}" if len(sizes) == 1 else f"n = {sizes[0]:,} to {sizes[-1]:,}"
    model = one_line(next(iter(steps.values())).model.rpartition(" at step ")[0])
    logged = [measure for measure in data["measure"].unique(maintain_order=True) if measure != LOSS]
    caption = (
        f"Measures over {len(steps)} steps of a training, {what} ({n} rows at each step). {BAND} They are of the rows' "
        f"spread at one step: where the rows stay the same, a change from step to step is surer than they show. "
        f"{log_words(logged, logs)} Model: {model}."
    )
    return Plot(name, " ".join(caption.split()), data, partial(draw_steps, data, logs))


def draw_steps(data: pl.DataFrame, logs: frozenset[str], style: Style) -> Figure:
    """Draw one panel for each measure, with a line for each projection or layer."""
    names = list(data["line"].unique(maintain_order=True))
    looks = {name: _look(name, index) for index, name in enumerate(names)}
    panels = [
        LinePanel(
            measure,
            Heading(title(measure)),
            title(measure),
            [
                Line(name, looks[name], data.filter(measure=measure, line=name).sort("step"))
                for name in data.filter(measure=measure)["line"].unique(maintain_order=True)
            ],
            measure in logs,
        )
        for measure in data["measure"].unique(maintain_order=True)
    ]
    legend = [line_entry(name, looks[name]) for name in names if name != MEAN]
    return draw_line_panels(style, panels, legend, ("step", *INTERVAL), XAxis("step", whole=True))


def _look(name: str, index: int) -> Look:
    return group_look(index) if name.startswith("layer ") else projection_look(name)
