"""Find the metrics: classes in the files of this folder, and classes of other packages.

Other packages register their classes under the entry point `gradprism.metrics`; see `docs/extending.md`.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules

from gradprism.core.errors import GradPrismError
from gradprism.core.plugins import load_plugins
from gradprism.metrics.metric import Metric
from gradprism.prism.measures import known_measures

RESERVED_NAMES = ("prompt_length", "column")
"""Names, beside those of measures, that mean something else in `gradprism.runs.values`."""


@cache
def known_metrics() -> Mapping[str, type[Metric]]:
    """Return every metric by its name, the built-in ones first. Raises `GradPrismError` for an unusable plugin."""
    found = {metric.name: metric for metric in _own_metrics()}
    for name, metric in load_plugins("gradprism.metrics"):
        if not (isinstance(metric, type) and issubclass(metric, Metric)) or isabstract(metric):
            raise GradPrismError(
                f"The entry point gradprism.metrics {name} is {metric!r}. Expected a class that derives from "
                "gradprism.metrics.metric.Metric, nothing abstract left in it."
            )
        if metric.name in {*found, *RESERVED_NAMES, *known_measures()}:
            raise GradPrismError(
                f"The entry point gradprism.metrics {name} brings a second metric or measure named {metric.name!r}. "
                "Expected a name that is not in use; uninstall the package, or rename the metric."
            )
        found[metric.name] = metric
    return found


def _own_metrics() -> Iterator[type[Metric]]:
    package = import_module("gradprism.metrics")
    for file in iter_modules(package.__path__, "gradprism.metrics."):
        module = import_module(file.name)
        for value in vars(module).values():
            is_own = isinstance(value, type) and issubclass(value, Metric) and value.__module__ == module.__name__
            if is_own and not isabstract(value):
                yield value


def find_metric_classes(names: Sequence[str]) -> list[type[Metric]]:
    """Return the metrics with these names. Raises `GradPrismError` for an unknown name, with the nearest known one."""
    known = known_metrics()
    if not names:
        raise GradPrismError(f"--metric is empty; expected some of {', '.join(known)}.")
    for name in names:
        if name not in known:
            close = get_close_matches(name.lower(), known, n=1)
            hint = f"Did you mean {close[0]!r}? " if close else ""
            raise GradPrismError(f"No metric {name!r}. {hint}Expected some of {', '.join(known)}.")
    return [known[name] for name in names]
