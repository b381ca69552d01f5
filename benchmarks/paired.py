"""How often intervals and tests of paired rows are right, on simulated data whose truth is known.

    python -m benchmarks.paired

Effects of rows (differences of logs) are drawn from distributions without and with tails and skew. Prints and saves,
for each and for each number of rows, in how many of 100 tests the 95% interval holds the mean, and in how many p is
below 0.05 where the mean is 0.
"""

import argparse
from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.results import save
from gradprism.stats.bootstrap import resample_means
from gradprism.stats.paired import paired_interval
from gradprism.stats.permutation import sign_flip_p

ROWS = (5, 8, 12, 20, 40, 100, 400)
FEATURES = 50  # tests that share their resamples
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
EFFECTS: Mapping[str, tuple[Draw, float]] = {  # and their mean
    "normal": (lambda rng, size: rng.normal(size=size), 0.0),
    "t, 5 degrees": (lambda rng, size: rng.standard_t(5, size=size), 0.0),
    "gamma, shape 4": (lambda rng, size: rng.gamma(4.0, size=size), 4.0),
    "exponential": (lambda rng, size: rng.exponential(size=size), 1.0),
}


def measured(n: int, draw: Draw, mean: float, tests: int, seed: int) -> dict[str, float]:
    """Return coverage of the interval, and how often p is below 0.05 where there is no effect, in percent."""
    held, found = list[bool](), list[bool]()
    for block in range(tests // FEATURES):
        rng = np.random.default_rng([seed, n, block])
        values = draw(rng, (n, FEATURES))
        low, high = paired_interval(resample_means(values, 1999, rng), n=n)
        held += [*((low <= mean) & (mean <= high))]
        found += [*(sign_flip_p(values - mean, 1999, rng) < 0.05)]
    return {"coverage": 100 * float(np.mean(held)), "p below 0.05": 100 * float(np.mean(found))}


def main() -> None:
    """Simulate, print a Markdown table, and save the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    results = [
        {"effects": name, "rows": n, **measured(n, draw, mean, given.tests, given.seed)}
        for name, (draw, mean) in EFFECTS.items()
        for n in ROWS
    ]
    print("| effects of rows | " + " | ".join(f"{n} rows" for n in ROWS) + " |")
    print("|---" * (len(ROWS) + 1) + "|")
    for name in EFFECTS:
        own = [each for each in results if each["effects"] == name]
        cells = [f"{each['coverage']:.0f}, {each['p below 0.05']:.0f}" for each in own]
        print(f"| {name} | " + " | ".join(cells) + " |")
    save("paired", {"tests": given.tests, "seed": given.seed, "results": results})


if __name__ == "__main__":
    main()
