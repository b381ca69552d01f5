"""Descriptive statistics of one group: mean with its interval, spread and quartiles of every feature."""

import numpy as np
import polars as pl

from gradprism.comparison.comparison_tables import LEVELS
from gradprism.comparison.contrast import Side
from gradprism.stats.bootstrap import bca_interval


def describe_group(side: Side) -> pl.DataFrame:
    """Make the table LEVELS of one group."""
    values, features = side.values, side.features
    low, high = bca_interval(side.means)
    n = np.isfinite(values).sum(axis=0)
    q25, median, q75 = _quartiles(values)
    columns = {
        "mean": side.means.observed, "mean_low": low, "mean_high": high,
        "sd": _standard_deviations(values, side.means.observed), "median": median, "q25": q25, "q75": q75,
    }  # fmt: skip
    frame = features.frame.with_columns(
        pl.lit(side.name).alias("group"),
        pl.Series("n", n),
        *(pl.Series(name, each).fill_nan(None) for name, each in columns.items()),
    )
    return frame.select(LEVELS.names()).cast(LEVELS)


def _quartiles(values: np.ndarray) -> np.ndarray:
    """Compute the quartiles (3, features); NaN where a feature has no value."""
    found = np.full((3, values.shape[1]), np.nan)
    present = np.isfinite(values)
    whole = present.all(axis=0)
    points = [0.25, 0.5, 0.75]
    if len(values):
        found[:, whole] = np.quantile(values[:, whole], points, axis=0)
    for feature in np.flatnonzero(~whole & present.any(axis=0)):
        found[:, feature] = np.quantile(values[present[:, feature], feature], points)
    return found


def _standard_deviations(values: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Compute the standard deviation (n - 1) of each feature; NaN below two values."""
    n = np.isfinite(values).sum(axis=0)
    squares = np.where(np.isfinite(values), (values - means) ** 2, 0.0).sum(axis=0)
    variance: np.ndarray = np.divide(squares, n - 1, out=np.full(len(n), np.nan), where=n > 1)
    return np.asarray(np.sqrt(variance))
