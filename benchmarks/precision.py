"""What reduced precision gains and costs: time, errors and agreement with `exact` on real examples.

    python -m benchmarks.precision [--rows 48] [--data FILE [OTHER]]

Every arithmetic runs here, also one that this machine would not choose (marked `*`): its errors hold for any machine,
its time only for this one. `estimates` alone computes products as `exact` does. Of two files, such as those of highest
and lowest reward, how well each way tells their rows apart is compared too.
"""

import argparse
import math
import statistics
from collections.abc import Iterator
from dataclasses import replace
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
from gradprism.prism.settings import Precision
from gradprism.prism.tables import Tables

CHUNK = 8  # examples between one way and the next: the machine's speed drifts
WAYS: dict[str, tuple[Precision, Arithmetic]] = {
    "exact": ("exact", "as loaded"),
    "balanced: estimates": ("balanced", "as loaded"),
    "fast: estimates": ("fast", "as loaded"),
    "balanced (tensor cores)": ("balanced", "TF32 products"),
    "fast (tensor cores, AMX)": ("fast", "bf16 autocast"),
    "fast (VNNI)": ("fast", "int8 products"),
}
KEY = ["row", "layer", "projection"]
SECOND = 1_000_000  # added to the row numbers of the second file


def measure(model: Any, tokenizer: Any, encoded: Encodeds, chosen: list[str]) -> Iterator[dict[str, Any]]:
    """One row of the table for each way; time as the median over chunks of the ratio to `plain`."""
    device = next(model.parameters()).device
    analyzers = {}
    for name in chosen:
        precision, arithmetic = WAYS[name]
        analyzers[name] = GradientAnalyzer(model, tokenizer, max_length=2048, precision=precision)
        analyzers[name]._computing = Computing(model, arithmetic, device, but=[model.get_output_embeddings()])
        analyzers[name].analyze_encoded(encoded[:1])
    ratios: dict[str, list[float]] = {name: [] for name in chosen}
    spectra: dict[str, list[pl.DataFrame]] = {name: [] for name in chosen}
    plain(model, encoded[:1])
    for start in range(0, len(encoded), CHUNK):
        chunk = encoded[start : start + CHUNK]
        of_plain = seconds(partial(plain, model, chunk))
        for name, analyzer in analyzers.items():
            made: list[Tables] = []
            taken = seconds(partial(_collect, made, analyzer, chunk))
            ratios[name].append(taken / of_plain)
            spectra[name].append(made[0].spectra)
    exact = pl.concat(spectra["exact"])
    for name in chosen:
        precision, arithmetic = WAYS[name]
        found = pl.concat(spectra[name])
        yield {
            "name": name,
            "arithmetic": arithmetic,
            "chosen_here": arithmetic == arithmetic_of(precision, device),
            "of_plain": statistics.median(ratios[name]),
            "estimated": float(found["nuclear_norm_error"].is_not_null().mean()) if precision != "exact" else 0.0,
            **agreement(exact, found),
            "groups": {each: apart(found, each) for each in ("nuclear_norm", "effective_rank")},
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


def apart(spectra: pl.DataFrame, measure: str) -> tuple[float, float] | None:
    """AUC and ratio of means (geometric) of the rows of the first file against the second; None of one file."""
    means = spectra.group_by("row").agg(pl.col(measure).mean()).sort("row")
    first, second = (means.filter((pl.col("row") >= SECOND) == is_second)[measure] for is_second in (False, True))
    if second.is_empty():
        return None
    wins = sum(float((second < value).sum()) + float((second == value).sum()) / 2 for value in first)
    return wins / len(first) / len(second), math.exp(float(first.log().mean()) - float(second.log().mean()))  # type: ignore[arg-type]


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
    told = {name: both for name, both in row["groups"].items() if both}
    words = [f"{name} AUC {auc:.3f}, ratio {ratio:.4f}" for name, (auc, ratio) in told.items()]
    print(f"{'':<26}{row['estimated']:>6.0%} of spectra estimated; {'; '.join(words)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--data", type=Path, nargs="+", default=[SAMPLE])
    options = parser.parse_args()
    model, tokenizer, encoded = smollm2(options.data[0], options.rows)
    for other in options.data[1:]:
        more = smollm2(other, options.rows)[2]
        encoded = [*encoded, *((replace(example, row=example.row + SECOND), item) for example, item in more)]
        encoded = [each for pair in zip(encoded[: len(encoded) // 2], encoded[len(encoded) // 2 :], strict=True)
                   for each in pair]  # fmt: skip
    not_here = {"TF32 products"} if not torch.cuda.is_available() else {"int8 products"}
    chosen = [name for name, (_, arithmetic) in WAYS.items() if arithmetic not in not_here]
    model.to("cuda" if torch.cuda.is_available() else "cpu")
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
