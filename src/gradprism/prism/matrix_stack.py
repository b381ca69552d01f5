"""A stack of gradients for which nothing is needed but products with them: formed, or as their factors."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gradprism.prism.products import stack_rows

Vectors = Float[Tensor, "batch short columns"]
Images = Float[Tensor, "batch long columns"]

_AT_ONCE = 1 << 26  # entries of the gradients that are formed at once, only to know their norms


@dataclass(frozen=True)
class MatrixStack:
    """Matrices (batch, long, short) of Frobenius norm 1, or 0, each the product of all `parts`.

    They are gradients divided by their norms, transposed where that is longer.
    """

    parts: tuple[Tensor, ...]
    norms: Float[Tensor, " batch"]
    """‖G‖_F of the gradients, in fp64."""

    @classmethod
    def of_gradients(cls, gradients: Sequence[Float[Tensor, "d_out d_in"]]) -> "MatrixStack":
        """Stack gradients of one shape."""
        stack = torch.stack([*gradients]).float()
        norms = torch.linalg.vector_norm(torch.linalg.vector_norm(stack, dim=2).double(), dim=1)  # no copy in fp64
        return cls(_normalised((stack.mT if stack.shape[1] < stack.shape[2] else stack,), norms), norms)

    @classmethod
    def of_factors(
        cls, deltas: Sequence[Float[Tensor, "_ d_out"]], inputs: Sequence[Float[Tensor, "_ d_in"]]
    ) -> "MatrixStack":
        """Stack gradients G = Dᵀ X by their factors, padded to the most tokens."""
        d, x = (stack_rows(rows).float() for rows in (deltas, inputs))
        norms = (_norms_by_tokens if d.device.type == "cpu" else norms_of_formed)(d, x)
        left, right = (d, x) if d.shape[2] >= x.shape[2] else (x, d)
        return cls(_normalised((left.mT, right), norms), norms)

    @property
    def device(self) -> torch.device:
        """The device that the matrices are on."""
        return self.norms.device

    @property
    def short(self) -> int:
        """The smaller side of each matrix."""
        return self.parts[-1].shape[2]

    @property
    def squares(self) -> Float[Tensor, " batch"]:
        """The squared norm of each matrix: 1, or 0 of a zero gradient."""
        return (self.norms > 0).double()

    def times(self, vectors: Vectors) -> Images:
        """Return G times some vectors each."""
        for part in reversed(self.parts):
            vectors = part @ vectors
        return vectors

    def transposed_times(self, images: Images) -> Vectors:
        """Return Gᵀ times some vectors each."""
        for part in self.parts:
            images = part.mT @ images
        return images


def norms_of_formed(
    deltas: Float[Tensor, "batch tokens d_out"], inputs: Float[Tensor, "batch tokens d_in"]
) -> Float[Tensor, " batch"]:
    """Return ‖Dᵀ X‖_F from the products themselves, a few at a time: no product in fp64, of which most cards do few."""
    rows = min(max(_AT_ONCE // inputs.shape[2], 1), deltas.shape[2])  # of a gradient
    step = max(_AT_ONCE // (rows * inputs.shape[2]), 1)
    found = []
    for d, x in zip(torch.split(deltas, step), torch.split(inputs, step), strict=True):
        by_row = [torch.linalg.vector_norm(part.mT @ x, dim=2) for part in torch.split(d, rows, dim=2)]
        found.append(torch.linalg.vector_norm(torch.cat(by_row, 1).double(), dim=1))
    return torch.cat(found)


def _norms_by_tokens(
    deltas: Float[Tensor, "batch tokens d_out"], inputs: Float[Tensor, "batch tokens d_in"]
) -> Float[Tensor, " batch"]:
    """Return ‖Dᵀ X‖_F from ⟨D Dᵀ, X Xᵀ⟩ in fp64, in which terms may cancel."""
    d, x = deltas.double(), inputs.double()
    return ((d @ d.mT) * (x @ x.mT)).sum((1, 2)).clamp_min(0).sqrt()


def _normalised(parts: tuple[Tensor, ...], norms: Float[Tensor, " batch"]) -> tuple[Tensor, ...]:
    """Divide the products of parts, which are ours alone, by their norms in place; those of norm 0 stay."""
    first, *others = parts
    first /= norms.where(norms > 0, 1.0)[:, None, None].to(first.dtype)
    return first, *others
