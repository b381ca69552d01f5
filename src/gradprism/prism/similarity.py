"""Inner products of gradients, taken from their factors: what cosine similarities are made of."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gradprism.prism.factors import Factors


def inner_products(pairs: Sequence[tuple[Factors, Factors]]) -> Float[Tensor, " pairs"]:
    """⟨G_a, G_b⟩ of the scaled gradients of each pair (at least one); NaN where their shapes differ.

    = Σ (D_a D_bᵀ ∘ X_a X_bᵀ), whatever rows a and b have kept; from the gradients themselves where both are formed
    anyway. In the type of the factors: a cosine needs no more. Neighbouring layers of a spread model lie on two
    devices: b comes to a.
    """
    crossed: dict[tuple[int, int], Tensor] = {}  # pairs of projections that read the same activations share it

    def product(a: Factors, b: Factors) -> Tensor:
        if a.shape != b.shape:
            return a.deltas.new_full((), torch.nan)
        if a.is_worth_forming and b.is_worth_forming:
            return torch.dot(a.form().flatten(), b.form().to(a.deltas.device).flatten())
        key = id(a.shared), id(b.shared)
        if key not in crossed:
            crossed[key] = a.shared.rows @ b.shared.rows.to(a.deltas.device).T  # (T, d_in) @ (d_in, T')
        return torch.dot(
            (a.deltas @ b.deltas.to(a.deltas.device).T).flatten(), crossed[key][a.tokens][:, b.tokens].flatten()
        )

    return torch.stack([product(a, b) for a, b in pairs]).double()
