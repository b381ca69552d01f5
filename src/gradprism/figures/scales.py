"""The choice of measures with logarithmic axes, made once for all figures that are drawn together."""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.metrics.titles import title

LOG_FROM = 30.0  # a linear axis hides the small values of a wider range
FAMILIES: Mapping[str, Sequence[str]] = {  # the first decides for those that are read beside it
    "nuclear_norm": ("nuclear_norm", "frobenius_norm", "spectral_norm"),
    "effective_rank": ("effective_rank", "stable_rank"),
}


def logarithmic(comparisons: Sequence[Comparison]) -> frozenset[str]:
    """Choose the measures whose axes are logarithmic wherever their means are drawn.

    All norms where the nuclear norms of groups, projections and layers span more than a factor of 30, intervals
    included; ranks by the effective rank likewise.
    """
    found = [measures for main, measures in FAMILIES.items() if _spans_much(comparisons, main)]
    return frozenset(measure for measures in found for measure in measures)


def _spans_much(comparisons: Sequence[Comparison], measure: str) -> bool:
    drawn = pl.concat(
        comparison.levels.filter(pl.col("layer").is_not_null(), measure=measure)
        .select("mean", "mean_low", "mean_high").unpivot()
        for comparison in comparisons
    )["value"]  # fmt: skip
    shown = drawn.filter(drawn.is_finite().fill_null(False))
    least, greatest = shown.min(), shown.max()
    return isinstance(least, float) and isinstance(greatest, float) and 0 < LOG_FROM * least < greatest


def log_words(measures: Iterable[str], logs: frozenset[str]) -> str:
    """Say which vertical axes are logarithmic, for a caption; empty where none is."""
    shown = list(dict.fromkeys(measures))
    found = [measure for measure in shown if measure in logs]
    if len(found) < len(shown):
        return f"The axis of {' and '.join(map(title, found))} is logarithmic." if found else ""
    return "The vertical axis is logarithmic." if len(found) == 1 else "The vertical axes are logarithmic."
