"""Runs with sketches of made-up gradients."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from gradprism.runs.run import Run, open_run
from tests.made_groups import given_run


def sketched_run(
    path: Path,
    values: np.ndarray,
    tokens: Sequence[int] | np.ndarray | None = None,
    *,
    identity: Mapping[str, Any] | None = None,
    model: str = "given-1b",
    rows: int | None = None,
    **columns: Sequence[Any],
) -> Run:
    """A run whose rows have these sketches (n, dim), null where all of one is NaN; `tokens` are of their responses."""
    n, dim = values.shape
    settings = {"prism.sketch": dim, "prism.sketch_seed": 0, **(identity or {})}
    lengths = np.full(n, 50) if tokens is None else tokens
    given_run(path, np.ones((n, 1, 1)), lengths, identity=settings, model=model, rows=rows, **columns)
    empty = np.isnan(values).all(axis=1)
    table = pa.table({
        "example_id": pa.array([str(row) for row in range(n)]),
        "row": pa.array(np.arange(n), pa.int64()),
        "norm": pa.array([0.0 if missing else 1.0 + row for row, missing in enumerate(empty)], pa.float64()),
        "sketch": pa.array(
            [None if missing else each.astype(np.float16) for each, missing in zip(values, empty, strict=True)],
            pa.list_(pa.float16(), dim),
        ),
    })  # fmt: skip
    (path / "sketches").mkdir()
    parquet.write_table(table, path / "sketches" / "part-00000.parquet")
    return open_run(path)
