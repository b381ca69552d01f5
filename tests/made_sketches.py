"""Runs with sketches of made-up gradients."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gradprism.prism.tables import sketches_schema
from gradprism.runs.run import Run
from tests.made_groups import given_run


def sketched_run(
    path: Path,
    values: np.ndarray,
    tokens: Sequence[int] | np.ndarray | None = None,
    *,
    identity: Mapping[str, Any] | None = None,
    model: str = "given-1b",
    rows: int | None = None,
    layers: int = 1,
    **given: Any,
) -> Run:
    """A run whose rows have these sketches (n, dim), null where all of one is NaN; `tokens` are of their responses.

    `given` are options of `given_run`, and columns of the data.
    """
    n, dim = values.shape
    settings = {"prism.sketch": dim, "prism.sketch_seed": 0, **(identity or {})}
    empty = np.isnan(values).all(axis=1)
    half = pl.Series("sketch", np.nan_to_num(values, posinf=np.inf).astype(np.float16), dtype=pl.Array(pl.Float16, dim))
    sketches = pl.DataFrame(
        {
            "example_id": [str(row) for row in range(n)],
            "row": range(n),
            "norm": [0.0 if missing else 1.0 + row for row, missing in enumerate(empty)],
            "sketch": half,
        },
        schema=sketches_schema(dim),
    ).with_columns(pl.when(pl.Series(~empty)).then("sketch"))
    lengths = np.full(n, 50) if tokens is None else tokens
    return given_run(path, np.ones((n, 1, layers)), lengths, identity=settings, model=model, rows=rows,
                     sketches=sketches, **given)  # fmt: skip
