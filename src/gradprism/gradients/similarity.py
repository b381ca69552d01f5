"""Cosine similarity of two gradients, taken from their factors."""

import torch

from gradprism.gradients.factors import Factors


def cosine(a: Factors, b: Factors, norm_a: float, norm_b: float) -> float | None:
    """Cosine of vec(G_a) and vec(G_b), given their Frobenius norms.

    None where the shapes differ or a gradient is zero: a cosine is not defined there.
    """
    if a.shape != b.shape or not norm_a or not norm_b:
        return None
    return _scaled_inner_product(a, b) / (norm_a / a.scale) / (norm_b / b.scale)


def _scaled_inner_product(a: Factors, b: Factors) -> float:
    """⟨G_a, G_b⟩ of the scaled gradients = Σ (D_a D_bᵀ ∘ X_a X_bᵀ); the rows of a and b need not be the same.

    In the type of the factors: a cosine needs no more.
    """
    if a.is_cheap_to_form and b.is_cheap_to_form:
        return float(torch.dot(a.gradient.flatten(), b.gradient.flatten()))
    return float(torch.dot((a.deltas @ b.deltas.T).flatten(), a.cross_gram(b).flatten()))
