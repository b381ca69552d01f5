"""Effect of a group with lengths controlled by overlap weights and regression: right where either model is.

The propensity, the probability of being in the first group, is a logistic regression on splines of the lengths. A row
weighs as much as the probability of the other group (Li, Morgan & Zaslavsky, Journal of the American Statistical
Association 113, 2018), so that rows count where the groups overlap in length, and weighted mean lengths are the same in
both. The effect is the coefficient of the group in a regression of the measure on group and splines with these weights:
doubly robust, as it holds where the propensity or the regression is right. Errors are HC3, with as many degrees of
freedom as the effective sample sizes leave beside the coefficients.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from gradprism.stats.least_squares import CONSTANT, solving_matrix, varies
from gradprism.stats.missing import same_rows, shift
from gradprism.stats.regression import fit_group

_ROWS_PER_PIECE = 50  # of the smaller group
_MOST_PIECES = 4
_INVERSE_RIDGE = 1000.0  # finite propensities where groups do not overlap, and no visible shrinkage where they do


@dataclass(frozen=True)
class WeightedEffect:
    """Effect of the first group on each feature, with its interval and p, and how far the groups overlap."""

    effect: Float[np.ndarray, " features"]
    low: Float[np.ndarray, " features"]
    high: Float[np.ndarray, " features"]
    p: Float[np.ndarray, " features"]
    n_first: Float[np.ndarray, " features"]  # effective sample size of each group, (sum w)^2 / sum w^2
    n_second: Float[np.ndarray, " features"]
    imbalance: Float[np.ndarray, " features"]  # largest difference of weighted mean lengths, in standard deviations


def weighted_effect(
    values: Float[np.ndarray, "n features"],
    group: Bool[np.ndarray, " n"],
    lengths: Float[np.ndarray, "n lengths"],
    confidence: float = 0.95,
) -> WeightedEffect:
    """Estimate the effect of `group` on each feature with the lengths controlled.

    `lengths` are log token counts, and 0 or 1 for a stratum such as truncated rows. Each feature is fitted on the rows
    where it and all lengths are finite. NaN where a group has no such row, or too few effective rows for an error.
    """
    result = np.full((7, values.shape[1]), np.nan)
    shifted, present, _ = shift(values)
    for rows, features in same_rows(present & np.isfinite(lengths).all(axis=1)[:, None]):
        if min(group[rows].sum(), (~group[rows]).sum()) > 0:
            result[:, features] = _estimate(shifted[np.ix_(rows, features)], group[rows], lengths[rows], confidence)
    return WeightedEffect(*result)


def _estimate(values: np.ndarray, group: np.ndarray, lengths: np.ndarray, confidence: float) -> np.ndarray:
    """Return the fields of `WeightedEffect`, (7, features), of rows that have every value."""
    splines = length_splines(lengths, group)
    weights = _overlap_weights(splines, group)
    support = [_effective(weights[group]), _effective(weights[~group]), _imbalance(lengths, group, weights)]
    design = np.column_stack([np.ones(len(group)), group, splines])
    freedom = support[0] + support[1] - design.shape[1]
    found = np.full((4, values.shape[1]), np.nan)
    if freedom >= 1:
        root = np.sqrt(weights)[:, None]
        weighted = design * root
        if np.linalg.matrix_rank(weighted) == weighted.shape[1]:
            found = fit_group(weighted, values * root, np.linalg.pinv(weighted), freedom, confidence)
    return np.concatenate([found, np.repeat(np.array(support)[:, None], values.shape[1], axis=1)])


def length_splines(
    lengths: Float[np.ndarray, "n lengths"], group: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, "n columns"]:
    """Return quadratic splines of the lengths as uncorrelated columns of mean 0 and variance 1; none of a constant.

    One piece, with one more for each 50 rows of the smaller group, at most four.
    """
    from sklearn.preprocessing import SplineTransformer

    smaller = int(min(group.sum(), (~group).sum()))
    pieces = min(1 + smaller // _ROWS_PER_PIECE, _MOST_PIECES)
    columns = []
    for length in lengths.T:
        knots = np.unique(np.quantile(length, np.linspace(0, 1, pieces + 1)))
        if np.ptp(length) > CONSTANT:
            spline = SplineTransformer(degree=2, knots=knots[:, None], include_bias=False)
            columns.append(spline.fit_transform(length[:, None]))
    if not columns:
        return np.empty((len(lengths), 0))
    basis = np.concatenate(columns, axis=1)
    vectors, sizes, _ = np.linalg.svd(basis - basis.mean(axis=0), full_matrices=False)
    return np.asarray(vectors[:, sizes > 1e-8 * sizes[0]] * np.sqrt(len(lengths)))


def without_lengths(
    values: Float[np.ndarray, "n features"], group: Bool[np.ndarray, " n"], lengths: Float[np.ndarray, "n lengths"]
) -> Float[np.ndarray, "n features"]:
    """Subtract what a regression on group and splines of the lengths says of the lengths; NaN where one is missing.

    The values themselves where rows are no more than the coefficients.
    """
    adjusted = values.copy()
    shifted, present, _ = shift(values)
    for rows, features in same_rows(present & np.isfinite(lengths).all(axis=1)[:, None]):
        splines = length_splines(lengths[rows], group[rows]) if rows.any() else np.empty((0, 0))
        solve = solving_matrix(np.column_stack([np.ones(len(splines)), group[rows], splines]))
        if solve is not None:
            cells = np.ix_(rows, features)
            adjusted[cells] -= splines @ (solve[2:] @ shifted[cells])  # (n, k) @ (k, n) @ (n, features)
    return adjusted


def _overlap_weights(splines: np.ndarray, group: np.ndarray) -> Float[np.ndarray, " n"]:
    """Return the probability of the group that each row is not in."""
    if not splines.shape[1]:
        return np.asarray(np.where(group, np.mean(~group), np.mean(group)))
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=_INVERSE_RIDGE, solver="newton-cholesky", tol=1e-10, max_iter=200)
    with warnings.catch_warnings():  # groups that lengths tell apart: what is left of them is no common support
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(splines, group)
    return np.asarray(model.predict_proba(splines)[np.arange(len(group)), (~group).astype(int)])


def _effective(weights: np.ndarray) -> float:
    """Return the number of equally weighted rows whose mean would be as exact."""
    return float(weights.sum() ** 2 / (weights**2).sum()) if weights.any() else 0.0


def _imbalance(lengths: np.ndarray, group: np.ndarray, weights: np.ndarray) -> float:
    """Return the largest difference of weighted mean lengths, in standard deviations within groups."""
    lengths = lengths[:, varies(lengths)]
    means = [np.average(lengths[side], axis=0, weights=weights[side]) for side in (group, ~group)]
    spread = np.sqrt((lengths[group].var(axis=0) + lengths[~group].var(axis=0)) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(means[0] - means[1]) / spread
    return float(np.nan_to_num(apart, nan=0.0, posinf=np.inf).max(initial=0.0))
