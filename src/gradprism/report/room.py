"""What there is room for: how much is kept of each example, and of which examples."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from gradprism.comparison.comparison import Comparison


@dataclass(frozen=True)
class Fidelity:
    """How much of each example a page keeps."""

    characters: int  # of each turn
    spectra_by_layer: bool

    @property
    def notes(self) -> list[str]:
        """What a reader must know of it."""
        if self.spectra_by_layer:
            return []
        return ["Singular values of single examples are medians over layers: every layer's exceed the file's size."]


FIDELITIES = (
    *(Fidelity(characters, True) for characters in (8000, 6000, 4000, 3000, 2000)),
    *(Fidelity(characters, False) for characters in (2000, 1000)),
)


def sample(comparison: Comparison, share: float, seed: int) -> list[int]:
    """Places in `Comparison.examples` of a share of every group, at least one row each, in the table's order.

    Who comes first depends on seed, group and row alone: the same rows for every model, and a smaller share is
    part of a larger one.
    """
    table = comparison.examples.select("group", "row").with_row_index("place")
    chosen: list[int] = []
    for group in comparison.groups:
        rows = table.filter(pl.col("group") == group.name)
        ranked = sorted(
            zip(rows["place"].to_list(), rows["row"].to_list(), strict=True),
            key=lambda item, name=group.name: _rank(seed, name, item[1]),  # type: ignore[misc]
        )
        n = len(ranked) if share >= 1 else max(1, math.floor(len(ranked) * share))
        chosen += [place for place, _ in ranked[:n]]
    return sorted(chosen)


def most_examples(comparisons: Sequence[Comparison], room: int) -> float:
    """A share of the examples beyond which not even the least of each would fit: others are never read."""
    bytes_of_one = sum(c.examples.height * (4 * len(c.examples.columns) + 30) for c in comparisons)
    return min(1.0, room / bytes_of_one) if bytes_of_one else 1.0


def _rank(seed: int, group: str, row: Any) -> bytes:
    return hashlib.blake2b(f"report\0{seed}\0{group}\0{row}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
