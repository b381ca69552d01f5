"""Every kind of figure, and which of them can be drawn of given comparisons."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from gradprism.comparison.comparison import Comparison
from gradprism.core.errors import GradPrismError
from gradprism.figures.curves import cosine_plots, four_panel_plots, measure_plots
from gradprism.figures.decay import decay_plots
from gradprism.figures.depth import depth_plots, model_names
from gradprism.figures.forest import forest_plots
from gradprism.figures.heatmap import heatmap_plots
from gradprism.figures.matrix import matrix_plots
from gradprism.figures.names import file_name
from gradprism.figures.overlay import overlay_plots
from gradprism.figures.plot import Missing, Plot, Plots
from gradprism.figures.scales import logarithmic
from gradprism.figures.scatter import length_plots

Kind = Callable[[Comparison], Plots]
KindOfMeans = Callable[[Comparison, frozenset[str]], Plots]  # also given the measures with logarithmic axes

OF_MEANS: Sequence[KindOfMeans] = (measure_plots, four_panel_plots, overlay_plots)
OF_OTHERS: Sequence[Kind] = (
    cosine_plots,
    heatmap_plots,
    forest_plots,
    decay_plots,
    length_plots,
    matrix_plots,
)
OF_CONTRASTS = ("four-panels-", "effect-heatmap-", "effect-forest-")
MOST_CONTRASTS = 3  # of many groups; the others are drawn where they are named


def catalogue(comparisons: Sequence[Comparison]) -> dict[str, Plot | Missing]:
    """All figures of the comparisons by name, each of every model, and those across models once.

    Raises `GradPrismError` where there is nothing to draw from.
    """
    if not comparisons or not all(comparison.groups for comparison in comparisons):
        raise GradPrismError("There is nothing to draw: give one comparison at least, with one group at least.")
    found: dict[str, Plot | Missing] = {}
    for plot in _all(comparisons):
        name = _free(plot.name, found)
        found[name] = replace(plot, name=name)
    return found


def chosen(plots: Mapping[str, Plot | Missing], only: Sequence[str] = ()) -> list[Plot | Missing]:
    """The figures that are drawn unless others are named; or those named, by their whole names or their beginnings.

    `effect-heatmap` stands for those of all contrasts. Raises `GradPrismError` for a name that is none.
    """
    if not only:
        return [plot for plot in plots.values() if isinstance(plot, Missing) or plot.default]
    wanted = [name for asked in only for name in _meant(asked, plots)]
    return [plots[name] for name in dict.fromkeys(wanted)]


def _all(comparisons: Sequence[Comparison]) -> Iterator[Plot | Missing]:
    logs = logarithmic(comparisons)
    kinds: list[Kind] = [*(partial(_with_logs, plots, logs) for plots in OF_MEANS), *OF_OTHERS]
    for model, comparison in model_names(comparisons).items():
        ending = f"-{file_name(model)}" if len(comparisons) > 1 else ""
        for plots in kinds:
            for plot in _first_contrasts(plots(comparison)):
                yield replace(plot, name=plot.name + ending)
    yield from depth_plots(comparisons, logs)


def _with_logs(kind: KindOfMeans, logs: frozenset[str], comparison: Comparison) -> Plots:
    return kind(comparison, logs)


def _first_contrasts(plots: Plots) -> Iterator[Plot | Missing]:
    for place, plot in enumerate(plots):
        late = place >= MOST_CONTRASTS and plot.name.startswith(OF_CONTRASTS)
        yield replace(plot, default=False) if late and isinstance(plot, Plot) else plot


def _free(name: str, taken: Mapping[str, object]) -> str:
    """A name that no other figure has, on file systems that ignore case, too."""
    used = {other.lower() for other in taken}
    names = (name, *(f"{name}-{number}" for number in range(2, len(used) + 3)))
    return next(free for free in names if free.lower() not in used)


def _meant(asked: str, plots: Mapping[str, Plot | Missing]) -> list[str]:
    """A figure of that name, else all whose names go on after a hyphen."""
    if asked in plots:
        return [asked]
    begun = [name for name in plots if name.startswith(f"{asked}-")]
    if not begun:
        raise GradPrismError(f"There is no figure {asked!r}. There are: {', '.join(plots)}.")
    return begun
