"""The two factors of a projection's gradient, G = Dᵀ X, and quantities computed from the factors alone.

For a linear map y = W x with loss L, one example of T tokens gives dL/dW = Σ_t (dL/dy_t) x_tᵀ = Dᵀ X with
X (T, d_in) the inputs and D (T, d_out) the loss gradients at the output. G is formed only where that is the
shorter way. Factors whose magnitude could take a product out of its range are scaled to a largest magnitude of 1.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradprism.models.full_precision import matmul_precision
from gradprism.prism.products import gram_of

_SAFE = (1e-6, 1e6)  # products of four factors, and entries 1e-8 of the largest, stay normal fp32 numbers
_FEWER = 0.8  # rows, of the smaller side of G, up to which a CPU takes less time for their three products than for G Gᵀ


Draw = Float[Tensor, " _"] | Int[Tensor, " _"]
"""A draw of the null for the rows of D: their signs, or their order."""


def drawn(rows: Float[Tensor, "rows k"], draw: Draw) -> Float[Tensor, "rows k"]:
    """Return the rows with the signs, or in the order, of a draw."""
    return rows * draw.to(rows)[:, None] if draw.is_floating_point() else rows[draw.to(rows.device)]


class Inputs:
    """The inputs X of one example, shared by the projections that read the same activations (q, k and v do).

    `rows` holds X / scale in fp32, or in fp64 where X is. Products that several projections need are computed once.
    Not thread-safe.
    """

    def __init__(self, inputs: Float[Tensor, "tokens d_in"], largest: float):
        """Scale X into a safe range; `largest` is the largest magnitude in it."""
        self.rows, self.scale = _in_range(inputs, largest)
        self.is_half = inputs.dtype.itemsize == 2 and self.scale == 1
        self._gram: Tensor | None = None

    @property
    def gram(self) -> Float[Tensor, "tokens tokens"]:
        """X Xᵀ in fp64."""
        if self._gram is None:
            self._gram = gram_of(self.rows.double())  # (T, d_in) @ (d_in, T)
        return self._gram

    def forget_gram(self) -> None:
        """Free the memory of X Xᵀ, once all spectra are computed."""
        self._gram = None


class Factors:
    """The factors of G = Dᵀ X of one projection for one example, without the tokens whose row of D is zero."""

    def __init__(
        self,
        inputs: Inputs,
        deltas: Float[Tensor, "tokens d_out"],
        tokens: slice | Int[Tensor, " rows"],
        largest: float,
        divisor: float = 1.0,
        n_counted: int | None = None,
        cancel: bool = False,
    ):
        """Keep the rows `tokens` of D, divided by `divisor`; `largest` is the largest magnitude in D.

        `n_counted` of them are more than rounding beside it: all where None. Where terms of the product `cancel`, as
        those of the two answers of a pair, G in fp32 is less exact than its factors.
        """
        self._cancel = cancel
        self.shared = inputs
        self.tokens = tokens
        self.deltas, delta_scale = _in_range(deltas[tokens], largest)
        self.scale = inputs.scale * delta_scale / divisor
        self.is_half = inputs.is_half and deltas.dtype.itemsize == 2 and delta_scale == 1
        """True if the entries of both factors are numbers of 16 bits, whose products in TF32 are exact."""
        self._n_counted = len(self.deltas) if n_counted is None else n_counted
        self._gradient: Tensor | None = None

    @classmethod
    def of(cls, inputs: Float[Tensor, "tokens d_in"], deltas: Float[Tensor, "tokens d_out"]) -> "Factors":
        """Make the factors from the two matrices X and D."""
        by_token = deltas.abs().amax(dim=1) if deltas.numel() else deltas.new_zeros(0)  # (T,)
        largest = float(inputs.abs().max()) if inputs.numel() else 0.0
        kept = by_token.nonzero().squeeze(1)
        return cls(Inputs(inputs, largest), deltas, kept, float(by_token.max()) if len(kept) else 0.0)

    @property
    def inputs(self) -> Float[Tensor, "rows d_in"]:
        """X of the rows kept, scaled."""
        return self.shared.rows[self.tokens]

    @property
    def input_gram(self) -> Float[Tensor, "rows rows"]:
        """X Xᵀ of the rows kept, scaled, in fp64."""
        return self.shared.gram[self.tokens][:, self.tokens]

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in) of G."""
        return self.deltas.shape[1], self.shared.rows.shape[1]

    @property
    def is_short(self) -> bool:
        """True if the spectrum is sooner known from the rows kept than from G itself, which is there or too large."""
        rows, side = len(self.deltas), min(self.shape)
        on_cpu = self.deltas.device.type == "cpu"
        return rows <= (_FEWER * side if on_cpu and self.is_worth_forming and not self._cancel else side)

    @property
    def n_values(self) -> int:
        """Largest possible number of nonzero singular values of G."""
        return min(len(self.deltas), *self.shape)

    @property
    def n_solved(self) -> int:
        """Size of the eigenvalue problem that the singular values come from."""
        return len(self.deltas) if self.is_short else min(self.shape)

    @property
    def n_counted(self) -> int:
        """`n_values` without rows of D that are rounding: whether such a row is exactly zero depends on the batch."""
        return min(self._n_counted, *self.shape)

    @property
    def is_worth_forming(self) -> bool:
        """True if G should be formed; see the function `is_worth_forming`."""
        return is_worth_forming(len(self.deltas), *self.shape)

    def form(self, draw: Draw | None = None, *, keep: bool = True) -> Float[Tensor, "d_out d_in"]:
        """Compute G itself, scaled, in the type of the factors, and keep it for further calls if `keep`.

        With a `draw` of the rows of D it is another matrix, which is not kept.
        """
        if draw is not None:
            return drawn(self.deltas, draw).T @ self.inputs
        if self._gradient is not None:
            return self._gradient
        gradient = self.deltas.T @ self.inputs  # (d_out, T) @ (T, d_in)
        if keep:
            self._gradient = gradient
        return gradient

    @property
    def extremes(self) -> tuple[float, float]:
        """Smallest and largest entry of G, for which G is formed."""
        if not len(self.deltas):
            return 0.0, 0.0
        low, high = torch.aminmax(self.form())
        return float(low) * self.scale, float(high) * self.scale


def fast_products(factors: Iterable[Factors]) -> AbstractContextManager[None]:
    """Multiply factors on tensor cores, in TF32, where that loses nothing: products of 16 bits with sums in fp32."""
    on_tensor_cores = all(each.is_half and each.deltas.is_cuda for each in factors)
    return matmul_precision("high") if on_tensor_cores else nullcontext()


def is_worth_forming(n_tokens: int, d_out: int, d_in: int) -> bool:
    """Return whether G is needed for its spectrum, or costs less than the Gram matrices that its cosines need.

    Each gradient needs one and a half of these (adjacent layers, and q with o or k with v), and three projections
    share the Gram matrix of their inputs.
    """
    return n_tokens > min(d_out, d_in) or 2 * d_out * d_in < 3 * n_tokens * (d_out + d_in / 3)


def _in_range(values: Tensor, largest: float) -> tuple[Tensor, float]:
    """Return the values in fp32 or wider, and the scale they were divided by: 1 where products stay in range anyway."""
    wide = values if values.dtype == torch.float64 else values.float()
    if not largest or _SAFE[0] < largest < _SAFE[1]:
        return wide, 1.0
    if wide.dtype == torch.float64 or not 1e-30 < largest < 1e30:  # beyond, 1 / scale is no normal fp32 number
        return (wide.double() / largest).to(wide.dtype), largest
    return wide * (1.0 / largest), largest
