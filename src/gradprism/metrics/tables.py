"""The columns that the scores of every metric share: the public format."""

from typing import Any

import polars as pl

_COLUMNS: dict[str, Any] = {
    "example_id": pl.String,
    "row": pl.Int64,
    "value": pl.Float64,  # null where there is none, with the reason
    "status": pl.String,  # ok | skipped | failed
    "reason": pl.String,
}
SCORES = pl.Schema(_COLUMNS)
