"""The tables MAD and RD: how rough the groups' mean curves over layers are, and how far two of them lie apart.

The intervals resample examples. Noise makes any curve rougher: where the resampled curves are so much rougher than the
observed one that the interval of MAD misses it, there is none.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from gradprism.comparison.comparison_tables import MAD, RD
from gradprism.comparison.contrast import Side
from gradprism.comparison.group_matrix import Features
from gradprism.stats.bootstrap import bca_interval
from gradprism.stats.layer_curves import (
    mean_absolute_difference,
    mean_absolute_difference_by_thirds,
    relative_difference,
)
from gradprism.stats.missing import mean_present

MOST_LAYERS = 5  # named where two curves differ most


def mad_table(sides: Sequence[Side]) -> pl.DataFrame:
    """Make the table MAD: a row a group, measure and projection."""
    return pl.DataFrame([row for side in sides for row in _mad_rows(side)], schema=MAD, orient="row")


def rd_table(pairs: Sequence[tuple[Side, Side]]) -> pl.DataFrame:
    """Make the table RD: a row a contrast, measure and projection."""
    return pl.DataFrame([row for pair in pairs for row in _rd_rows(*pair)], schema=RD, orient="row")


def _measure_curves(features: Features) -> list[tuple[str, str, np.ndarray]]:
    """Return measure, projection and the columns of its layers, for each spectral measure of at least two layers."""
    found = [(measure, projection, features.curve(measure, projection)) for measure, projection in features.curves]
    return [curve for curve in found if curve[0] in features.measures and len(curve[2]) > 1]


def _mad_rows(side: Side) -> list[tuple[object, ...]]:
    curves = _measure_curves(side.features)
    if not curves:
        return []

    def statistic(means: np.ndarray) -> np.ndarray:
        """Compute MAD of each curve over all layers and the three thirds: (..., features) -> (..., 4 x curves)."""
        found = [means[..., columns] for _, _, columns in curves]
        whole = [mean_absolute_difference(curve)[..., None] for curve in found]
        thirds = [mean_absolute_difference_by_thirds(curve) for curve in found]
        return np.concatenate([part for pair in zip(whole, thirds, strict=True) for part in pair], axis=-1)

    observed = statistic(side.means.observed)
    low, high = bca_interval(side.means.map(statistic))
    low, high = (np.where((low <= observed) & (observed <= high), end, np.nan) for end in (low, high))
    cells = np.stack([observed, low, high], axis=-1).reshape(len(curves), 12)
    return [
        (side.name, measure, projection, *_null_for_nan(*row))
        for (measure, projection, _), row in zip(curves, cells, strict=True)
    ]


def _rd_rows(first: Side, second: Side) -> list[tuple[object, ...]]:
    curves = _measure_curves(first.features)
    if not curves:
        return []

    def statistic(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        means = [mean_present(relative_difference(one[..., columns], other[..., columns])) for _, _, columns in curves]
        return np.stack(means, axis=-1)

    low, high = bca_interval(first.means, second.means, statistic=statistic)
    rows = []
    for i, (measure, projection, columns) in enumerate(curves):
        curve = relative_difference(first.means.observed[columns], second.means.observed[columns])
        layers = np.array([first.features.keys[column][2] for column in columns])
        order = np.argsort(-np.abs(np.nan_to_num(curve)), kind="stable")[:MOST_LAYERS]
        order = order[np.isfinite(curve[order])]
        numbers = _null_for_nan(mean_present(curve), low[i], high[i], mean_present(np.abs(curve)))
        largest = layers[order].tolist(), curve[order].tolist()
        rows.append((first.name, second.name, measure, projection, *numbers, *largest))
    return rows


def _null_for_nan(*values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
