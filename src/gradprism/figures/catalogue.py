"""The catalogue of figures: every kind that a file of `figures/kinds` declares, drawn of given comparisons."""

import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.core.errors import GradPrismError
from gradprism.figures import kinds
from gradprism.figures.kinds.steps import step_plots
from gradprism.figures.names import file_name
from gradprism.figures.plot import FigureKind, Missing, Plot, Plots, numbered_models
from gradprism.figures.scales import logarithmic

MOST_CONTRASTS = 3  # drawn of many groups; the other contrasts are drawn if named


def catalogue(comparisons: Sequence[Comparison]) -> dict[str, Plot | Missing]:
    """Return all figures of comparisons by name: those of each model, and those across models once.

    Raises `GradPrismError` without a comparison, or for one without groups.
    """
    if not comparisons or not all(comparison.groups for comparison in comparisons):
        raise GradPrismError("There is nothing to draw. Give at least one comparison, with at least one group.")
    found: dict[str, Plot | Missing] = {}
    in_training = all("training" in comparison.about["model"] for comparison in comparisons)
    for plot in _along_steps(comparisons) if in_training else _all_plots(comparisons):
        name = _free_name(plot.name, found)
        found[name] = replace(plot, name=name)
    return found


def chosen(plots: Mapping[str, Plot | Missing], only: Sequence[str] = ()) -> list[Plot | Missing]:
    """Return the default figures, or those named by their names or the beginnings of their names.

    `effect-heatmap` stands for those of all contrasts. Raises `GradPrismError` for a name that no figure has.
    """
    if not only:
        return [plot for plot in plots.values() if isinstance(plot, Missing) or plot.default]
    names = dict.fromkeys(name for begun in only for name in _names_beginning(begun, plots))
    return [plots[name] for name in names]


@cache
def figure_kinds() -> tuple[FigureKind, ...]:
    """Return what the files of `figures/kinds` declare as `KINDS`, in order of position."""
    modules = [import_module(f"{kinds.__name__}.{module.name}") for module in pkgutil.iter_modules(kinds.__path__)]
    declared: list[FigureKind] = [kind for module in modules for kind in module.KINDS]
    return tuple(sorted(declared, key=lambda kind: kind.position))


def _all_plots(comparisons: Sequence[Comparison]) -> Iterator[Plot | Missing]:
    logs = logarithmic(comparisons)
    for model, comparison in numbered_models(comparisons).items():
        ending = f"-{file_name(model)}" if len(comparisons) > 1 else ""
        for kind in figure_kinds():
            if kind.of_model is not None:
                all_groups = kind.by_contrast or kind.by_group_of_pairs
                plots = kind.of_model(comparison if all_groups else _all_rows(comparison), logs)
                for plot in _first_by_default(plots) if kind.by_contrast else plots:
                    yield replace(plot, name=plot.name + ending)
    for kind in figure_kinds():
        if kind.across_models is not None:
            yield from kind.across_models([*map(_all_rows, comparisons)], logs)


def _all_rows(comparison: Comparison) -> Comparison:
    """Return a paired comparison of all rows alone, without its groups of rows; any other as it is."""
    if comparison.paired is None:
        return comparison
    groups = comparison.groups[:2]
    own = pl.col("group").is_in([group.name for group in groups])
    tables = {name: getattr(comparison, name).filter(own) for name in ("levels", "examples", "decay")}
    return replace(comparison, groups=groups, contrasts=comparison.contrasts[:1], **tables)


def _along_steps(comparisons: Sequence[Comparison]) -> Iterator[Plot | Missing]:
    """Yield all figures of a training's steps; of each step by itself, and of steps side by side, only if named."""
    along = {plot.name for plot in step_plots(comparisons, logarithmic(comparisons))}
    for plot in _all_plots(comparisons):
        if plot.name in along:
            yield plot
        elif isinstance(plot, Plot):
            yield replace(plot, default=False)


def _first_by_default(plots: Plots) -> Iterator[Plot | Missing]:
    for index, plot in enumerate(plots):
        yield replace(plot, default=False) if index >= MOST_CONTRASTS and isinstance(plot, Plot) else plot


def _free_name(name: str, taken: Mapping[str, object]) -> str:
    """Append a number to a name that another figure has, also on file systems that ignore case."""
    used = {other.lower() for other in taken}
    names = (name, *(f"{name}-{number}" for number in range(2, len(used) + 3)))
    return next(free for free in names if free.lower() not in used)


def _names_beginning(begun: str, plots: Mapping[str, Plot | Missing]) -> list[str]:
    """Return the name itself if a figure has it, else all names that go on after it with a hyphen."""
    if begun in plots:
        return [begun]
    names = [name for name in plots if name.startswith(f"{begun}-")]
    if not names:
        raise GradPrismError(f"There is no figure {begun!r}. Available: {', '.join(plots)}.")
    return names
