"""Linear maps: their sizes, whatever holds their weights, and the rows of a weight that belong to one projection."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

Shape = tuple[int, int]


def join_path(*names: str | None) -> str:
    """Join names of modules by dots; empty ones are left out."""
    return ".".join(filter(None, names))


def shape_of(module: nn.Module) -> Shape | None:
    """Return (d_out, d_in) of a linear map, read from its attributes; None for any other module.

    The weight is not asked: a quantised one need not be 2-D. The `Conv1D` of the GPT-2 family, whose weight is
    transposed, calls the sizes nf and nx.
    """
    for out_name, in_name in (("out_features", "in_features"), ("nf", "nx")):
        d_out, d_in = getattr(module, out_name, None), getattr(module, in_name, None)
        if isinstance(d_out, int) and isinstance(d_in, int):
            return d_out, d_in
    return None


def linear_in(module: nn.Module) -> tuple[str, nn.Module] | None:
    """Return path and module of the linear map that a module is (path "") or wraps; None unless there is exactly one.

    A wrapper that has the sizes of the map inside (LoRA) counts as the map; one without (Moshi) is searched.
    """
    if shape_of(module):
        return "", module
    inside = [(path, inner) for path, inner in module.named_modules() if shape_of(inner)]
    return inside[0] if len(inside) == 1 else None


@dataclass(frozen=True)
class WeightRows:
    """Rows [start, stop) of each of `blocks` equal blocks of a weight's rows: all that fused maps ever need."""

    start: int
    stop: int
    blocks: int = 1

    def __len__(self) -> int:
        """Return the number of rows in all blocks together."""
        return self.blocks * (self.stop - self.start)

    def select(self, outputs: Tensor) -> Tensor:
        """Take these rows' outputs (..., len(self)) out of those of the whole weight (..., d_out).

        The result is a view where there is one block.
        """
        if self.blocks == 1:
            return outputs[..., self.start : self.stop]
        return outputs.view(*outputs.shape[:-1], self.blocks, -1)[..., self.start : self.stop].flatten(-2)


def consecutive_rows(widths: Mapping[str, int], blocks: int = 1) -> dict[str, WeightRows]:
    """Lay projections out one after the other in each of `blocks` blocks; `widths` counts their rows in a block."""
    rows, start = {}, 0
    for name, width in widths.items():
        rows[name] = WeightRows(start, start + width, blocks)
        start += width
    return rows
