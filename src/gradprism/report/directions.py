"""Directions of gradients: where each example lies by two principal components, and the pairs that are most alike."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.core.progress import Say
from gradprism.report.listed_rows import ListedRow, Shown
from gradprism.report.page_json import EXAMPLE_DIGITS, rounded
from gradprism.report.sketches import Places, read_sketches_of
from gradprism.stats.principal_components import principal_components
from gradprism.stats.similar_pairs import most_similar_pairs

MOST_ROWS = 20_000  # of which axes and pairs are made: all pairs of more take minutes
ALIKE = 0.9
_MOST_PAIRS, _LEAST_PAIRS = 50, 5


@dataclass(frozen=True)
class Directions:
    """Coordinates of the examples that have a sketch, what the axes are, and the most similar pairs of rows."""

    coordinates: pl.DataFrame  # group, row, x, y
    about: dict[str, Any]
    pairs: tuple[tuple[ListedRow, ListedRow, float], ...]

    @property
    def listed(self) -> list[ListedRow]:
        """Rows of which the page shows the beginnings of the texts."""
        return [row for first, second, _ in self.pairs for row in (first, second)]

    def json(self, shown: Shown) -> dict[str, Any]:
        """Return what the page shows of the axes and the pairs."""
        pairs = [{"first": shown(one), "second": shown(two), "cosine": cosine} for one, two, cosine in self.pairs]
        return {**self.about, "pairs": pairs}

    def coordinates_of(self, examples: pl.DataFrame) -> list[list[float | int | None]]:
        """Return x and y of some examples, rounded; None where there is no sketch."""
        found = examples.select("group", "row").join(
            self.coordinates, on=["group", "row"], how="left", maintain_order="left"
        )
        return [[rounded(value, EXAMPLE_DIGITS) for value in found[name]] for name in ("x", "y")]


def read_directions(comparison: Comparison, seed: int, say: Say) -> Directions | None:
    """Read the sketches of a comparison's examples, and find axes and pairs; None where there are none.

    Of more than `MOST_ROWS` rows both are of a sample drawn by `seed`; every row has its place along these axes.
    """
    from gradprism.stats.rank_correlation import spearman

    sketches = None if comparison.paired else read_sketches_of(comparison, say)  # each row would be next to itself
    if sketches is None:
        return None
    say("comparing the sketches")
    used = _sample(sketches.distinct, seed)
    units = sketches.units(used)
    components, pairs = principal_components(units), most_similar_pairs(units, ALIKE, _MOST_PAIRS, _LEAST_PAIRS)
    x, y = np.concatenate([components.coordinates(sketches.units(part)) for part in sketches.parts()]).T
    lengths = sketches.table["n_response_tokens"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    by_length = spearman(np.stack([x, y], axis=1)[used], lengths[used]).value
    about = {
        "dimension": sketches.dimension,
        "n": sketches.table.height,
        "n_used": len(used),
        "n_rows": len(sketches.distinct),
        "shares": [rounded(float(share)) for share in components.shares],
        "length_spearman": [rounded(float(value)) for value in by_length],
        "alike": ALIKE,
        "n_alike": pairs.n_above,
    }
    known = sketches.table.select("group", "row", "example_id", "n_response_tokens")
    listed = [[ListedRow(*known.row(place)) for place in used[side]] for side in (pairs.first, pairs.second)]
    return Directions(
        known.select("group", "row", x=pl.Series(x), y=pl.Series(y)),
        about,
        tuple(zip(*listed, pairs.cosines.tolist(), strict=True)),
    )


def _sample(places: Places, seed: int) -> Places:
    if len(places) <= MOST_ROWS:
        return places
    return np.sort(np.random.default_rng(seed).choice(places, MOST_ROWS, replace=False))
