"""Cost of all layers' q, k, v and o relative to an ordinary training pass, on the same examples, side by side.

    python -m benchmarks.cost [--repeats 5] [--works 0,1] [--reward-data FOLDER]

Medians over rounds in one process; in each round the ways take turns, batch by batch. See `ways.py`.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.results import save
from benchmarks.timing import side_by_side
from benchmarks.ways import the_ways
from benchmarks.works import ROOT, Work, the_four

REWARD_DATA = ROOT.parent / "shared" / "data" / "quality" / "reward"


def measure(work: Work, repeats: int, only: Sequence[str]) -> dict[str, Any]:
    """One row of the table."""
    model, tokenizer, encoded = work.load()
    ways = {name: way for name, way in the_ways(model, tokenizer, encoded).items() if not only or name in only}
    medians = side_by_side(ways, repeats)
    return {
        "work": work.name,
        "examples": len(encoded),
        "tokens": sum(item.n_tokens for _, item in encoded),
        "repeats": repeats,
        "seconds": medians,
        "target": work.target,
    }


def show(row: Mapping[str, Any]) -> None:
    """Print one row of the table."""
    s, target = row["seconds"], row["target"]
    of_plain = {name: s[name] / s["plain"] for name in s}
    gain = f"{s['published'] / s['gradprism']:5.1f}" if "published" in s else "    -"
    aim = f"  (aim: <= {target[0]:.2f}, >= {target[1]:.1f})" if target else ""
    print(
        f"{row['work']:<30}{s['plain']:8.2f} s{of_plain['gradprism']:8.2f}{of_plain.get('floor', float('nan')):8.2f}"
        f"{of_plain.get('published', float('nan')):8.2f}{gain:>9}{aim}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--works", default="", help="numbers of the works, from 0; all by default")
    parser.add_argument("--ways", default="", help="plain,gradprism,floor,published; all by default")
    parser.add_argument("--reward-data", type=Path, default=REWARD_DATA, help="WizardLM rows sorted by reward")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    works = the_four(options.reward_data if options.reward_data.exists() else None)
    chosen = [works[int(index)] for index in options.works.split(",")] if options.works else works

    print(", ".join(describe().values()))
    print(f"median of {options.repeats}, side by side; gradprism, floor and published relative to plain")
    print(f"{'':<30}{'plain':>10}{'ours':>8}{'floor':>8}{'publ.':>8}{'gain':>9}")
    rows = []
    for work in chosen:
        rows.append(measure(work, options.repeats, [name for name in options.ways.split(",") if name]))
        show(rows[-1])
        if not options.no_save:
            save("cost", {"works": rows})


if __name__ == "__main__":
    main()
