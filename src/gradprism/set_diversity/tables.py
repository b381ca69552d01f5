"""Columns of the tables of a set's diversity: the public format of `gradprism diversity --out DIR`."""

from typing import Any

import polars as pl

ALL_ROWS = "all rows"
"""The name of the first row of SOURCES: every source together."""

_SUBSETS = ("equal_rows", "equal_tokens")
_SOURCES: dict[str, Any] = {
    "source": pl.String,
    "rows": pl.Int64,
    "response_tokens": pl.Float64,  # median
    "total_tokens": pl.Float64,  # of responses
    "vendi": pl.Float64,
    "low": pl.Float64,  # 95% interval
    "high": pl.Float64,
    "lowest": pl.Float64,  # below `vendi` where rows are so many and different that the sketch does not show all
    "half": pl.Float64,  # the score of half of the rows, drawn at random
    **{
        f"{kind}{column}": pl.Float64  # geometric mean over random subsets, and the middle 95%
        for kind in _SUBSETS
        for column in ("", "_low", "_high")
    },
    "rows_of_equal_tokens": pl.Float64,  # mean number of rows in a subset of equal tokens
}
SOURCES = pl.Schema(_SOURCES)

_UNIONS: dict[str, Any] = {
    "first": pl.String,
    "second": pl.String,
    "rows": pl.Int64,
    "alone": pl.Float64,  # of so many rows of the first
    "union": pl.Float64,  # of half as many of each
    "union_low": pl.Float64,
    "union_high": pl.Float64,
    "ratio": pl.Float64,  # union / alone
}
UNIONS = pl.Schema(_UNIONS)

_ROW: dict[str, Any] = {"run": pl.String, "row": pl.Int64, "example_id": pl.String, "source": pl.String}
_PAIRS: dict[str, Any] = {**_ROW, **{f"other_{name}": kind for name, kind in _ROW.items()}, "cosine": pl.Float64}
PAIRS = pl.Schema(_PAIRS)

_ROWS: dict[str, Any] = {
    **_ROW,
    "response_tokens": pl.Int64,
    "gradient_norm": pl.Float64,
    "adds": pl.Float64,  # the score less that without the row
    "nearest_run": pl.String,
    "nearest_row": pl.Int64,
    "nearest_cosine": pl.Float64,
}
ROWS = pl.Schema(_ROWS)
