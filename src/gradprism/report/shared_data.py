"""Data of a page that no comparison holds: kinds of findings, titles of measures, and the styles of figures."""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.decay import MOST_EXAMPLES
from gradprism.comparison.findings import CONTROL_RULE, KINDS
from gradprism.comparison.length_controls import ALPHA
from gradprism.figures.colours import (
    GROUP_COLOURS,
    GROUP_DASHES,
    GROUP_MARKERS,
    LATENT,
    PROJECTION_COLOURS,
    projection_look,
)
from gradprism.metrics.titles import headed, title
from gradprism.prism.measures import MAIN_MEASURES, known_measures
from gradprism.report.first_screen import READING

_TOKENS = ("length", "prompt_length")
WORDS = {
    "nuclear norm": "sum of the singular values of the gradient: how large it is",
    "effective rank": "exp of the entropy of the singular values: in how many directions it points",
    "length-controlled": "with the lengths of prompt and response accounted for, by overlap weights with regression",
    "overlap weights": "each row counts by the probability that a row of its lengths is of the other group",
    "effective rows": "the number of equally weighted rows whose mean would be as exact",
    "common support": "lengths that both groups have; without, length-controlled figures are no evidence",
    "caliper": "the share by which the response lengths of a matched pair may differ",
    "IFD": "perplexity of the response given the prompt over its perplexity alone (Li et al. 2023)",
    "MAD": "mean absolute difference of neighbouring layers of a curve: how rough it is",
    "RD": "mean relative difference of two curves over layers",
    "p adj.": "p adjusted for the number of layers and projections tested (Benjamini-Hochberg)",
}
_PLOTLY_SYMBOLS = {
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross", "X": "x",
    "*": "star",
}  # fmt: skip


def shared_data(comparisons: Iterable[Comparison]) -> dict[str, Any]:
    """Return what the page's script shows and never decides: words, thresholds, colours."""
    names = sorted({name for comparison in comparisons for name in _titled_names(comparison)})
    return {
        "version": version("gradprism"),
        "alpha": ALPHA,
        "kinds": KINDS,
        "words": WORDS,
        "control_rule": CONTROL_RULE,
        "reading": READING,
        "titles": {name: [title(name), headed(name)] for name in names},
        "ratio_scaled": [*_TOKENS, *(name for name, measure in known_measures().items() if measure.scale == "log")],
        "decay_examples": MOST_EXAMPLES,
        "styles": figure_styles(),
    }


def _titled_names(comparison: Comparison) -> set[str]:
    """Collect the names of measures and metrics that a comparison's tables hold."""
    correlations = comparison.correlations
    columns = comparison.levels["measure"], comparison.effects["measure"], correlations["x"], correlations["y"]
    return {
        *MAIN_MEASURES,
        *comparison.measures,
        *comparison.examples.columns,
        *(name for each in columns for name in each),
    }


def figure_styles() -> dict[str, Any]:
    """Return colours and dashes (in line widths) by projection, and for groups by index, with plotly's markers."""
    return {
        "projections": {name: _line_style(name) for name in (*PROJECTION_COLOURS, *LATENT)},
        "other": _line_style(""),
        "groups": {
            "colours": GROUP_COLOURS,
            "dashes": GROUP_DASHES,
            "symbols": [_PLOTLY_SYMBOLS[marker] for marker in GROUP_MARKERS],
        },
    }


def _line_style(projection: str) -> dict[str, Any]:
    look = projection_look(projection)
    return {"colour": look.colour, "dash": look.dash}
