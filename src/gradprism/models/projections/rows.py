"""Which outputs of a fused linear map belong to one projection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Rows [start, stop) of each of `blocks` equal blocks of a weight's rows: all that fused maps ever need."""

    start: int
    stop: int
    blocks: int = 1

    def __len__(self) -> int:
        """Return how many rows these are altogether."""
        return self.blocks * (self.stop - self.start)

    def of(self, values: Tensor) -> Tensor:
        """Their part of `values` (..., d_out), as (..., len(self)); a view where one block is all."""
        if self.blocks == 1:
            return values[..., self.start : self.stop]
        return values.view(*values.shape[:-1], self.blocks, -1)[..., self.start : self.stop].flatten(-2)


def cut(parts: Sequence[str], widths: Mapping[str, int], blocks: int = 1) -> dict[str, Rows]:
    """Parts one after the other in each of `blocks` blocks; `widths` counts rows in a block."""
    rows, start = {}, 0
    for part in parts:
        rows[part] = Rows(start, start + widths[part], blocks)
        start += widths[part]
    return rows
