"""Compare how well two measures separate the groups of a comparison: their areas under the ROC curve, paired.

The separation of a measure is max(AUC, 1 - AUC), whichever group is higher, so that of two useless measures either
comes out a little above 0.5. Length-controlled (`held_*`) a measure is its log less what length explains of it: the
slopes of log prompt and response tokens in a regression on group and both, so that what the group alone explains
stays in. The slopes are fitted again in every resample.

Intervals are of percentiles, of rows drawn within each group, the same ones for both measures. Separation has a kink
at 0.5 and an end at 1, where the jackknife and the bias correction of BCa do not hold. Of pairs of normal measures, 60
rows a group, intervals said to be of 95% cover 94 to 100% by percentiles (most where neither separates) and 86 to 99%
by BCa (least where both do almost entirely); length-controlled percentiles cover 94 to 99%. Where both separate every
row, all resamples do too, and the interval is 0 wide.
"""

import math

import numpy as np
import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.prism.measures import MEAN
from gradprism.stats.bootstrap import percentile_interval, times_drawn
from gradprism.stats.drawn import drawn_auc
from gradprism.stats.least_squares import varies
from gradprism.stats.length_match import overlap_in_weights
from gradprism.stats.overlap_weights import weighted_effect
from gradprism.study.features import feature_matrix, log_lengths

PAIR = ("effective_rank", "nuclear_norm")

_FIGURES = {
    "n_first": pl.Int64,  # rows that have both measures
    "n_second": pl.Int64,
    "auc_effective_rank": pl.Float64,  # probability that a random row of `first` exceeds one of `second`, ties half
    "auc_nuclear_norm": pl.Float64,
    "separation_effective_rank": pl.Float64,  # max(auc, 1 - auc)
    "separation_nuclear_norm": pl.Float64,
    "difference": pl.Float64,  # separation of effective rank - of nuclear norm
    "difference_low": pl.Float64,  # 95%, paired bootstrap
    "difference_high": pl.Float64,
}
SEPARATION = pl.Schema(
    {
        "first": pl.String,
        "second": pl.String,
        "projection": pl.String,
        **_FIGURES,
        **{f"held_{name}": kind for name, kind in _FIGURES.items()},  # length-controlled
        "held_extrapolates": pl.Boolean,  # no common support in length: `held_*` extrapolates
    }
)

_ROUNDING = 1e-9  # of the spread of lengths or of a measure: what is below is nothing


def separation_table(comparison: Comparison, resamples: int = 1999, seed: int = 0) -> pl.DataFrame:
    """Return the table SEPARATION: a row for each contrast and projection, `mean` among them.

    A group without a row that has both measures gives nulls, as does one of fewer than two rows for intervals. `held_*`
    is null where rows are no more than the coefficients, where length is known of none, and where group and length
    cannot be told apart; its interval also where more than a tenth of the resamples are so.
    """
    projections = (*comparison.projections, MEAN)
    rows = []
    for number, (first, second) in enumerate(comparison.contrasts):
        examples = [comparison.examples.filter(pl.col("group") == name) for name in (first, second)]
        both = _Resampled(examples, projections, resamples, np.random.default_rng([seed, number]))
        outside = _lacks_support(pl.concat(examples), both.is_first)
        for index, projection in enumerate(projections):
            figures = {**both.raw(index), **both.length_controlled(index), "held_extrapolates": outside}
            rows.append({"first": first, "second": second, "projection": projection, **figures})
    return pl.DataFrame(rows, schema=SEPARATION).fill_nan(None)


class _Resampled:
    """Rows of both groups, first then second, and how often each is drawn: once each, then in every resample."""

    def __init__(
        self, examples: list[pl.DataFrame], projections: tuple[str, ...], resamples: int, rng: np.random.Generator
    ):
        both = pl.concat(examples)
        self.is_first = np.arange(both.height) < examples[0].height
        drawn = [times_drawn(side.height, resamples, rng) for side in examples]
        self.times = np.concatenate([np.ones((1, both.height)), np.concatenate(drawn, axis=1)])  # (1 + resamples, n)
        self.lengths = log_lengths(both)
        names = [(measure, projection) for projection in projections for measure in PAIR]
        self.values = feature_matrix(both, names).reshape(both.height, len(projections), len(PAIR))

    def raw(self, index: int) -> dict[str, float]:
        """Return the raw figures of one projection."""
        values = self.values[:, index]
        there = np.isfinite(values).all(axis=1)
        areas = [drawn_auc(each[None, there], self.times[:, there], self.is_first[there]) for each in values.T]
        return _figures("", self.is_first[there], areas)

    def length_controlled(self, index: int) -> dict[str, float]:
        """Return the length-controlled figures of one projection."""
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(self.values[:, index])
        there = np.isfinite(logs).all(axis=1) & np.isfinite(self.lengths).all(axis=1)
        logs, times, is_first = logs[there], self.times[:, there], self.is_first[there]
        lengths = _told_apart(self.lengths[there], is_first)
        if lengths is None:
            return _figures("held_", is_first, [np.full(len(times), np.nan)] * len(PAIR))
        slopes = _slopes(logs, lengths, times, is_first)
        return _figures("held_", is_first, [
            _controlled_auc(logs[:, i], lengths, slopes[..., i], times, is_first) for i in range(len(PAIR))
        ])  # fmt: skip


def _controlled_auc(
    logs: np.ndarray, lengths: np.ndarray, slopes: np.ndarray, times: np.ndarray, is_first: np.ndarray
) -> np.ndarray:
    """Return the AUC (sets,) of a measure less slopes (sets, k) times lengths (n, k); NaN where a set has no slopes."""
    values = logs - np.nan_to_num(slopes) @ lengths.T  # (sets, k) @ (k, n)
    tie = _ROUNDING * np.ptp(logs) + 1e-13 * np.abs(logs).max()  # what length explains entirely is a tie throughout
    area = drawn_auc(values, times, is_first, float(tie))
    return np.where(np.isnan(slopes).any(axis=1), np.nan, area)


def _told_apart(lengths: np.ndarray, is_first: np.ndarray) -> np.ndarray | None:
    """Return lengths less the mean of all (n, k), as uncorrelated columns of like spread within the groups.

    Constant lengths are left out, and one of two that are the same up to a factor. None where the rows are no more than
    the coefficients, and where groups and lengths cannot be told apart.
    """
    if min(is_first.sum(), (~is_first).sum()) < 1:
        return None
    lengths = lengths[:, varies(lengths)]
    centred = lengths - lengths.mean(axis=0)
    vectors, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    distinct = vectors[:, sizes > _ROUNDING * sizes.max(initial=0.0)]
    if len(distinct) <= 2 + distinct.shape[1]:
        return None
    _, sizes, turned = np.linalg.svd(_within(distinct, is_first), full_matrices=False)
    return None if sizes.min(initial=1.0) < _ROUNDING else distinct @ turned.T / sizes


def _within(values: np.ndarray, is_first: np.ndarray) -> np.ndarray:
    """Subtract from values (n, features) the mean of their group."""
    return np.asarray(
        values - np.where(is_first[:, None], values[is_first].mean(axis=0), values[~is_first].mean(axis=0))
    )


def _slopes(logs: np.ndarray, lengths: np.ndarray, times: np.ndarray, is_first: np.ndarray) -> np.ndarray:
    """Return slopes (sets, k, features) of the lengths (n, k) beside the group; NaN where a resample has none."""
    k = lengths.shape[1]
    if k == 0:
        return np.empty((len(times), 0, logs.shape[1]))
    columns = np.concatenate([_within(lengths, is_first), _within(logs, is_first)], axis=1)
    products = (columns[:, :k, None] * columns[:, None]).reshape(len(columns), -1)
    moments = (times @ products).reshape(len(times), k, -1)  # (sets, n) @ (n, k (k + features))
    for group in (is_first, ~is_first):
        sums, drawn = times[:, group] @ columns[group], times[:, group].sum(axis=1)
        moments -= sums[:, :k, None] * sums[:, None] / np.maximum(drawn, 1)[:, None, None]
    gram, cross = moments[..., :k], moments[..., k:]
    sure = np.linalg.eigvalsh(gram).min(axis=1) > _ROUNDING  # of columns whose gram is 1 for all rows
    slopes = np.full(cross.shape, np.nan)
    slopes[sure] = np.linalg.solve(gram[sure], cross[sure])
    return slopes


def _figures(prefix: str, is_first: np.ndarray, areas: list[np.ndarray]) -> dict[str, float]:
    """Return the figures of a contrast from the AUCs (1 + resamples,) of each measure, those observed first."""
    n = int(is_first.sum()), int((~is_first).sum())
    separations = [np.maximum(area, 1 - area) for area in areas]
    # 1 - area rounds, and no interval must exclude 0 by that.
    difference = np.round(separations[0] - separations[1], 12)
    ends = percentile_interval(difference[1:, None]) if min(n) > 1 else ([math.nan], [math.nan])
    numbers = (*n, *(each[0] for each in (*areas, *separations, difference)), *(float(end[0]) for end in ends))
    return {prefix + name: number for name, number in zip(_FIGURES, numbers, strict=True)}


def _lacks_support(examples: pl.DataFrame, is_first: np.ndarray) -> bool | None:
    """Return whether overlap weights have no common support in length, as in a comparison; None if unknown."""
    lengths = np.column_stack([log_lengths(examples), examples["truncated"].fill_null(False).to_numpy()])
    found = weighted_effect(np.zeros((len(lengths), 1)), is_first, lengths)
    sizes = float(found.n_first[0]), float(found.n_second[0])
    return None if math.isnan(sizes[0]) else not overlap_in_weights(*sizes, float(found.imbalance[0]))
