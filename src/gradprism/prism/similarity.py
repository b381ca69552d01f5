"""Inner products of gradients, computed from their factors, for cosine similarities."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gradprism.prism.device_memory import room_on
from gradprism.prism.factors import Factors, fast_products
from gradprism.prism.products import stack_rows

_STACK = 1 << 30  # least bytes of factors that are multiplied in one call

Pairs = Sequence[tuple[Factors, Factors]]


def inner_products(pairs: Pairs) -> Float[Tensor, " pairs"]:
    """Compute ⟨G_a, G_b⟩ of the scaled gradients of each pair (at least one); NaN where their shapes differ.

    It is Σ (D_a D_bᵀ ∘ X_a X_bᵀ), whichever rows a and b have kept, or is computed from the gradients themselves where
    both are formed anyway. The type of the factors is precise enough for a cosine. Adjacent layers of a model that is
    spread over devices may lie on two of them: b is moved to the device of a.
    """
    crossed: dict[tuple[int, int], Tensor] = {}  # X_a X_bᵀ, shared by pairs of projections that read the same inputs

    def product(a: Factors, b: Factors) -> Tensor:
        if a.shape != b.shape:
            return a.deltas.new_full((), torch.nan)
        if _are_formed(a, b):
            return torch.dot(a.form().flatten(), b.form().to(a.deltas.device).flatten())
        key = id(a.shared), id(b.shared)
        if key not in crossed:
            crossed[key] = a.shared.rows @ b.shared.rows.to(a.deltas.device).T  # (T, d_in) @ (d_in, T')
        return torch.dot(
            (a.deltas @ b.deltas.to(a.deltas.device).T).flatten(), crossed[key][a.tokens][:, b.tokens].flatten()
        )

    return torch.stack([product(a, b) for a, b in pairs]).double()


def stacked_inner_products(pairs: Pairs) -> list[float]:
    """Compute what `inner_products` does in as few calls as possible, for an accelerator.

    Products of inputs that several pairs share are computed for each: more operations, a twentieth of the calls.
    """
    found = [torch.nan] * len(pairs)
    alike: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, (a, b) in enumerate(pairs):
        if a.shape == b.shape:
            heights = () if _are_formed(a, b) else (len(a.deltas), len(b.deltas))
            half = a.is_half and b.is_half
            alike[a.shape, heights, half, a.deltas.device, b.deltas.device].append(index)
    for indices in alike.values():
        some = [pairs[index] for index in indices]
        with fast_products(each for pair in some for each in pair):
            values = inner_products(some) if _are_formed(*some[0]) else _products_of_stacks(some)
        for index, value in zip(indices, values.tolist(), strict=True):
            found[index] = value
    return found


def _are_formed(a: Factors, b: Factors) -> bool:
    return a.is_worth_forming and b.is_worth_forming


def _products_of_stacks(pairs: Pairs) -> Float[Tensor, " pairs"]:
    """Compute the inner products of pairs of one shape and one height, none of them formed."""
    device = pairs[0][0].deltas.device
    entries = sum(each.inputs.numel() + each.deltas.numel() for each in pairs[0])
    step = max(room_on(device, _STACK, 1 / 8) // (4 * entries + 1), 1)
    products = []
    for start in range(0, len(pairs), step):
        some = pairs[start : start + step]
        stacks = [[stack_rows([getattr(pair[side], name) for pair in some]).to(device) for side in (0, 1)]
                  for name in ("deltas", "inputs")]  # fmt: skip
        deltas, inputs = (a @ b.mT for a, b in stacks)
        products.append((deltas * inputs).sum((1, 2), dtype=torch.float64))
    return torch.cat(products)
