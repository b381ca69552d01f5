"""The number of examples of two groups that pair in response length, on which every control for length rests."""

from dataclasses import dataclass

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.stats.length_match import overlap_in_length


@dataclass(frozen=True)
class Pairs:
    """`n` pairs of examples, one of each group, that agree in response tokens, out of at most `most`."""

    n: int
    most: int
    overlap: bool  # enough common support for regression on length

    @property
    def sentence(self) -> str:
        """The pairs in words, for a caption."""
        found = f"{self.n:,} of at most {self.most:,} pairs of rows agree in response length."
        return found if self.overlap else f"The groups hardly overlap in length: {found}"


def pairs_in_length(comparison: Comparison, first: str, second: str) -> Pairs:
    """Count the pairs of two groups, by the layer mean with the most of them: missing values can only leave fewer."""
    means = comparison.effects.filter(pl.col("layer").is_null(), first=first, second=second)
    counts = means.select(
        pl.col("matched_pairs").max().fill_null(0), pl.col("n_first").max(), pl.col("n_second").max()
    ).row(0)
    pairs, n_first, n_second = (int(count or 0) for count in counts)
    return Pairs(pairs, min(n_first, n_second), overlap_in_length(pairs, n_first, n_second))
