"""How long a user waits for `gradprism --help`, and for layer means of a large run.

    python -m benchmarks.reading

The run is synthetic: 10,000 examples, 30 layers, 4 projections, in parts of 32 as a real one, spectra of 64 values.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.machine import describe
from benchmarks.results import save
from gradprism.prism.measures import MEASURES
from gradprism.prism.tables import EXAMPLES, SIMILARITY, SPECTRA, Tables
from gradprism.runs.run import open_run
from gradprism.runs.writer import RunWriter

EXAMPLES_IN_ALL, LAYERS, PROJECTIONS, PART, VALUES = 10_000, 30, ("q", "k", "v", "o"), 32, 64
REPEATS = 5


def write(folder: Path) -> None:
    """A run of random measures, written as any run is."""
    random = np.random.default_rng(0)
    description: dict[str, Any] = {"identity": {}, "data": {"rows": EXAMPLES_IN_ALL}}
    with RunWriter(folder, description) as writer:
        for index in range(-(-EXAMPLES_IN_ALL // PART)):
            rows = np.arange(index * PART, min((index + 1) * PART, EXAMPLES_IN_ALL))
            writer.publish(index, part(rows, random))


def part(rows: np.ndarray, random: np.random.Generator) -> Tables:
    """One part: a row an example, and one a gradient."""
    n, each = len(rows), LAYERS * len(PROJECTIONS)
    examples = pl.DataFrame({"example_id": rows.astype(str), "row": rows, "status": ["ok"] * n})
    spectra = pl.DataFrame(
        {
            "example_id": rows.astype(str).repeat(each),
            "row": rows.repeat(each),
            "layer": np.tile(np.arange(LAYERS).repeat(len(PROJECTIONS)), n),
            "projection": list(PROJECTIONS) * LAYERS * n,
            **{measure: random.lognormal(size=n * each) for measure in MEASURES},
            "singular_values": list(random.lognormal(size=(n * each, VALUES)).astype(np.float32)),
        }
    )
    return Tables(filled(examples, EXAMPLES), filled(spectra, SPECTRA), pl.DataFrame(schema=SIMILARITY))


def filled(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The columns of a table, null where the frame has none."""
    missing = [pl.lit(None).alias(name) for name in schema if name not in frame.columns]
    return frame.with_columns(missing).select(schema.names()).cast(dict(schema))


def main() -> None:
    print(", ".join(describe().values()))
    command = [str(Path(sys.executable).with_name("gradprism")), "--help"]
    subprocess.run(command, check=True, capture_output=True)
    helps = [_seconds(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(REPEATS)]
    print(f"gradprism --help: {statistics.median(helps):.2f} s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        write(folder)
        size = sum(file.stat().st_size for file in folder.rglob("*.parquet")) >> 20
        means = [_seconds(lambda: open_run(folder).layer_means) for _ in range(REPEATS + 1)][1:]
        print(
            f"layer means of {EXAMPLES_IN_ALL:,} examples x {LAYERS} layers x {len(PROJECTIONS)} projections "
            f"({size:,} MiB): {statistics.median(means):.2f} s"
        )
    save("reading", {"help_seconds": statistics.median(helps), "layer_means_seconds": statistics.median(means)})


def _seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
