"""Measure how much each token adds to the gradients of its example.

G = Dᵀ X is a sum over tokens of matrices of rank one, d_t x_tᵀ, and ‖d_t x_tᵀ‖_F = ‖d_t‖ ‖x_t‖. These norms, added up
over layers, are the gradient size of a token. By the triangle inequality they sum to at least ‖G‖_F over tokens.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gradprism.prism.capture import Caught
from gradprism.prism.token_summaries import StorageKey, storage_key, token_norms


class TokenSizes:
    """The gradient sizes of the tokens of a batch, added up layer by layer."""

    def __init__(self) -> None:
        """Begin a batch."""
        self._sums: dict[tuple[str, torch.device], Float[Tensor, "batch tokens"]] = {}

    def add(self, caught: Sequence[Caught]) -> None:
        """Add the sizes of one layer, of the summed loss, on the device that the factors are on."""
        norms: dict[StorageKey, Tensor] = {}
        for item in caught:
            key = storage_key(item.inputs)  # q, k and v read the same activations
            if key not in norms:
                norms[key] = token_norms(item.inputs)
            sizes = token_norms(item.deltas) * norms[key]
            place = item.projection.name, sizes.device  # a spread model has its layers on several
            self._sums[place] = self._sums[place] + sizes if place in self._sums else sizes

    def by_example(self, lengths: Sequence[int], n_predicted: Sequence[int]) -> list[dict[str, list[float]]]:
        """Return for each example the sizes of its tokens by projection, of the mean loss."""
        sums: dict[str, Tensor] = {}
        for (name, _), sizes in self._sums.items():
            sums[name] = sums[name] + sizes.cpu() if name in sums else sizes.cpu()
        return [
            {name: (sizes[row, :length] / n).tolist() for name, sizes in sums.items()}
            for row, (length, n) in enumerate(zip(lengths, n_predicted, strict=True))
        ]
