"""How long `gradprism compare` takes on two large runs, and the figures of it.

    python -m benchmarks.comparing

The runs are synthetic: 5,000 examples each, 30 layers, 4 projections, all measures and cosines, spectra of 64 values.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.machine import describe
from benchmarks.reading import filled
from benchmarks.results import save
from gradprism.prism.measures import MEASURES
from gradprism.prism.tables import EXAMPLES, SIMILARITY, SPECTRA, Tables
from gradprism.runs.writer import RunWriter

LAYERS, PROJECTIONS, PART, VALUES = 30, ("q", "k", "v", "o"), 500, 64


def write(folder: Path, examples: int, seed: int) -> None:
    """A run whose measures follow length; that of seed 1 has longer answers and slightly higher measures."""
    random = np.random.default_rng(seed)
    identity = {
        "prism.projections": ",".join(PROJECTIONS), "prism.precision": "exact", "text.template": "paper",
        "text.max_length": 2048, "checkpoint.from_scratch": False,
    }  # fmt: skip
    model = {"name": "synthetic", "class": "LlamaForCausalLM", "revision": "0", "dtype": "float32", "layers": LAYERS}
    data = {"rows": examples, "sources": [folder.name], "schema": "synthetic", "fingerprint": folder.name}
    with RunWriter(folder, {"identity": identity, "model": model, "data": data, "sessions": []}) as writer:
        for index in range(-(-examples // PART)):
            rows = np.arange(index * PART, min((index + 1) * PART, examples))
            writer.publish(index, part(rows, random, seed))


def part(rows: np.ndarray, random: np.random.Generator, seed: int) -> Tables:
    """One part: a row an example, one a gradient, one a cosine."""
    n, each = len(rows), LAYERS * len(PROJECTIONS)
    tokens = np.exp(random.normal(5 + 0.3 * seed, 0.6, n)).astype(int) + 1
    gain = np.sqrt(tokens / 150) * (1 + 0.03 * seed)
    examples = pl.DataFrame(
        {
            "example_id": rows.astype(str), "row": rows, "status": ["ok"] * n, "columns": ["{}"] * n,
            "content_hash": [f"{seed}-{row}" for row in rows], "truncated": [False] * n,
            "n_prompt_tokens": random.integers(5, 200, n), "n_response_tokens": tokens,
            "loss": random.lognormal(0.5, 0.3, n),
        }
    )  # fmt: skip
    keys = {
        "example_id": rows.astype(str).repeat(each), "row": rows.repeat(each),
        "layer": np.tile(np.arange(LAYERS).repeat(len(PROJECTIONS)), n),
    }  # fmt: skip
    names = list(PROJECTIONS) * LAYERS * n
    spectra = pl.DataFrame(
        {
            **keys, "projection": names,
            **{measure: gain.repeat(each) * random.lognormal(0, 0.2, n * each) for measure in MEASURES},
            "singular_values": list(-np.sort(-random.lognormal(size=(n * each, VALUES)), axis=1).astype(np.float32)),
        }
    )  # fmt: skip
    similarity = pl.DataFrame(
        {**keys, "pair": names, "kind": ["adjacent"] * (n * each), "cosine": random.normal(0, 0.05, n * each)}
    ).with_columns(other_layer=pl.col("layer") + 1).filter(pl.col("layer") < LAYERS - 1)  # fmt: skip
    return Tables(filled(examples, EXAMPLES), filled(spectra, SPECTRA), filled(similarity, SIMILARITY))


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--examples", type=int, default=5000)
    options.add_argument("--keep", type=Path)
    given = options.parse_args()
    print(", ".join(describe().values()))
    with tempfile.TemporaryDirectory() as name:
        measured = measure(given.keep or Path(name), given.examples)
    print(f"peak memory {measured['peak_mib']:,} MiB")
    save("comparing", measured)


def measure(folder: Path, examples: int) -> dict[str, Any]:
    """Seconds of each step."""
    from gradprism.comparison.api import compare

    for seed, group in enumerate(("low", "high")):
        if not (folder / group).exists():
            write(folder / group, examples, seed)
    seconds = {}
    began = time.perf_counter()
    comparison = compare(high=folder / "high", low=folder / "low", out=folder / "comparison")
    seconds["compare"] = time.perf_counter() - began
    print(f"compare 2 x {examples:,} examples x {LAYERS} layers x {len(PROJECTIONS)}: {seconds['compare']:.1f} s, "
          f"{comparison.effects.height:,} effects")  # fmt: skip
    from gradprism.figures.api import draw_figures

    began = time.perf_counter()
    drawn = draw_figures(folder / "comparison")
    seconds["figures"] = time.perf_counter() - began
    n = sum(bool(figure.files) for figure in drawn)
    print(f"{n} figures of it, each in three formats: {seconds['figures']:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return {"examples": examples, "seconds": seconds, "peak_mib": peak}


if __name__ == "__main__":
    main()
