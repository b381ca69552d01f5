"""Moments of measures and response tokens by group, from which the page fits lines through any groups of them."""

from typing import Any

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.comparison_tables import EXAMPLES
from gradprism.report.page_json import rounded
from gradprism.runs.layout import is_influence

_TOKENS = "n_response_tokens"


def length_moments(comparison: Comparison) -> dict[str, Any]:
    """Return for each column of the examples its scale, and for each group the moments of all its examples, or None.

    x is log10 of response tokens; y the column, as log10 where its every value is positive (scale `log`), else linear,
    as the influence on a target always is.
    Moments are [n, mean x, mean y, Sxx, Sxy, Syy, least x, greatest x], S sums of products of deviations from the
    means: those of several groups give the least-squares line through all of their examples.
    """
    names = [name for name in comparison.examples.columns if name not in EXAMPLES or name == "loss"]
    return {name: _of_column(comparison, name) for name in names}


def _of_column(comparison: Comparison, name: str) -> dict[str, Any]:
    known = comparison.examples.select("group", x=pl.col(_TOKENS).cast(pl.Float64), y=pl.col(name).cast(pl.Float64))
    known = known.filter(pl.col("x") > 0, pl.col("y").is_finite()).with_columns(pl.col("x").log10())
    log = known.height > 0 and bool((known["y"] > 0).all()) and not is_influence(name)
    scaled = known.with_columns(pl.col("y").log10()) if log else known
    moments = {group: _moments(*rows["x", "y"]) for (group,), rows in scaled.group_by("group")}
    return {"scale": "log" if log else "linear", "groups": [moments.get(group.name) for group in comparison.groups]}


def _moments(x_column: pl.Series, y_column: pl.Series) -> list[float | int | None]:
    x, y = x_column.to_numpy(), y_column.to_numpy()
    from_x, from_y = x - x.mean(), y - y.mean()
    sums = from_x @ from_x, from_x @ from_y, from_y @ from_y
    return [len(x), *(rounded(float(each)) for each in (x.mean(), y.mean(), *sums, x.min(), x.max()))]
