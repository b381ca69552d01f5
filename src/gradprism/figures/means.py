"""Means by layer with their intervals, as the figures of curves draw them."""

from collections.abc import Sequence

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.figures.plot import has_numbers
from gradprism.prism.measures import MEAN

BAND = "Bands are 95% bootstrap intervals of the mean."
INTERVAL = ("mean", "mean_low", "mean_high")
BY_LAYER = ("layer", *INTERVAL)  # x, y and the ends of the interval


def layer_means(comparison: Comparison, panels: Sequence[tuple[str, str]]) -> pl.DataFrame:
    """Return a row for each measure, group, projection and layer; `panels` are pairs of measure and group."""
    wanted = pl.DataFrame(panels, schema={"measure": pl.String, "group": pl.String}, orient="row")
    by_layer = comparison.levels.filter(pl.col("layer").is_not_null(), pl.col("projection") != MEAN)
    rows = wanted.join(by_layer, on=("measure", "group"), how="inner", maintain_order="left_right")
    return rows.select("measure", "group", "projection", "layer", "n", *INTERVAL)


def reason_without_curves(comparison: Comparison, data: pl.DataFrame) -> str | None:
    """Say why means by layer make no curves, or return None where they do."""
    if data.is_empty() or not has_numbers(data, "mean"):
        return "it was not measured, or has no value in any layer"
    if len(comparison.layers) < 2 or data["layer"].n_unique() < 2:
        return "one layer only was measured"
    return None


def in_every_layer(rows: pl.DataFrame, layers: pl.Series) -> pl.DataFrame:
    """Return the rows of one line in the order of layers, with an empty row for each missing layer."""
    return layers.to_frame().join(rows, on="layer", how="left").sort("layer")
