"""How right and how fast the diversity of sketches is, on made-up gradients whose truth is known.

    python -m benchmarks.diversity noise coverage recall cost

noise: Vendi scores of sketches, raw and with the noise of sketching taken out, beside those of the vectors. coverage:
in how many of 100 samples the 95% interval holds the mean score of samples of that size. recall: the part of
near-duplicate pairs that the search of many rows finds. cost: time and memory of the whole verb on 100,000 rows. Prints
and saves.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.machine import describe
from benchmarks.results import load, save
from gradprism.set_diversity.measuring import measure_diversity
from gradprism.set_diversity.settings import DiversitySettings
from gradprism.set_diversity.sketched_rows import SketchedRows
from gradprism.stats.neighbours import near_duplicate_pairs, nearest_neighbours
from gradprism.stats.sketch_noise import entropy_before_sketching
from gradprism.stats.subset_diversity import random_halves
from gradprism.stats.vendi import eigenvalue_shares, entropy, gram_matrix, log_vendi

WIDTH = 1500  # numbers of a gradient before it is sketched
Draw = Callable[[np.random.Generator, int], np.ndarray]


def clustered(rng: np.random.Generator, n: int) -> np.ndarray:
    """100 directions, the k-th 1/k times as often as the first, with noise."""
    centres, often = np.random.default_rng(7).standard_normal((100, WIDTH)), 1 / np.arange(1, 101)
    return centres[rng.choice(100, n, p=often / often.sum())] + 0.7 * rng.standard_normal((n, WIDTH))


def common_direction(rng: np.random.Generator, n: int) -> np.ndarray:
    """A direction that all share, with a quarter of the squared norm of each, and noise."""
    return rng.standard_normal((n, WIDTH)) + np.random.default_rng(7).standard_normal(WIDTH) / np.sqrt(3)


KINDS: dict[str, Draw] = {
    "low rank (40)": lambda rng, n: rng.standard_normal((n, 40)),
    "power law": lambda rng, n: rng.standard_normal((n, WIDTH)) * np.arange(1, WIDTH + 1) ** -0.5,
    "clusters": clustered,
    "common direction": common_direction,
    "isotropic": lambda rng, n: rng.standard_normal((n, WIDTH)),
}


def noise(rng: np.random.Generator, n: int = 1000) -> Iterator[dict[str, Any]]:
    """Score sketches of several dimensions."""
    for kind, draw in KINDS.items():
        vectors = draw(rng, n)
        vectors /= np.linalg.norm(vectors, axis=1)[:, None]
        truth = np.exp(log_vendi(vectors))
        for dim in (128, 512, 2048):
            sketches = vectors @ rng.standard_normal((vectors.shape[1], dim))
            shares = eigenvalue_shares(gram_matrix(sketches))
            found = entropy_before_sketching(shares, n, dim)
            yield {"kind": kind, "rows": n, "dimension": dim, "truth": float(truth),
                   "raw": float(np.exp(entropy(shares))), "corrected": float(np.exp(found.value)),
                   "lowest": float(np.exp(found.lowest))}  # fmt: skip


def coverage(rng: np.random.Generator, samples: int = 100) -> Iterator[dict[str, Any]]:
    """Count how often the interval of a sample's score holds the mean score of samples of that size."""
    for kind, draw in KINDS.items():
        for n in (50, 200, 600):
            dim = 128 if n == 600 else 512  # more than 2 x 128 rows: by groups of rows, as for more than 2,048 of 1,024
            scores, errors = [], []
            for _ in range(samples):
                vectors = draw(rng, n)
                vectors /= np.linalg.norm(vectors, axis=1)[:, None]
                scores.append(log_vendi(vectors))
                sketches = vectors @ rng.standard_normal((vectors.shape[1], dim))
                errors.append(random_halves(sketches, rng, sketched=True, halves=20).error)
            off = np.abs(np.array(scores) - np.mean(scores))
            yield {"kind": kind, "rows": n, "dimension": dim, "score": float(np.exp(np.mean(scores))),
                   "spread": float(np.std(scores, ddof=1)), "error": float(np.mean(errors)),
                   "coverage": float(np.mean(off < 1.96 * np.array(errors)))}  # fmt: skip


def recall(rng: np.random.Generator, n: int = 20_000, dim: int = 1024) -> Iterator[dict[str, Any]]:
    """Search many rows of clusters, a twentieth of which have a near-duplicate, and count those that are found."""
    pairs = n // 20
    for cosine in (0.99, 0.95, 0.9):
        values = clustered(rng, n)[:, :dim]
        values /= np.linalg.norm(values, axis=1)[:, None]
        noise = rng.standard_normal((pairs, dim)) / np.sqrt(dim)
        values[pairs : 2 * pairs] = cosine * values[:pairs] + np.sqrt(1 - cosine**2) * noise
        begun = time.process_time()
        found, _ = near_duplicate_pairs(nearest_neighbours(values.astype(np.float16)), cosine - 0.03)
        there = {(i, i + pairs) for i in range(pairs)} & {tuple(pair) for pair in found.tolist()}
        yield {"cosine": cosine, "rows": n, "recall": len(there) / pairs, "cpu_s": time.process_time() - begun}


def cost(rng: np.random.Generator, n: int = 100_000, dim: int = 4096) -> Iterator[dict[str, Any]]:
    """Measure the whole verb on rows of four sources, mapped from a file."""
    with tempfile.TemporaryDirectory() as folder:
        centres = rng.standard_normal((500, dim)).astype(np.float32)
        values = np.memmap(Path(folder) / "sketches", np.float16, "w+", shape=(n, dim))
        for start in range(0, n, 5000):
            rows = len(values[start : start + 5000])
            noise = rng.standard_normal((rows, dim), dtype=np.float32)
            values[start : start + rows] = ((centres[rng.integers(0, 500, rows)] + noise) / 90).astype(np.float16)
        table = pl.DataFrame({
            "run": "made", "row": np.arange(n), "example_id": np.arange(n).astype(str),
            "source": np.array(list("abcd"))[np.arange(n) % 4], "response_tokens": rng.integers(20, 900, n),
            "gradient_norm": np.ones(n),
        })  # fmt: skip
        begun, cpu = time.time(), time.process_time()
        settings = DiversitySettings()
        found = measure_diversity(
            SketchedRows(values, table, ()), settings, {"settings": settings.model_dump(mode="json")}
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        yield {"rows": n, "dimension": dim, "seconds": time.time() - begun, "cpu_s": time.process_time() - cpu,
               "peak_gib": peak, "vendi": found.vendi}  # fmt: skip


PARTS = {"noise": noise, "coverage": coverage, "recall": recall, "cost": cost}


def main() -> None:
    """Run the parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[*PARTS], choices=[*PARTS])
    found = {name: rows for name, rows in (load("diversity") or {}).items() if name in PARTS}
    print(describe())
    for part in parser.parse_args().parts:
        found[part] = list[dict[str, Any]]()
        for row in PARTS[part](np.random.default_rng(0)):
            print(part, *(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                          for name, value in row.items()), flush=True)  # fmt: skip
            found[part].append(row)
        save("diversity", found)


if __name__ == "__main__":
    main()
