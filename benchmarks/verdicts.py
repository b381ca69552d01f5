"""How often each length control and each verdict is right, on simulated data whose truth is known.

    python -m benchmarks.verdicts

Log measures follow length by a power law, by a curve that saturates, or bend; the groups differ in length, and beside
it by a factor of 1 (no effect) or of 1.15. Every data set goes through the same code as `gradprism compare`. Prints and
saves, for each way to differ in length, in how many of 100 tests a control finds a difference, in how many its 95%
interval holds the truth, and which verdicts come out.
"""

import argparse
import math
from collections import Counter
from itertools import count, product
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from benchmarks.machine import describe
from benchmarks.results import save
from gradprism.comparison.contrast import Side, contrast
from gradprism.comparison.findings import finding
from gradprism.comparison.group_matrix import Features, GroupMatrix
from gradprism.comparison.grouping import GroupRows
from gradprism.comparison.length_controls import ALPHA
from gradprism.comparison.settings import CompareSettings
from gradprism.stats.bootstrap import resample_means

FEATURES = 10  # measures of one data set: the same lengths, noise of their own
NOISE = 0.15  # standard deviation of a log measure given the lengths
EFFECT = 1.15
SETTINGS = CompareSettings(resamples=999)
CONTROLS = ("", "weighted_", "matched_", "regression_", "partial_")
NAMES = ("raw", "weights", "pairs", "regression", "partial")
DEPENDENCES = ("power", "saturating", "bent")


class Groups(NamedTuple):
    """How two groups differ in length."""

    n_first: int
    n_second: int
    ratio: float  # of median response tokens
    longest: int | None = None  # where responses are cut


CASES = (
    Groups(18, 18, 1.2), Groups(50, 50, 5.0), Groups(200, 200, 5.0), Groups(200, 1000, 2.7), Groups(200, 2000, 5.0),
    Groups(200, 200, 3.0, 300), Groups(200, 200, 12.0), Groups(100, 100, 40.0),
)  # fmt: skip


def simulated(groups: Groups, dependence: str, factor: float, random: np.random.Generator) -> pl.DataFrame:
    """Effects of two groups whose measures follow length, and differ by `factor` beside it."""
    is_first = np.arange(groups.n_first + groups.n_second) < groups.n_first
    prompt = random.normal(4, 0.6, len(is_first)) + 0.2 * is_first
    response = random.normal(5, 0.8, len(is_first)) + math.log(groups.ratio) * is_first
    tokens = np.maximum(np.round(np.exp(response)), 2)
    truncated = tokens >= (groups.longest or np.inf)
    tokens = np.minimum(tokens, groups.longest or np.inf)
    log_measure = {
        "power": 0.7 * np.log(tokens),
        "saturating": 2 * np.log(tokens / (tokens + 150)),
        "bent": -0.15 * (np.log(tokens) - 5) ** 2,
    }[dependence]
    log_measure = log_measure + 0.2 * prompt + math.log(factor) * is_first
    values = np.exp(log_measure[:, None] + random.normal(0, NOISE, (len(is_first), FEATURES)))
    examples = pl.DataFrame(
        {
            "row": np.arange(len(is_first)), "n_prompt_tokens": np.round(np.exp(prompt)).astype(int),
            "n_response_tokens": tokens.astype(int), "truncated": truncated, "loss": random.random(len(is_first)),
        }
    )  # fmt: skip
    sides = [_side(name, examples, values, mask, random) for name, mask in (("a", is_first), ("b", ~is_first))]
    draws = (np.random.default_rng([int(random.integers(2**31)), number]) for number in count())
    return contrast(sides[0], sides[1], SETTINGS, draws)


def _side(name: str, examples: pl.DataFrame, values: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> Side:
    rows = GroupRows(name, None, "simulated", examples["row"].filter(mask))  # type: ignore[arg-type]
    features = Features(tuple((f"measure {index}", None, None) for index in range(values.shape[1])))
    group = GroupMatrix(rows, examples.filter(mask), features, values[mask])
    return Side(group, resample_means(group.values, 199, random))  # the interval of means is not looked at


def rates(groups: Groups, dependence: str, factor: float, sets: int, random: np.random.Generator) -> dict[str, Any]:
    """Shares of tests that find a difference, of intervals that hold the truth, and of verdicts."""
    rows = [row for _ in range(sets) for row in simulated(groups, dependence, factor, random).iter_rows(named=True)]
    found: dict[str, Any] = {"groups": groups._asdict(), "dependence": dependence, "factor": factor, "tests": len(rows)}
    for prefix, name in zip(CONTROLS, NAMES, strict=True):
        tested = [row for row in rows if row[f"{prefix}p"] is not None]
        found[f"{name}_finds"] = float(np.mean([row[f"{prefix}p"] < ALPHA for row in tested])) if tested else None
    truth = math.log(factor)
    held = [row for row in rows if row["weighted_low"] is not None]
    covered = [row["weighted_low"] <= truth <= row["weighted_high"] for row in held]
    found["coverage"] = float(np.mean(covered)) if covered else None
    found["effective"] = float(np.median([min(row["weighted_n_first"], row["weighted_n_second"]) for row in rows]))
    kinds = Counter(finding(row).kind for row in rows)
    return found | {"verdicts": {kind: n / len(rows) for kind, n in kinds.most_common()}}


def line(found: dict[str, Any]) -> str:
    """One row of the table in docs/comparing.md, in percent."""
    groups, verdicts = Groups(**found["groups"]), found["verdicts"]
    cut = f", cut at {groups.longest}" if groups.longest else ""
    finds = [found[f"{name}_finds"] for name in NAMES[1:4]]
    shown = sum(verdicts.get(kind, 0) for kind in ("survives", "hidden", "reversed", "mixed"))
    undecided = sum(verdicts.get(kind, 0) for kind in ("unclear", "none"))
    numbers = [*finds, found["coverage"], shown, verdicts.get("equal", 0) + verdicts.get("length", 0), undecided]
    cells = [f"{groups.n_first:,} / {groups.n_second:,}, ×{groups.ratio:g}{cut}", found["dependence"],
             f"×{found['factor']:g}", f"{found['effective']:.0f}",
             *("–" if value is None else f"{100 * value:.0f}" for value in numbers)]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--sets", type=int, default=60, help=f"data sets a line, of {FEATURES} tests each")
    given = options.parse_args()
    print(", ".join(describe().values()))
    heads = [
        "rows, length",
        "dependence",
        "effect",
        "effective",
        *NAMES[1:4],
        "coverage",
        "shown",
        "equal or length",
        "undecided",
    ]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    results = []
    for number, (groups, dependence, factor) in enumerate(product(CASES, DEPENDENCES, (1.0, EFFECT))):
        results.append(rates(groups, dependence, factor, given.sets, np.random.default_rng([7, number])))
        print(line(results[-1]), flush=True)
    save("verdicts", {"noise": NOISE, "lines": results})


if __name__ == "__main__":
    main()
