"""Sources of a set: their scores, random subsets of equal size, and what every two bring together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from gradprism.set_diversity.settings import DiversitySettings
from gradprism.set_diversity.sketched_rows import SketchedRows
from gradprism.set_diversity.tables import UNIONS
from gradprism.stats.sketch_noise import entropy_before_sketching, error_of_sketching
from gradprism.stats.subset_diversity import (
    Spread,
    random_halves,
    random_subsets,
    spread_of_subsets,
    subsets_of_tokens,
)
from gradprism.stats.vendi import MOST_DIM, eigenvalue_shares, gram_matrix

FEWEST_ROWS = 10
"""Rows that a source needs, to be compared at equal size."""
MOST_ROWS = 300
"""Rows of a random subset, where their number is not given."""
MOST_UNIONS = 6
"""Sources, the largest, of which every two are united."""

_FEWEST_OF_TOKENS = 5  # rows of the source of the longest responses in a subset of equal tokens


@dataclass(frozen=True)
class Sizes:
    """The rows and response tokens of the random subsets that sources are compared by; None where none can be."""

    rows: int | None
    tokens: float | None
    least: int  # rows that a source needs


def common_sizes(sources: Mapping[str, np.ndarray], tokens: np.ndarray, settings: DiversitySettings) -> Sizes:
    """Choose sizes that the sources can give: those of enough rows, and for tokens of responses that are not too short.

    A single source has none, unless the rows are given.
    """
    least = settings.rows or FEWEST_ROWS
    enough = [rows for rows in sources.values() if len(rows) >= least]
    if not enough or (len(sources) == 1 and settings.rows is None):
        return Sizes(None, None, least)
    rows = settings.rows or min(MOST_ROWS, *(len(each) for each in enough))
    means = [float(tokens[each].mean()) for each in enough]
    budgets = sorted(rows * mean for mean in means if rows * mean >= _FEWEST_OF_TOKENS * max(means) > 0)
    return Sizes(rows, budgets[0] if len(budgets) > 1 else None, least)


class SourceMeasurer:
    """Measures sources by random subsets of common sizes, with one generator."""

    def __init__(self, found: SketchedRows, sizes: Sizes, settings: DiversitySettings):
        """Take the rows of all sources, and the sizes of subsets."""
        self._values, self._tokens, self._sizes = found.values, found.tokens, sizes
        self._draws, self._rng = settings.draws, np.random.default_rng(settings.seed)

    def describe(self, name: str, rows: np.ndarray, shares: np.ndarray | None = None) -> dict[str, Any]:
        """Return a row of SOURCES. `shares` are the eigenvalues in all coordinates, where they are known."""
        tokens = self._tokens[rows]
        return {
            "source": name, "rows": len(rows), "response_tokens": float(np.median(tokens)),
            "total_tokens": float(tokens.sum()), **self._score(rows, shares), **self._at_equal_rows(rows),
            **self._at_equal_tokens(rows),
        }  # fmt: skip

    def _score(self, rows: np.ndarray, shares: np.ndarray | None) -> dict[str, float]:
        """Score all rows, with the interval of the rows as a sample and of their sketches as one projection of many."""
        dim = self._values.shape[1]
        if shares is None:
            dim = min(dim, MOST_DIM) if len(rows) > MOST_DIM else dim
            shares = eigenvalue_shares(gram_matrix(self._values, rows, dim))
        entropy = entropy_before_sketching(shares, len(rows), dim)
        halves = random_halves(self._values, self._rng, rows, sketched=True)
        error = 1.96 * float(np.hypot(halves.error, error_of_sketching(shares, dim)))
        low, high = np.exp(entropy.value - error), np.minimum(np.exp(entropy.value + error), len(rows))
        return {
            "vendi": float(np.exp(entropy.value)), "low": float(low), "high": float(high),
            "lowest": float(np.exp(entropy.lowest)), "half": halves.score,
        }  # fmt: skip

    def _at_equal_rows(self, rows: np.ndarray) -> dict[str, float | None]:
        if self._sizes.rows is None or len(rows) < self._sizes.rows:
            return {}
        if len(rows) == self._sizes.rows:  # all rows are no random subset, and have no range
            return {"equal_rows": self._spread([rows]).mean}
        return _columns("equal_rows", self._spread(self._subsets([(rows, self._sizes.rows)])))

    def _at_equal_tokens(self, rows: np.ndarray) -> dict[str, float | None]:
        budget, tokens = self._sizes.tokens, self._tokens[rows]
        if budget is None or len(rows) < self._sizes.least or tokens.sum() < budget * (1 - 1e-9):
            return {}
        subsets = [*subsets_of_tokens(rows, tokens, budget, self._draws, self._rng)]
        mean = float(np.mean([len(each) for each in subsets]))
        return {**_columns("equal_tokens", self._spread(subsets)), "rows_of_equal_tokens": mean}

    def unions(self, sources: Mapping[str, np.ndarray], alone: Mapping[str, float]) -> pl.DataFrame:
        """Compare a source `alone` with as many rows, half of them from another, for every two of the largest."""
        found, rows = list[tuple[Any, ...]](), self._sizes.rows or 0
        for one, other in combinations([name for name in sources if name in alone][:MOST_UNIONS], 2):
            pools = [(sources[one], rows - rows // 2), (sources[other], rows // 2)]
            union = self._spread(self._subsets(pools))
            for first, second in ((one, other), (other, one)):
                ratio = union.mean / alone[first]
                found.append((first, second, rows, alone[first], union.mean, union.low, union.high, ratio))
        return pl.DataFrame(found, schema=UNIONS, orient="row").sort("ratio", descending=True)

    def _subsets(self, pools: list[tuple[np.ndarray, int]]) -> Iterable[np.ndarray]:
        return random_subsets(pools, self._draws, self._rng)

    def _spread(self, subsets: Iterable[np.ndarray]) -> Spread:
        return spread_of_subsets(self._values, subsets, sketched=True)


def _columns(name: str, spread: Spread) -> dict[str, float | None]:
    """Return three columns of SOURCES."""
    return {name: spread.mean, f"{name}_low": spread.low, f"{name}_high": spread.high}
