"""A stack of gradients for which nothing is needed but products with them: formed, or as their factors."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Vectors = Float[Tensor, "batch short columns"]
Images = Float[Tensor, "batch long columns"]


@dataclass(frozen=True)
class MatrixStack:
    """Matrices (batch, long, short), each the product of all `parts`: gradients, transposed where that is longer."""

    parts: tuple[Tensor, ...]
    squares: Float[Tensor, " batch"]
    """‖G‖_F², in fp64."""

    @classmethod
    def of_gradients(cls, gradients: Sequence[Float[Tensor, "d_out d_in"]]) -> "MatrixStack":
        """Stack gradients of one shape."""
        stack = torch.stack([*gradients]).float()
        norms = torch.linalg.vector_norm(stack, dim=(1, 2), dtype=torch.float64)
        return cls((stack.mT if stack.shape[1] < stack.shape[2] else stack,), norms.square())

    @classmethod
    def of_factors(
        cls, deltas: Sequence[Float[Tensor, "_ d_out"]], inputs: Sequence[Float[Tensor, "_ d_in"]]
    ) -> "MatrixStack":
        """Stack gradients G = Dᵀ X by their factors, padded to the most tokens."""
        d, x = (pad_sequence([*rows], batch_first=True).float() for rows in (deltas, inputs))
        squares = ((d.double() @ d.mT.double()) * (x.double() @ x.mT.double())).sum((1, 2))  # ⟨D Dᵀ, X Xᵀ⟩
        left, right = (d, x) if d.shape[2] >= x.shape[2] else (x, d)
        return cls((left.mT, right), squares.clamp_min(0))

    @property
    def device(self) -> torch.device:
        """The device that the matrices are on."""
        return self.squares.device

    @property
    def short(self) -> int:
        """The smaller side of each matrix."""
        return self.parts[-1].shape[2]

    def normalised(self) -> "MatrixStack":
        """Divide every matrix by its Frobenius norm; one that is zero stays."""
        norms = self.squares.sqrt()
        scales = norms.where(norms > 0, 1.0)
        first = self.parts[0] / scales[:, None, None].to(self.parts[0].dtype)
        return MatrixStack((first, *self.parts[1:]), self.squares / scales.square())

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
