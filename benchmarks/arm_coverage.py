"""How often intervals of a difference between two ways to train hold the truth: variances added, against a bootstrap.

    python -m benchmarks.arm_coverage

Simulated losses: evaluation rows differ and gain differently, every training shifts all rows, and each loss has noise
of its own. Prints a table; a few minutes on one core.
"""

import numpy as np

from gradprism.stats.arm_difference import arm_difference

TIMES, RESAMPLES = 2000, 400
CASES = [
    (seeds, rows, of_rows, of_seeds)
    for seeds in (2, 3, 5)
    for rows in (20, 100)
    for of_rows, of_seeds in ((0.2, 0.0), (0.2, 0.03), (0.02, 0.03))
]


def main() -> None:
    """Print the share of intervals that hold the truth, and how often a false difference is found."""
    print("| seeds | rows | sd of rows | sd of seeds | variances added | bootstrap | false: added | false: bootstrap |")
    print("|---|---|---|---|---|---|---|---|")
    for case in CASES:
        print("| " + " | ".join([*map(str, case), *(f"{share:.3f}" for share in shares(*case))]) + " |", flush=True)


def shares(seeds: int, rows: int, of_rows: float, of_seeds: float) -> tuple[float, float, float, float]:
    """Return coverage of both intervals, then false differences where there is none."""
    rng = np.random.default_rng(0)
    hits = np.zeros(4)
    for _ in range(TIMES):
        level, gain = rng.normal(2, 1, rows), rng.normal(0, of_rows, rows)
        losses = level + rng.normal(0, of_seeds, (2, seeds, 1)) + rng.normal(0, 0.05, (2, seeds, rows))
        first, second = losses[0] + gain, losses[1]
        found = arm_difference(first, second, np.ones(rows))
        low, high = bootstrap(first, second, rng)
        hits += (found.low <= 0 <= found.high, low <= 0 <= high, found.p < 0.05, not low <= 0 <= high)
    return tuple(hits / TIMES)


def bootstrap(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Return the percentile interval of a bootstrap over rows (paired) and over the seeds of each side."""
    seeds, rows = first.shape
    rows_drawn = rng.integers(0, rows, (RESAMPLES, rows))
    means = []
    for losses in (first, second):
        drawn = rng.integers(0, seeds, (RESAMPLES, seeds))
        means.append(losses[drawn[:, :, None], rows_drawn[:, None, :]].mean((1, 2)))
    low, high = np.quantile(means[0] - means[1], (0.025, 0.975))
    return float(low), float(high)


if __name__ == "__main__":
    main()
