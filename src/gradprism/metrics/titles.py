"""The titles of measures and metrics, for the terminal, figures and the report."""

from functools import cache

from gradprism.metrics.registry import known_metrics
from gradprism.prism.measures import LAYER, MEAN, known_measures

_OTHERS = {
    "adjacent_cosine": "adjacent-layer cosine",
    "same_layer_cosine": "same-layer cosine",
    "prompt_length": "prompt tokens",
}


@cache
def titles() -> dict[str, str]:
    """Return the titles of measures and metrics by name, where they are not the name with spaces."""
    measures = {name: measure.title for name, measure in known_measures().items()}
    metrics = {name: metric.title for name, metric in known_metrics().items()}
    spelled = measures | metrics | _OTHERS
    return {name: words for name, words in spelled.items() if words and words != name.replace("_", " ")}


def title(name: str) -> str:
    """Return the title of a measure, a metric, or `measure:projection`: `effective_rank:q` is `effective rank q_proj`.

    A pair of projections is named as it is: `same_layer_cosine:k-v` is `same-layer cosine k-v`. The scores of a target,
    `influence:NAME`, are the influence on it.
    """
    if name.startswith("column:"):
        return f"{name.removeprefix('column:')} (column)"
    measure, _, projection = name.partition(":")
    if measure == "influence":
        return f"influence on {projection}"
    words = titles().get(measure, measure.replace("_", " "))
    if projection in ("", MEAN, LAYER):
        return words
    return f"{words} {projection}" if "-" in projection else f"{words} {projection}_proj"


def headed(name: str) -> str:
    """Return the title with a capital first letter; names of the data's columns are left unchanged."""
    words = title(name)
    return words if name.startswith("column:") else words[:1].upper() + words[1:]
