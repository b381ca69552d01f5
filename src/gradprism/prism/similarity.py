"""Inner products of gradients, computed from their factors, for cosine similarities."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gradprism.prism.factors import Factors


def inner_products(pairs: Sequence[tuple[Factors, Factors]]) -> Float[Tensor, " pairs"]:
    """Compute ⟨G_a, G_b⟩ of the scaled gradients of each pair (at least one); NaN where their shapes differ.

    It is Σ (D_a D_bᵀ ∘ X_a X_bᵀ), whichever rows a and b have kept, or is computed from the gradients themselves where
    both are formed anyway. The type of the factors is precise enough for a cosine. Adjacent layers of a model that is
    spread over devices may lie on two of them: b is moved to the device of a.
    """
    crossed: dict[tuple[int, int], Tensor] = {}  # X_a X_bᵀ, shared by pairs of projections that read the same inputs

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
