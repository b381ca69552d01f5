"""Find the measure that best predicts a quality metric, beyond what lengths of prompt and response predict."""

import numpy as np
import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.comparison_tables import COSINES
from gradprism.core.errors import GradPrismError
from gradprism.stats.missing import same_rows
from gradprism.stats.multiplicity import benjamini_hochberg
from gradprism.stats.prediction import rank_gain
from gradprism.stats.rank_correlation import left_out_partial_spearman, partial_spearman, spearman
from gradprism.study.features import correlation_columns, feature_matrix, layer_means, log_lengths, matrix, varying

PREDICTORS = pl.Schema(
    {
        "measure": pl.String,
        "projection": pl.String,  # `mean` too; of cosines a pair
        "n": pl.Int64,  # rows that have the measure, the metric and both lengths
        "spearman": pl.Float64,  # with the metric
        "low": pl.Float64,
        "high": pl.Float64,
        "partial": pl.Float64,  # given log prompt and response tokens
        "partial_low": pl.Float64,
        "partial_high": pl.Float64,
        "partial_p": pl.Float64,
        "partial_q": pl.Float64,  # after Benjamini-Hochberg over the table
        "length_r2": pl.Float64,  # of the rank of the metric by those of the lengths, each row predicted by the others
        "gain": pl.Float64,  # of that R2 when the rank of the measure is known too
        "best": pl.Float64,  # share of rows without which this is the measure of the largest |partial|
    }
)
_TIE = 1e-12  # correlations that differ by less are equally good


def predictor_table(comparison: Comparison, metric: str) -> pl.DataFrame:
    """Return the table PREDICTORS: a row for each layer mean of a measure or cosine, all rows of all groups pooled.

    `metric` is a column of `comparison.examples`, such as `ifd` or `column:reward`. Raises `GradPrismError` where
    there is none of this name. Rows that were chosen as the highest and lowest of a metric have no middle: raw
    correlations with it, and R2, come out larger than among all rows of the data, and so do partial ones; compare
    measures with each other, not with figures of other data. A row of a run that is in two groups counts once.
    """
    if metric not in comparison.examples.columns:
        raise GradPrismError(
            f"The comparison has no metric {metric!r} of its examples; it has "
            f"{', '.join(comparison.about['metrics']) or '(none)'}."
        )
    examples = _pooled(comparison)
    measures = (*comparison.measures, *COSINES)
    found = [feature for feature in layer_means(comparison, measures) if ":".join(feature) != metric]
    if not found:
        return pl.DataFrame(schema=PREDICTORS)
    values, target = feature_matrix(examples, found), matrix(examples, [metric])[:, 0]
    known = np.isfinite(log_lengths(examples)).all(axis=1)
    target[~known] = np.nan  # raw and partial are of the same rows
    lengths = varying(log_lengths(examples))
    raw, partial = spearman(values, target), partial_spearman(values, target, lengths)
    length_r2, gain = rank_gain(values, target, lengths)
    columns = {
        **correlation_columns(found, raw, partial),
        "partial_q": benjamini_hochberg(partial.p, [None] * len(found)),
        "length_r2": length_r2,
        "gain": gain,
        "best": _shares_best(values, target, lengths),
    }
    return pl.DataFrame(columns, schema=PREDICTORS).fill_nan(None)


def _pooled(comparison: Comparison) -> pl.DataFrame:
    runs = {group.name: group.run for group in comparison.groups}
    run = pl.col("group").replace_strict(runs, return_dtype=pl.String)
    return comparison.examples.unique(subset=[run.alias("run"), pl.col("row")], keep="first", maintain_order=True)


def _shares_best(values: np.ndarray, target: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return how often each feature has the largest |partial| when each row with a target is left out; ties shared.

    NaN where a feature never has a correlation. Of features that lack a row, to leave that out changes nothing.
    """
    usable = np.isfinite(target) & np.isfinite(lengths).all(axis=1)
    size = np.full((len(target), values.shape[1]), np.nan)  # (row left out, features)
    for rows, same in same_rows(np.isfinite(values) & usable[:, None]):
        whole = partial_spearman(values[np.ix_(rows, same)], target[rows], lengths[rows])
        size[:, same] = np.abs(whole.value)
        size[np.ix_(rows, same)] = np.abs(
            left_out_partial_spearman(values[np.ix_(rows, same)], target[rows], lengths[rows])
        )
    size = size[usable]
    some = ~np.isnan(size).all(axis=1)
    if not some.any():
        return np.full(values.shape[1], np.nan)
    size = size[some]
    best = size >= np.nanmax(size, axis=1, keepdims=True) - _TIE
    shares = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return np.where(np.isnan(size).all(axis=0), np.nan, shares)
