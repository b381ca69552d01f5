"""Columns of correlations: the public format of `gradprism correlate --out DIR`."""

from typing import Any

import polars as pl

_COLUMNS: dict[str, Any] = {  # Spearman; x before y in clustered order
    "x": pl.String,
    "y": pl.String,
    "n": pl.Int64,
    "spearman": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "q": pl.Float64,  # p adjusted (BH) over all pairs
    "partial": pl.Float64,  # given prompt and response tokens
    "partial_low": pl.Float64,
    "partial_high": pl.Float64,
    "partial_p": pl.Float64,
    "partial_q": pl.Float64,
}
CORRELATIONS = pl.Schema(_COLUMNS)
