"""The two factors of a projection's gradient, G = Dᵀ X, and what is computed from them alone.

For a linear map y = W x with loss L, one example of T tokens gives dL/dW = Σ_t (dL/dy_t) x_tᵀ = Dᵀ X with
X (T, d_in) the inputs and D (T, d_out) the loss gradients at the output. G is formed only where that is the
shorter way (more tokens than the smaller side of W).
"""

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor


class Inputs:
    """X of one example, shared by the projections that read the same activations (q, k and v do).

    `scale` is the largest magnitude: `rows` holds X / scale in fp64, so that squares stay in range.
    """

    def __init__(self, inputs: Float[Tensor, "tokens d_in"]):
        """Keep X in fp64, scaled to a largest magnitude of 1."""
        self.rows, self.scale = _scaled(inputs)

    @cached_property
    def gram(self) -> Float[Tensor, "tokens tokens"]:
        """X Xᵀ, computed once for all projections that share X."""
        return self.rows @ self.rows.T  # (T, d_in) @ (d_in, T)


class Factors:
    """G = Dᵀ X of one projection for one example, rows of D that are exactly zero left out."""

    def __init__(self, inputs: Inputs, deltas: Float[Tensor, "tokens d_out"]):
        """Keep the shared inputs and D in fp64, scaled to a largest magnitude of 1."""
        self.shared = inputs
        self.tokens = _nonzero_rows(deltas)
        self.deltas, self._delta_scale = _scaled(deltas[self.tokens])

    @property
    def scale(self) -> float:
        """What the scaled gradient must be multiplied by."""
        return self.shared.scale * self._delta_scale

    @property
    def inputs(self) -> Float[Tensor, "rows d_in"]:
        """X of the rows kept, scaled."""
        return self.shared.rows[self.tokens]

    @property
    def input_gram(self) -> Float[Tensor, "rows rows"]:
        """X Xᵀ of the rows kept, scaled."""
        if isinstance(self.tokens, slice):
            return self.shared.gram[self.tokens, self.tokens]
        return self.shared.gram[self.tokens[:, None], self.tokens]

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in) of G."""
        return self.deltas.shape[1], self.shared.rows.shape[1]

    @property
    def is_short(self) -> bool:
        """Whether the rows kept are no more than the smaller side of G: then G is never formed."""
        return len(self.deltas) <= min(self.shape)

    @cached_property
    def gradient(self) -> Float[Tensor, "d_out d_in"]:
        """G itself, scaled, in fp64."""
        return self.deltas.T @ self.inputs  # (d_out, T) @ (T, d_in)

    @property
    def mean(self) -> float:
        """Mean entry of G: Σ_t (Σ D_t)(Σ X_t) / (d_out d_in), G not formed."""
        d_out, d_in = self.shape
        total = torch.dot(self.deltas.sum(1), self.inputs.sum(1)).item()
        return total / (d_out * d_in) * self.scale

    @property
    def extremes(self) -> tuple[float, float]:
        """Smallest and largest entry of G. Forms G."""
        if not len(self.deltas):
            return 0.0, 0.0
        low, high = torch.aminmax(self.gradient)
        return low.item() * self.scale, high.item() * self.scale


def _scaled(values: Tensor) -> tuple[Tensor, float]:
    """Return `values` in fp64 divided by their largest magnitude, and that magnitude (1 where all are zero)."""
    double = values.to(dtype=torch.float64)
    scale = double.abs().max().item() if double.numel() else 0.0
    return (double / scale, scale) if scale else (double, 1.0)


def _nonzero_rows(deltas: Float[Tensor, "tokens d_out"]) -> slice | Tensor:
    """Rows of D that are not exactly zero: as a slice where they are contiguous, else as indices.

    The last token predicts nothing, and in the last layer q and o of prompt tokens reach no loss.
    """
    kept = (deltas != 0).any(dim=1).nonzero().squeeze(1)
    if not len(kept):
        return slice(0, 0)
    first, last = int(kept[0]), int(kept[-1])
    return slice(first, last + 1) if last + 1 - first == len(kept) else kept
