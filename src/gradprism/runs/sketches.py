"""Read the sketches of a run as one array, in a file that is mapped into memory: a million of them are 8 GB."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from gradprism.runs.layout import published_parts
from gradprism.runs.parts import read_part


@dataclass(frozen=True)
class Sketches:
    """Random projections of the gradients of a run's rows, by row; rows without a gradient are left out.

    The inner product of two sketches is an unbiased estimate of the cosine of the two gradients over all measured
    projections, with a standard deviation of about 1/sqrt(dimension).
    """

    rows: Int[np.ndarray, " n"]
    """Row numbers, ascending."""
    norms: Float[np.ndarray, " n"]
    """Frobenius norms of the whole gradients, nats per unit weight."""
    values: Float[np.ndarray, "n dimension"]
    """Sketches of the gradients divided by their norms: float16, read-only, mapped into memory."""
    _file: Any = field(repr=False)  # temporary; it lives as long as the array

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __repr__(self) -> str:
        """Say how many there are, and their dimension."""
        return f"Sketches({len(self):,} rows, dimension {self.values.shape[1]:,})"


def read_sketches(run: Path) -> Sketches:
    """Read the sketches of a run into a temporary file, part by part."""
    file = tempfile.TemporaryFile(prefix="gradprism-sketches-")  # noqa: SIM115 - open as long as the array
    rows, norms, dimension = [np.empty(0, dtype=np.int64)], [np.empty(0)], 0
    for index in published_parts(run):
        part = read_part(run, "sketches", index).filter(pl.col("sketch").is_not_null()).sort("row")
        values = part["sketch"].to_numpy()
        dimension = part["sketch"].dtype.shape[0]  # type: ignore[attr-defined]
        file.write(np.ascontiguousarray(values).tobytes())
        rows.append(part["row"].to_numpy())
        norms.append(part["norm"].to_numpy())
    file.flush()
    n = sum(map(len, rows))
    shape = n, dimension
    mapped = np.memmap(file, dtype=np.float16, mode="r", shape=shape) if n else np.empty(shape, dtype=np.float16)
    return Sketches(np.concatenate(rows), np.concatenate(norms), mapped, file)
