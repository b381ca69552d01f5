"""Read the sketches of a run as one array, in a file that is mapped into memory: a million of them are 8 GB."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

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

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __repr__(self) -> str:
        """Say how many there are, and their dimension."""
        return f"Sketches({len(self):,} rows, dimension {self.values.shape[1]:,})"


def read_sketches(run: Path) -> Sketches:
    """Read the sketches of a run into a temporary file, part by part."""
    rows, norms, dimension = [np.empty(0, dtype=np.int64)], [np.empty(0)], 0
    with tempfile.TemporaryFile(prefix="gradprism-sketches-") as file:  # mapped, it stays until the array is gone
        for index in published_parts(run):
            part = read_part(run, "sketches", index).filter(pl.col("sketch").is_not_null()).sort("row")
            dimension = part["sketch"].dtype.shape[0]  # type: ignore[attr-defined]
            file.write(np.ascontiguousarray(part["sketch"].to_numpy()).tobytes())
            rows.append(part["row"].to_numpy())
            norms.append(part["norm"].to_numpy())
        file.flush()
        shape = sum(map(len, rows)), dimension
        values = np.memmap(file, np.float16, "r", shape=shape) if shape[0] else np.empty(shape, np.float16)
    return Sketches(np.concatenate(rows), np.concatenate(norms), values)
