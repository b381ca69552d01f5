"""What reduced precision gains and costs: time, errors and rank agreement with `exact` on real examples.

    python -m benchmarks.precision [--rows 48] [--data FILE]

Every arithmetic runs here, also one that this machine would not choose (marked `not chosen here`): its errors hold
for any machine, its time only for this one.
"""

import argparse
import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch

from benchmarks.machine import describe
from benchmarks.results import save
from benchmarks.timing import seconds
from benchmarks.ways import plain
from benchmarks.works import SAMPLE, Encodeds, smollm2
from gradprism import GradientAnalyzer
from gradprism.prism.precision import Arithmetic, Computing, arithmetic_of
from gradprism.prism.tables import Tables

CHUNK = 8  # examples between one way and the next: the machine's speed drifts
NAMES: dict[Arithmetic, str] = {
    "as loaded": "exact",
    "TF32 products": "balanced (tensor cores)",
    "bf16 products": "balanced (AMX)",
    "bf16 autocast": "fast (tensor cores, AMX)",
    "int8 products": "fast (VNNI)",
}
KEY = ["row", "layer", "projection"]


def measure(model: Any, tokenizer: Any, encoded: Encodeds, chosen: list[Arithmetic]) -> Iterator[dict[str, Any]]:
    """One row of the table for each arithmetic; time as the median over chunks of the ratio to `plain`."""
    device = next(model.parameters()).device
    analyzers = {}
    for arithmetic in chosen:
        analyzers[arithmetic] = GradientAnalyzer(model, tokenizer, max_length=2048)
        analyzers[arithmetic]._computing = Computing(model, arithmetic, device, but=[model.get_output_embeddings()])
        analyzers[arithmetic].analyze_encoded(encoded[:1])
    ratios: dict[Arithmetic, list[float]] = {arithmetic: [] for arithmetic in chosen}
    spectra: dict[Arithmetic, list[pl.DataFrame]] = {arithmetic: [] for arithmetic in chosen}
    plain(model, encoded[:1])
    for start in range(0, len(encoded), CHUNK):
        chunk = encoded[start : start + CHUNK]
        of_plain = seconds(partial(plain, model, chunk))
        for arithmetic, analyzer in analyzers.items():
            made: list[Tables] = []
            taken = seconds(partial(_collect, made, analyzer, chunk))
            ratios[arithmetic].append(taken / of_plain)
            spectra[arithmetic].append(made[0].spectra)
    exact = pl.concat(spectra["as loaded"])
    for arithmetic in chosen:
        yield {
            "name": NAMES[arithmetic],
            "arithmetic": arithmetic,
            "chosen_here": arithmetic in {arithmetic_of(p, device) for p in ("exact", "balanced", "fast")},
            "of_plain": statistics.median(ratios[arithmetic]),
            **agreement(exact, pl.concat(spectra[arithmetic])),
        }


def _collect(made: list[Tables], analyzer: GradientAnalyzer, encoded: Encodeds) -> None:
    made.append(analyzer.analyze_encoded(encoded))


def agreement(exact: pl.DataFrame, other: pl.DataFrame) -> dict[str, Any]:
    """Relative errors of single gradients; Spearman correlation of the means over layers, by projection and in all."""
    both = exact.join(other, on=KEY, suffix="_other")
    found: dict[str, Any] = {}
    for measure in ("nuclear_norm", "effective_rank"):
        error = (both[f"{measure}_other"] / both[measure] - 1).abs()
        means = both.group_by("row", "projection").agg(pl.col(measure, f"{measure}_other").mean())
        rank = pl.corr(measure, f"{measure}_other", method="spearman")
        by_projection = dict(means.group_by("projection").agg(rank).sort("projection").iter_rows())
        overall = means.group_by("row").agg(pl.col(measure, f"{measure}_other").mean()).select(rank).item()
        found[measure] = {
            "median_error": error.median(), "error_95": error.quantile(0.95),
            "spearman": by_projection, "spearman_all": overall,
        }  # fmt: skip
    return found


def show(row: dict[str, Any]) -> None:
    """Print one row of the table."""
    n, r = row["nuclear_norm"], row["effective_rank"]
    time = f"{row['of_plain']:.2f}" + ("" if row["chosen_here"] else "*")
    print(
        f"{row['name']:<26}{time:>7}   {n['median_error']:.0e} {n['error_95']:.0e} {n['spearman_all']:.4f}"
        f"   {r['median_error']:.0e} {r['error_95']:.0e} {r['spearman_all']:.4f}   "
        + " ".join(f"{p} {value:.4f}" for p, value in r["spearman"].items()),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--data", type=Path, default=SAMPLE)
    options = parser.parse_args()
    model, tokenizer, encoded = smollm2(options.data, options.rows)
    chosen: list[Arithmetic] = ["as loaded", "bf16 autocast", "int8 products"]
    if torch.cuda.is_available():
        model.to("cuda")
        chosen = ["as loaded", "TF32 products", "bf16 autocast"]
    print(", ".join(describe().values()))
    print(f"{len(encoded)} real examples, {sum(item.n_tokens for _, item in encoded)} tokens, smollm2-135m")
    print("time: of plain fp32 training, median over chunks (*: not what this machine would choose)")
    print(f"{'':<26}{'time':>7}   {'nuclear norm':<20}   {'effective rank':<20}   rank correlation by projection")
    print(f"{'':<33}   {'median 95%   rank':<20}   {'median 95%   rank':<20}")
    rows = []
    for row in measure(model, tokenizer, encoded, chosen):
        rows.append(row)
        show(row)
    save("precision", {"examples": len(encoded), "rows": rows})


if __name__ == "__main__":
    main()
