"""How exact sketches are: inner products of real pairs of rows against exact cosines, by dimension.

python -m benchmarks.sketches [--model smollm2-135m] [--rows 40] [--data FILE ...]
"""

import argparse
import itertools

import numpy as np
import polars as pl

from benchmarks.results import load, save
from benchmarks.works import SAMPLE
from gradprism import GradientAnalyzer
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings

DIMENSIONS = (256, 1024, 4096, 16384)


def cosines(analyzer: GradientAnalyzer, rows: list, targets: int = 10) -> np.ndarray:
    """Return the exact cosines of all rows with each other, some rows as targets at a time."""
    blocks = []
    for some in itertools.batched(rows, targets) if hasattr(itertools, "batched") else _batched(rows, targets):
        made = [analyzer.target(str(row.row), [row], rank=0) for row in some]
        found = analyzer.influence(rows, made)
        blocks += [found[target.name]["value"].to_numpy() for target in made]
    return np.stack(blocks)


def _batched(rows: list, n: int) -> list:
    return [rows[start : start + n] for start in range(0, len(rows), n)]


def compare(true: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Return mean error with its standard error, standard deviation, and rank correlation, over pairs of two rows."""
    upper = np.triu_indices(len(true), 1)
    errors = (found - true)[upper]
    frame = pl.DataFrame({"true": true[upper], "found": found[upper]})
    rank = frame.select(pl.corr("true", "found", method="spearman")).item()
    return {"mean": errors.mean(), "error": errors.std() / len(errors) ** 0.5, "std": errors.std(), "spearman": rank}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--data", nargs="*", default=[str(SAMPLE)])
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    each = options.rows // len(options.data)
    rows = [row for file in options.data for row in open_examples(file, ReadSettings(sample=each))]
    rows = [type(row)(place, str(place), row.turns) for place, row in enumerate(rows)]
    text = {"max_length": options.max_length, "template": "paper"}
    true = cosines(GradientAnalyzer(options.model, **text), rows)
    saved = {}
    for dimension in DIMENSIONS:
        tables = GradientAnalyzer(options.model, sketch=dimension, spectrum=False, **text).analyze(rows)
        values = tables.sketches["sketch"].to_numpy().astype(np.float64)
        saved[dimension] = compare(true, values @ values.T)
        said = ", ".join(f"{name} {value:.5f}" for name, value in saved[dimension].items())
        print(
            f"{dimension:6}: {said}, std x sqrt(dimension) {saved[dimension]['std'] * dimension**0.5:.2f}", flush=True
        )
    if not options.no_save:
        save("sketches", (load("sketches") or {}) | {options.model: {"rows": len(rows), "by_dimension": saved}})


if __name__ == "__main__":
    main()
