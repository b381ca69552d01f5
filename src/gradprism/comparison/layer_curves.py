"""The tables MAD and RD: how rough the groups' mean curves over layers are, and how far two of them lie apart.

The intervals resample examples. Noise makes any curve rougher: where the resampled curves are so much rougher than the
observed one that the interval of MAD misses it, there is none.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from gradprism.comparison.comparison_tables import MAD, MAD_CHANGES, RD
from gradprism.comparison.contrast import Side
from gradprism.comparison.group_matrix import Features
from gradprism.stats.bootstrap import Resampled, bca_interval
from gradprism.stats.layer_curves import (
    mean_absolute_difference,
    mean_absolute_difference_by_thirds,
    relative_difference,
)
from gradprism.stats.missing import mean_present
from gradprism.stats.multiplicity import benjamini_hochberg
from gradprism.stats.paired import exchange_p, paired_interval

MOST_LAYERS = 5  # named where two curves differ most


def mad_table(sides: Sequence[Side]) -> pl.DataFrame:
    """Make the table MAD: a row a group, measure and projection."""
    return pl.DataFrame([row for side in sides for row in _mad_rows(side)], schema=MAD, orient="row")


def rd_table(pairs: Sequence[tuple[Side, Side]], *, paired: bool = False) -> pl.DataFrame:
    """Make the table RD: a row a contrast, measure and projection; `paired` sides were resampled together."""
    return pl.DataFrame([row for pair in pairs for row in _rd_rows(*pair, paired)], schema=RD, orient="row")


def mad_changes(first: Side, second: Side, resamples: int, rng: np.random.Generator) -> pl.DataFrame:
    """Make the table MAD_CHANGES of two paired sides, the same rows in the same order, which were resampled together.

    p is of the rows that have every value of a curve on both sides.
    """
    curves = _measure_curves(first.features)
    if not curves:
        return pl.DataFrame(schema=MAD_CHANGES)

    def statistic(means: np.ndarray) -> np.ndarray:
        found = [mean_absolute_difference(means[..., columns])[..., None] for _, _, columns in curves]
        return np.concatenate(found, axis=-1)

    one, other = first.means.map(statistic), second.means.map(statistic)
    joined, middle = Resampled.joined(one, other), len(curves)
    change = joined.map(lambda mads: mads[..., :middle] - mads[..., middle:])
    low, high = paired_interval(change, n=len(first.values))
    inside = (low <= change.observed) & (change.observed <= high)
    p = np.concatenate([_exchange_p(first, second, columns, resamples, rng) for _, _, columns in curves])
    numbers = {
        "mad_first": one.observed, "mad_second": other.observed, "difference": change.observed,
        "difference_low": np.where(inside, low, np.nan), "difference_high": np.where(inside, high, np.nan),
        "p": p, "q": benjamini_hochberg(p, [measure for measure, _, _ in curves]),
    }  # fmt: skip
    names = pl.DataFrame([curve[:2] for curve in curves], schema=["measure", "projection"], orient="row")
    table = names.with_columns(
        pl.lit(first.name).alias("first"),
        pl.lit(second.name).alias("second"),
        *(pl.Series(name, values).fill_nan(None) for name, values in numbers.items()),
    )
    return table.select(MAD_CHANGES.names()).cast(MAD_CHANGES)


def _exchange_p(first: Side, second: Side, columns: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    one, other = first.values[:, columns], second.values[:, columns]
    whole = (np.isfinite(one) & np.isfinite(other)).all(axis=1)

    def mad(means: np.ndarray) -> np.ndarray:
        return np.asarray(mean_absolute_difference(means)[..., None])

    return exchange_p(one[whole], other[whole], mad, resamples, rng)


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


def _rd_rows(first: Side, second: Side, paired: bool) -> list[tuple[object, ...]]:
    curves = _measure_curves(first.features)
    if not curves:
        return []

    def statistic(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        means = [mean_present(relative_difference(one[..., columns], other[..., columns])) for _, _, columns in curves]
        return np.stack(means, axis=-1)

    if paired:
        width = len(first.features.keys)
        both = Resampled.joined(first.means, second.means)
        ratios = both.map(lambda means: statistic(means[..., :width], means[..., width:]))
        low, high = paired_interval(ratios, n=len(first.values))
    else:
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
