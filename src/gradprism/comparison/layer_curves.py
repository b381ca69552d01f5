"""Statistics of a measure's curve over layers: how rough it is (MAD), and how far two curves lie apart (RD).

MAD is the mean absolute difference of neighbouring layers, RD the relative difference (first - second) / second of two
curves (both of Li et al. 2024, arXiv 2410.23743). Both are of the groups' mean curves, so their intervals resample
examples. Noise makes any curve rougher: where the resampled curves are so much rougher than the observed one that the
interval of MAD misses it, there is none.
"""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from gradprism.comparison.cohort import Features
from gradprism.comparison.comparison_tables import MAD, RD
from gradprism.comparison.contrast import Side
from gradprism.prism.tables import MEASURES
from gradprism.stats.bootstrap import bca_interval
from gradprism.stats.missing import mean_present

MOST_LAYERS = 5  # that are named where two curves differ most
Statistic = Callable[..., np.ndarray]


def mad_table(sides: Sequence[Side]) -> pl.DataFrame:
    """The table MAD: a row a group, measure and projection."""
    return pl.DataFrame([row for side in sides for row in _mads(side)], schema=MAD, orient="row")


def rd_table(pairs: Sequence[tuple[Side, Side]]) -> pl.DataFrame:
    """The table RD: a row a contrast, measure and projection."""
    return pl.DataFrame([row for pair in pairs for row in _rds(*pair)], schema=RD, orient="row")


def mean_absolute_difference(curve: np.ndarray) -> np.ndarray:
    """(..., layers) -> (...); NaN where fewer than two neighbours have a value."""
    return mean_present(np.abs(np.diff(curve, axis=-1)))


def relative_difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(..., layers) -> (..., layers); NaN where the second is 0."""
    gap = np.asarray(first - second)
    return np.asarray(np.divide(gap, second, out=np.full(gap.shape, np.nan), where=second != 0))


def _curves(features: Features) -> list[tuple[str, str, np.ndarray]]:
    found = [(measure, projection, features.curve(measure, projection)) for measure, projection in features.curves]
    return [curve for curve in found if curve[0] in MEASURES and len(curve[2]) > 1]


def _mads(side: Side) -> list[tuple[object, ...]]:
    curves = _curves(side.cohort.features)
    if not curves:
        return []

    def statistic(means: np.ndarray) -> np.ndarray:
        return np.stack([mean_absolute_difference(means[..., places]) for _, _, places in curves], axis=-1)

    observed = statistic(side.means.observed)
    low, high = bca_interval(side.means.map(statistic))
    low, high = (np.where((low <= observed) & (observed <= high), end, np.nan) for end in (low, high))
    return [
        (side.cohort.members.name, measure, projection, *_numbers(observed[i], low[i], high[i]))
        for i, (measure, projection, _) in enumerate(curves)
    ]


def _rds(first: Side, second: Side) -> list[tuple[object, ...]]:
    curves = _curves(first.cohort.features)
    if not curves:
        return []

    def statistic(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        parts = [mean_present(relative_difference(one[..., places], other[..., places])) for _, _, places in curves]
        return np.stack(parts, axis=-1)

    low, high = bca_interval(first.means, second.means, statistic=statistic)
    names = (first.cohort.members.name, second.cohort.members.name)
    rows = []
    for i, (measure, projection, places) in enumerate(curves):
        curve = relative_difference(first.means.observed[places], second.means.observed[places])
        layers = np.array([first.cohort.features.keys[place][2] for place in places])
        order = np.argsort(-np.abs(np.nan_to_num(curve)), kind="stable")[:MOST_LAYERS]
        order = order[np.isfinite(curve[order])]
        numbers = _numbers(mean_present(curve), low[i], high[i], mean_present(np.abs(curve)))
        rows.append((*names, measure, projection, *numbers, layers[order].tolist(), curve[order].tolist()))
    return rows


def _numbers(*values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
