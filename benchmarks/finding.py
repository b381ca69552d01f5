"""Does influence on a target find the rows of its source in a mixed pool? AUC, raw and with length controlled.

python -m benchmarks.finding RUN TARGET.jsonl --source gsm8k [--leave gsm8kR1]

RUN is of a pool with a column `source`, measured with --target; TARGET.jsonl are held-out rows of one source. Beside
the influence stand loss, length, measures of size and rank, and the words alone (TF-IDF cosine with the target).
"""

import argparse
import json
from collections.abc import Sequence

import numpy as np
import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer

import gradprism
from benchmarks.results import load, save
from gradprism.runs.source_data import open_source_data
from gradprism.stats.effect_size import auc, auc_interval
from gradprism.stats.given_length import place_given_length

MEASURES = ("loss", "length", "nuclear_norm", "effective_rank")


def words(rows: Sequence[str], target: Sequence[str]) -> np.ndarray:
    """Return the TF-IDF cosine of each row with the mean of the target's rows."""
    vectors = TfidfVectorizer(sublinear_tf=True).fit([*rows, *target])
    mean = np.asarray(vectors.transform(target).mean(axis=0)).ravel()
    return vectors.transform(rows) @ (mean / np.linalg.norm(mean))


def text_of(row: object) -> str:
    return " ".join(turn.content for turn in row.turns)  # type: ignore[attr-defined]


def separated(values: np.ndarray, is_source: np.ndarray) -> list[float]:
    """Return the AUC, and the ends of its 95% interval."""
    first, second = values[is_source][:, None], values[~is_source][:, None]
    return [float(each[0]) for each in (auc(first, second), *auc_interval(first, second))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("target")
    parser.add_argument("--source", default="gsm8k")
    parser.add_argument("--leave", nargs="*", default=[])
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    run = gradprism.open_run(options.run)
    influence = [name for name in run.metrics if name.startswith("influence:")]
    texts = {row.row: text_of(row) for row in open_source_data(run)}
    rows = run.columns.select("row", "source").join(run.examples.filter(status="ok").select("row"), on="row")
    rows = rows.filter(~pl.col("source").is_in(options.leave)).sort("row")
    is_source = (rows["source"] == options.source).to_numpy()
    criteria = {
        name: rows.join(gradprism.metric_values(run, name), on="row", how="left")["value"].to_numpy()
        for name in (*influence, *(f"{name}.inner_product" for name in influence), *MEASURES, "prompt_length")
    }
    target = [" ".join(map(str, json.loads(line).values())) for line in open(options.target)]  # noqa: PTH123, SIM115
    criteria["words (TF-IDF)"] = words([texts[row] for row in rows["row"]], target)
    lengths = np.column_stack([criteria.pop("length"), criteria.pop("prompt_length")])
    found = {"length": {"raw": separated(lengths[:, 0], is_source)}}
    for name, values in criteria.items():
        left = place_given_length(values, lengths)
        found[name] = {"raw": separated(values, is_source), "given length": separated(left, is_source)}
    print(f"{is_source.sum()} rows of {options.source} among {len(rows)}")
    for name, each in found.items():
        said = "  ".join(f"{kind} {v:.3f} [{low:.3f}, {high:.3f}]" for kind, (v, low, high) in each.items())
        print(f"  {name:30} {said}")
    if not options.no_save:
        save("finding", (load("finding") or {}) | {run.record["model"]["name"]: found})


if __name__ == "__main__":
    main()
