"""What options of `spectra` cost: measuring with each and with none, row by row in turn, in seconds of processor time.

python -m benchmarks.options [--data FOLDER] [--rows 6] [--repeats 3]

FOLDER has WizardLM's rows sorted by reward, wiz_10k_{highest,lowest}_200.json; without it the embedded sample is used.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.results import save
from benchmarks.works import Encodeds, the_four
from gradprism import GradientAnalyzer

Way = Callable[[Encodeds], object]
OPTIONS: Mapping[str, dict[str, int]] = {
    "nothing": {}, "--tokens": {"tokens": True}, "--sketch 4096": {"sketch": 4096}, "--null-draws 1": {"null_draws": 1},
    "--null-draws 4": {"null_draws": 4},
}  # fmt: skip


def ways(model: object, tokenizer: Any, encoded: Encodeds) -> dict[str, Way]:
    """Return what is timed, by name."""
    has_text = len(tokenizer) > 1
    analyzers = {
        name: GradientAnalyzer(model, tokenizer, template="paper", **options)
        for name, options in OPTIONS.items()
        if has_text or name != "--tokens"
    }
    plain = analyzers["nothing"]
    target = plain.target_encoded("target", encoded[:2])
    return {
        **{name: analyzer.analyze_encoded for name, analyzer in analyzers.items()},
        "--target": lambda rows: plain.analyze_encoded(rows, targets=[target]),
    }


def ratios(timed: Mapping[str, Way], encoded: Encodeds, repeats: int) -> dict[str, list[float]]:
    """Return one ratio to nothing a round and way, of all rows; who begins changes from row to row."""
    found: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(repeats):
        taken = dict.fromkeys(timed, 0.0)
        for place, item in enumerate(encoded):
            names = [*timed]
            start_at = (turn + place) % len(names)
            for name in (*names[start_at:], *names[:start_at]):
                start = time.process_time()
                timed[name]([item])
                taken[name] += time.process_time() - start
        for name, seconds in taken.items():
            found[name].append(seconds / taken["nothing"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=int, help="only the work of this number, from 0")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    saved = {}
    for index, work in enumerate(the_four(options.data)):
        if options.work not in (None, index):
            continue
        model, tokenizer, encoded = work.load()
        encoded = encoded[: options.rows]
        timed = ways(model, tokenizer, encoded)
        for way in timed.values():
            way(encoded[:1])
        saved[work.name] = ratios(timed, encoded, options.repeats)
        print(work.name)
        for name, found in saved[work.name].items():
            each = ", ".join(f"{ratio:.2f}" for ratio in found)
            print(f"  {name:16} {statistics.median(found):.2f}  ({each})", flush=True)
    if not options.no_save:
        save("options", {"rows": options.rows, "ratios": saved})


if __name__ == "__main__":
    main()
