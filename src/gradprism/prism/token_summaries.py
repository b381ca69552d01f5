"""Summarise the factors of a batch by token: the tokens that count, their magnitudes, and their sums."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

StorageKey = tuple[int, torch.Size]


def storage_key(values: Tensor) -> StorageKey:
    """Return what identifies activations: the address alone is shared with a narrower view of the same tensor."""
    return values.data_ptr(), values.shape


def valid_tokens(device: torch.device, n_tokens: int, lengths: Sequence[int]) -> Bool[Tensor, "batch tokens"]:
    """Return True at tokens and False at padding, where activations may be anything."""
    positions = torch.arange(n_tokens, device=device)
    return positions < torch.tensor(lengths).to(device, non_blocking=True)[:, None]


def token_peaks(values: Float[Tensor, "batch tokens d"]) -> Float[Tensor, "batch tokens"]:
    """Return the largest magnitude of each token; NaN where it has a NaN."""
    return values.abs().amax(2)


def token_sums(values: Float[Tensor, "batch tokens d"]) -> Float[Tensor, "batch tokens"]:
    """Return the sum of each token's entries, computed in fp32 or wider."""
    return values.sum(2, dtype=torch.promote_types(values.dtype, torch.float32))


def token_norms(values: Float[Tensor, "batch tokens d"]) -> Float[Tensor, "batch tokens"]:
    """Return the Euclidean norm of each token's entries, in fp64: squares of small ones would vanish in fp32."""
    norms: Tensor = torch.linalg.vector_norm(values.double(), dim=2)
    return norms


def nonzero_tokens(peaks: Float[Tensor, "projections batch tokens"]) -> list[list[slice | Tensor]]:
    """Return the tokens whose row of D is not exactly zero, as a slice where they are contiguous, else as indices.

    The last token predicts nothing, and in the last layer q and o of prompt tokens do not affect the loss.
    """
    kept = (peaks != 0).int()
    counts, firsts = kept.sum(2).tolist(), kept.argmax(2).tolist()
    lasts = (kept.shape[2] - 1 - kept.flip(2).argmax(2)).tolist()

    def nonzero(index: int, row: int) -> slice | Tensor:
        count, first, last = counts[index][row], firsts[index][row], lasts[index][row]
        if not count:
            return slice(0, 0)
        return slice(first, last + 1) if last + 1 - first == count else kept[index, row].nonzero().squeeze(1)

    return [[nonzero(index, row) for row in range(kept.shape[1])] for index in range(kept.shape[0])]
