"""What `--tokens` costs: measuring with it and without it, row by row in turn, in seconds of processor time.

python -m benchmarks.by_token [--rows 12] [--repeats 3]
"""

import argparse
import statistics
import time
from collections.abc import Iterator

from benchmarks.results import save
from benchmarks.works import SAMPLE, Encodeds, smollm2
from gradprism import GradientAnalyzer


def ratios(analyzers: dict[bool, GradientAnalyzer], encoded: Encodeds, repeats: int) -> Iterator[float]:
    """One ratio a round, of all rows; who begins changes from row to row."""
    for turn in range(repeats):
        taken = {True: 0.0, False: 0.0}
        for place, item in enumerate(encoded):
            for tokens in (True, False) if (turn + place) % 2 else (False, True):
                start = time.process_time()
                analyzers[tokens].analyze_encoded([item])
                taken[tokens] += time.process_time() - start
        yield taken[True] / taken[False]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    model, tokenizer, encoded = smollm2(SAMPLE, options.rows)
    analyzers = {tokens: GradientAnalyzer(model, tokenizer, tokens=tokens) for tokens in (True, False)}
    for analyzer in analyzers.values():
        analyzer.analyze_encoded(encoded[:1])
    found = list(ratios(analyzers, encoded, options.repeats))
    print(f"with / without tokens: {statistics.median(found):.2f} ({', '.join(f'{ratio:.2f}' for ratio in found)})")
    if not options.no_save:
        save("by_token", {"rows": options.rows, "ratios": found})


if __name__ == "__main__":
    main()
