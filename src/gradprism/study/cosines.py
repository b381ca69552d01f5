"""Summarise the cosines between gradients of adjacent layers, and of two projections of a layer: how near to 0."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from gradprism.runs.run import Run
from gradprism.stats.bootstrap import bca_interval, percentile_interval, resample_means, times_drawn
from gradprism.stats.drawn import drawn_quantiles
from gradprism.stats.missing import mean_present

KINDS = ("adjacent", "same_layer")
_LEVELS = {"median_abs": 0.5, "q95_abs": 0.95}

COSINE_SUMMARY = pl.Schema(
    {
        "kind": pl.String,  # adjacent | same_layer
        "pair": pl.String,  # q, k, v, o | k-v, q-o
        "n": pl.Int64,  # rows that have a cosine
        "layers": pl.Int64,  # of adjacent ones: pairs of layers
        "mean": pl.Float64,  # over rows, of their means over layers
        "mean_low": pl.Float64,  # 95%, bootstrap over rows; BCa
        "mean_high": pl.Float64,
        "median_abs": pl.Float64,  # of |cosine| over rows and layers
        "median_abs_low": pl.Float64,  # percentiles
        "median_abs_high": pl.Float64,
        "q95_abs": pl.Float64,  # 95% quantile of the same
        "q95_abs_low": pl.Float64,
        "q95_abs_high": pl.Float64,
        "largest": pl.Float64,  # of all layers' |mean over rows|
        "largest_low": pl.Float64,  # BCa; null where noise is so large that it misses what was seen
        "largest_high": pl.Float64,
        "largest_layer": pl.Int16,  # where; of adjacent ones the lower
        "largest_mean": pl.Float64,  # the mean there, with its sign
        "largest_mean_low": pl.Float64,  # of this one layer, as if it had been named beforehand; BCa
        "largest_mean_high": pl.Float64,
    }
)

_CELLS = 2**18  # of resamples and cosines at a time


def cosine_table(run: Run, resamples: int = 999, seed: int = 0) -> pl.DataFrame:
    """Return the table COSINE_SUMMARY: a row for each kind and pair, of the cosines that have a value.

    Rows (examples) are drawn, each with all its layers. Without at least two rows there are no intervals. The largest
    of many means is larger than the truth by chance: it bounds how far from 0 a layer lies, and says no more.
    """
    table = (
        run.scan("similarity")
        .select("row", "layer", "kind", "pair", "cosine")
        .filter(pl.col("kind").is_in(KINDS) & pl.col("cosine").is_finite())
        .collect()
    )
    rows = [_summary(*one, resamples, np.random.default_rng([seed, i])) for i, one in enumerate(_pair_tables(table))]
    return pl.DataFrame(rows, schema=COSINE_SUMMARY).fill_nan(None)


def _pair_tables(table: pl.DataFrame) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """Yield kinds in the order of KINDS, pairs in that of the table."""
    parts = table.partition_by("kind", "pair", as_dict=True, maintain_order=True, include_key=False)
    for wanted in KINDS:
        for (kind, pair), part in parts.items():
            if kind == wanted:
                yield kind, pair, part


def _summary(kind: str, pair: str, table: pl.DataFrame, resamples: int, rng: np.random.Generator) -> dict[str, Any]:
    cosines, layers = _cosine_matrix(table)
    place = int(np.nanargmax(np.abs(mean_present(cosines, 0))))
    features = np.column_stack([mean_present(cosines, 1), cosines])  # (rows, 1 + layers)

    def figures(means: np.ndarray) -> np.ndarray:
        by_layer = means[..., 1:]
        return np.stack([means[..., 0], np.fmax.reduce(np.abs(by_layer), axis=-1), by_layer[..., place]], axis=-1)

    found = resample_means(features, resamples, rng).map(figures)
    low, high = bca_interval(found)
    low, high = (np.where((low <= found.observed) & (found.observed <= high), end, np.nan) for end in (low, high))
    return {
        "kind": kind, "pair": pair, "n": len(cosines), "layers": len(layers), "largest_layer": int(layers[place]),
        **_with_ends(("mean", "largest", "largest_mean"), found.observed, low, high),
        **_quantiles(cosines, resamples, rng),
    }  # fmt: skip


def _cosine_matrix(table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosines (rows, layers), NaN where there is none, and the layers; both ascending."""
    rows, at_row = np.unique(table["row"].to_numpy(), return_inverse=True)
    layers, at_layer = np.unique(table["layer"].to_numpy(), return_inverse=True)
    cosines = np.full((len(rows), len(layers)), np.nan)
    cosines[at_row, at_layer] = table["cosine"].to_numpy()
    return cosines, layers


def _quantiles(cosines: np.ndarray, resamples: int, rng: np.random.Generator) -> dict[str, float]:
    levels = [*_LEVELS.values()]
    at_row, at_layer = np.nonzero(np.isfinite(cosines))
    sizes = np.abs(cosines[at_row, at_layer])
    order = np.argsort(sizes)
    sizes, at_row = sizes[order], at_row[order]
    times = times_drawn(len(cosines), resamples, rng).astype(np.int16)
    step = max(1, _CELLS // len(sizes))
    drawn = [drawn_quantiles(sizes, times[i : i + step, at_row], levels) for i in range(0, resamples, step)]
    low, high = percentile_interval(np.concatenate(drawn))
    nothing = np.full(len(levels), np.nan)
    ends = (low, high) if len(cosines) > 1 else (nothing, nothing)
    return _with_ends(tuple(_LEVELS), np.quantile(sizes, levels), *ends)


def _with_ends(names: tuple[str, ...], values: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, float]:
    return {
        f"{name}{end}": float(numbers[i])
        for i, name in enumerate(names)
        for end, numbers in (("", values), ("_low", low), ("_high", high))
    }
