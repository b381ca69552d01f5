"""Compute matrix products the cheaper way: symmetric ones in part, and many alike in one call.

BLAS has `syrk` for products that are known to be symmetric, which torch does not expose.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

# (smallest number of rows, number of blocks that is fastest from there on): two take 3/4 of the full product, four 5/8.
_BLOCKS = ((320, 4), (128, 2), (0, 1))


def lower_product(
    left: Float[Tensor, "n k"], right: Float[Tensor, "k n"], out: Float[Tensor, "n n"]
) -> Float[Tensor, "n n"]:
    """Write the lower triangle of a symmetric left @ right into `out`; the entries above it are undefined."""
    for rows in _block_rows(left):
        torch.mm(left[rows], right[:, : rows.stop], out=out[rows, : rows.stop])
    return out


def gram_of(values: Float[Tensor, "n k"]) -> Float[Tensor, "n n"]:
    """Return the Gram matrix values @ valuesᵀ, both triangles."""
    gram = lower_product(values, values.T, values.new_empty(len(values), len(values)))
    for rows in _block_rows(values):
        gram[: rows.start, rows] = gram[rows, : rows.start].T
    return gram


def stack_rows(matrices: Sequence[Float[Tensor, "_ k"]]) -> Float[Tensor, "batch n k"]:
    """Stack matrices, padded with rows of zeros to the most rows; those of one height in one call if side by side."""
    most = max(map(len, matrices))
    if all(len(each) == most for each in matrices):
        return torch.stack([*matrices])
    stack = matrices[0].new_zeros(len(matrices), most, matrices[0].shape[1])
    index = 0
    for rows, alike in groupby(matrices, key=len):
        some = torch.stack([*alike])
        stack[index : index + len(some), :rows] = some
        index += len(some)
    return stack


def _block_rows(matrix: Tensor) -> Iterator[slice]:
    """Yield the rows in a few blocks; in one for small matrices, and on an accelerator, where calls cost more."""
    n = len(matrix)
    n_blocks = next(count for rows, count in _BLOCKS if n >= rows) if matrix.device.type == "cpu" else 1
    step = max(-(-n // n_blocks), 1)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
