"""Cosine of each row's gradient in two models, estimated from the sketches that both runs store.

Sketches of one seed, dimension, set of projections and shapes are the same random projection of both gradients. Both
sketches are divided by their own norms, so that equal gradients have a cosine of 1, and the error falls as the cosine
nears 1: (1 - c²) / √dimension, that of a correlation of so many coordinates.
"""

import numpy as np
import polars as pl
from jaxtyping import Float

from gradprism.comparison.row_pairs import RowPairs
from gradprism.runs.run import Run


def why_no_cosines(first: Run, second: Run) -> str | None:
    """Say why the gradients of two runs have no cosine that stored sketches could give; None where they have."""
    if not (first.has_sketches and second.has_sketches):
        return "not known: it needs sketches of both runs (gradprism spectra --sketch 4096)"
    made = [[run.record["identity"].get(f"prism.{name}", 0) for name in ("sketch", "sketch_seed")]
            for run in (first, second)]  # fmt: skip
    if made[0] != made[1]:
        return "not known: the sketches of the two runs have another dimension or seed"
    if not _shapes(first).equals(_shapes(second)):
        return "there is none: the two models differ in layers, projections or the shapes of their weights"
    return None


def row_cosines(first: Run, second: Run, pairs: RowPairs) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Estimate the cosine of each pair, with its standard error; NaN where a gradient is zero."""
    cosines = np.full(len(pairs), np.nan)
    for start in range(0, len(pairs), 4096):  # as 32-bit numbers they take twice the room that they have on disk
        block = slice(start, start + 4096)
        one = _unit_sketches(first, pairs.table["row_first"][block])
        other = _unit_sketches(second, pairs.table["row_second"][block])
        cosines[block] = np.einsum("nd,nd->n", one, other).clip(-1, 1)
    dimension = first.record["identity"]["prism.sketch"]
    return cosines, np.asarray((1 - cosines**2) / np.sqrt(dimension))


def _unit_sketches(run: Run, rows: pl.Series) -> Float[np.ndarray, "n dimension"]:
    """Return the sketches of some rows, each divided by its norm; NaN for a row without."""
    sketches, wanted = run.sketches, rows.to_numpy()
    found = np.full((len(wanted), run.record["identity"]["prism.sketch"]), np.nan, dtype=np.float32)
    at = np.searchsorted(sketches.rows, wanted)
    there = at < len(sketches.rows)
    there[there] = sketches.rows[at[there]] == wanted[there]
    values = sketches.values[at[there]].astype(np.float32)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    found[there] = np.divide(values, norms, out=np.full_like(values, np.nan), where=norms > 0)
    return found


def _shapes(run: Run) -> pl.DataFrame:
    cells = run.scan("spectra").select("layer", "projection", "d_out", "d_in").unique()
    return cells.sort("layer", "projection").collect()
