"""The two factors of a projection's gradient, G = Dᵀ X, and what is computed from them alone.

For a linear map y = W x with loss L, one example of T tokens gives dL/dW = Σ_t (dL/dy_t) x_tᵀ = Dᵀ X with
X (T, d_in) the inputs and D (T, d_out) the loss gradients at the output. G is formed only where that is the
shorter way. Both factors are kept scaled to a largest magnitude of 1, so that no product leaves its range.
"""

from threading import Lock

import torch
from jaxtyping import Float
from torch import Tensor


class Inputs:
    """X of one example, shared by the projections that read the same activations (q, k and v do).

    `rows` holds X / scale in fp32, or in fp64 where X came so. Products that several projections share are made
    once, by the thread that comes first. (Not `functools.cached_property`: until Python 3.12 it computes under one
    lock for all instances, and threads wait for each other.)
    """

    def __init__(self, inputs: Float[Tensor, "tokens d_in"]):
        """Scale X to a largest magnitude of 1."""
        self.scale = float(inputs.abs().max()) if inputs.numel() else 0.0
        self.rows = _scaled(inputs, self.scale)
        self._lock = Lock()
        self._gram: Tensor | None = None
        self._crossed: dict[int, Tensor] = {}

    @property
    def gram(self) -> Float[Tensor, "tokens tokens"]:
        """X Xᵀ in fp64."""
        with self._lock:
            if self._gram is None:
                rows = self.rows.double()
                self._gram = rows @ rows.T  # (T, d_in) @ (d_in, T)
            return self._gram

    def cross(self, other: "Inputs") -> Float[Tensor, "tokens others"]:
        """X Yᵀ with the inputs of another layer or projection."""
        with self._lock:
            if id(other) not in self._crossed:
                self._crossed[id(other)] = self.rows @ other.rows.T  # (T, d_in) @ (d_in, T')
            return self._crossed[id(other)]


class Factors:
    """G = Dᵀ X of one projection for one example, rows of D that are exactly zero left out."""

    def __init__(self, inputs: Inputs, deltas: Float[Tensor, "tokens d_out"], divisor: float = 1.0):
        """Keep the shared inputs and D scaled to a largest magnitude of 1; G is that of D / divisor."""
        largest = deltas.abs().amax(dim=1) if deltas.numel() else deltas.new_zeros(0)  # (T,)
        self.shared = inputs
        self.tokens = _nonzero(largest)
        delta_scale = float(largest.max()) if len(largest) else 0.0
        self.deltas = _scaled(deltas[self.tokens], delta_scale)
        self.scale = (inputs.scale or 1.0) * (delta_scale or 1.0) / divisor
        self._gradient: Tensor | None = None

    @property
    def inputs(self) -> Float[Tensor, "rows d_in"]:
        """X of the rows kept, scaled."""
        return self.shared.rows[self.tokens]

    @property
    def input_gram(self) -> Float[Tensor, "rows rows"]:
        """X Xᵀ of the rows kept, scaled, in fp64."""
        return _block(self.shared.gram, self.tokens, self.tokens)

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in) of G."""
        return self.deltas.shape[1], self.shared.rows.shape[1]

    @property
    def is_short(self) -> bool:
        """Whether the rows kept are no more than the smaller side of G: then its spectrum needs no G."""
        return len(self.deltas) <= min(self.shape)

    @property
    def is_cheap_to_form(self) -> bool:
        """Whether G, formed once, costs less than the Gram matrices of the cosines that it takes part in.

        Those are one and a half for each gradient (adjacent layers, and q with o or k with v), and three projections
        share the Gram matrix of their inputs.
        """
        d_out, d_in = self.shape
        return 2 * d_out * d_in < 3 * len(self.deltas) * (d_out + d_in / 3)

    @property
    def gradient(self) -> Float[Tensor, "d_out d_in"]:
        """G itself, scaled, in the type of the factors. Formed once (twice at worst, by two threads at a time)."""
        if self._gradient is None:
            self._gradient = self.deltas.T @ self.inputs  # (d_out, T) @ (T, d_in)
        return self._gradient

    @property
    def mean(self) -> float:
        """Mean entry of G: Σ_t (Σ D_t)(Σ X_t) / (d_out d_in), G not formed."""
        d_out, d_in = self.shape
        sums = self.deltas.sum(1, dtype=torch.float64), self.inputs.sum(1, dtype=torch.float64)  # (T,), (T,)
        return float(torch.dot(*sums)) / (d_out * d_in) * self.scale

    @property
    def extremes(self) -> tuple[float, float]:
        """Smallest and largest entry of G. Forms G."""
        if not len(self.deltas):
            return 0.0, 0.0
        low, high = torch.aminmax(self.gradient)
        return float(low) * self.scale, float(high) * self.scale

    def cross_gram(self, other: "Factors") -> Float[Tensor, "rows others"]:
        """X_a X_bᵀ of the rows kept of each, scaled."""
        return _block(self.shared.cross(other.shared), self.tokens, other.tokens)


def _scaled(values: Tensor, scale: float) -> Tensor:
    """Return `values` divided by their largest magnitude, in fp32 or wider."""
    if not scale:
        return values if values.dtype == torch.float64 else values.float()
    if values.dtype == torch.float64 or not 1e-30 < scale < 1e30:  # beyond, 1 / scale is no normal fp32 number
        scaled = values.double() / scale
        return scaled if values.dtype == torch.float64 else scaled.float()
    return values.float() * (1.0 / scale)


def _nonzero(largest: Float[Tensor, " tokens"]) -> slice | Tensor:
    """Rows whose largest magnitude is not exactly zero: as a slice where they are contiguous, else as indices.

    The last token predicts nothing, and in the last layer q and o of prompt tokens reach no loss.
    """
    kept = largest.nonzero().squeeze(1)
    if not len(kept):
        return slice(0, 0)
    first, last = int(kept[0]), int(kept[-1])
    return slice(first, last + 1) if last + 1 - first == len(kept) else kept


def _block(matrix: Tensor, rows: slice | Tensor, columns: slice | Tensor) -> Tensor:
    return matrix[rows][:, columns]
