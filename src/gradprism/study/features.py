"""Return the numbers of a comparison's examples: a column for each layer mean, and log lengths."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.stats import least_squares
from gradprism.stats.rank_correlation import Correlation

TOKENS = ("n_prompt_tokens", "n_response_tokens")
Feature = tuple[str, str]  # measure (or kind of cosine), projection (or `mean`, or a pair)


def layer_means(comparison: Comparison, measures: Sequence[str]) -> list[Feature]:
    """Return the layer means that its examples have, measure by measure as `measures` are ordered."""
    named = comparison.levels.filter(pl.col("layer").is_null() & pl.col("projection").is_not_null())
    known = named.select("measure", "projection").unique(maintain_order=True).rows()
    there = set(comparison.examples.columns)
    return [(m, p) for wanted in measures for m, p in known if m == wanted and f"{m}:{p}" in there]


def matrix(examples: pl.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Return columns as floats (rows, columns); NaN where there is no finite value."""
    if not columns:
        return np.empty((examples.height, 0))
    values = examples.select(pl.col(name).cast(pl.Float64).fill_null(np.nan) for name in columns).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def feature_matrix(examples: pl.DataFrame, features: Sequence[Feature]) -> np.ndarray:
    """Return layer means as floats (rows, features)."""
    return matrix(examples, [f"{measure}:{projection}" for measure, projection in features])


def log_lengths(examples: pl.DataFrame) -> np.ndarray:
    """Return log prompt and log response tokens (rows, 2); NaN where one is not known."""
    return least_squares.log_lengths(matrix(examples, TOKENS))


def varying(lengths: np.ndarray) -> np.ndarray:
    """Return lengths without the columns that are constant: there is nothing in them to control for."""
    return np.asarray(lengths[:, least_squares.varies(lengths)])


def correlation_columns(
    found: Sequence[tuple[str, str]], raw: Correlation, given_lengths: Correlation
) -> dict[str, object]:
    """Return the columns that tables of correlations share: features, raw figures, and those given lengths."""
    return {
        "measure": [measure for measure, _ in found],
        "projection": [projection for _, projection in found],
        "n": raw.n,
        "spearman": raw.value,
        "low": raw.low,
        "high": raw.high,
        "partial": given_lengths.value,
        "partial_low": given_lengths.low,
        "partial_high": given_lengths.high,
        "partial_p": given_lengths.p,
    }
