"""Cosine similarity of two gradients, taken from their factors."""

import torch
from torch import Tensor

from gradprism.gradients.factors import Factors


def cosine(a: Factors, b: Factors, norm_a: float, norm_b: float) -> float | None:
    """Cosine of vec(G_a) and vec(G_b), given their Frobenius norms.

    None where the shapes differ or a gradient is zero: a cosine is not defined there.
    """
    if a.shape != b.shape or not norm_a or not norm_b:
        return None
    return _scaled_inner_product(a, b) / (norm_a / a.scale) / (norm_b / b.scale)


def _scaled_inner_product(a: Factors, b: Factors) -> float:
    """⟨G_a, G_b⟩ of the scaled gradients = Σ (D_a D_bᵀ ∘ X_a X_bᵀ); the rows of a and b need not be the same."""
    if not (a.is_short and b.is_short):
        return torch.dot(a.gradient.flatten(), b.gradient.flatten()).item()
    same = a.shared is b.shared and _same_rows(a.tokens, b.tokens)
    inputs = a.input_gram if same else a.inputs @ b.inputs.T  # (T_a, d_in) @ (d_in, T_b)
    return torch.dot((a.deltas @ b.deltas.T).flatten(), inputs.flatten()).item()


def _same_rows(a: slice | Tensor, b: slice | Tensor) -> bool:
    if isinstance(a, slice) or isinstance(b, slice):
        return isinstance(a, slice) and isinstance(b, slice) and a == b
    return torch.equal(a, b)
