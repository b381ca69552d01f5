"""Rows of a batch that a trainer gives its model: tokens and loss mask as the trainer has made them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradprism.core.errors import GradPrismError
from gradprism.data.encode import Encoded
from gradprism.data.example import Example, Turn

_IGNORED = -100  # the label of a token outside the loss
_PACKED = ("cu_seq_lens_q", "seq_idx", "cu_seqlens")


@dataclass(frozen=True)
class BatchRow:
    """One row of a batch: the place of its tokens, padding aside, and what they are."""

    index: int
    place: slice
    encoded: Encoded

    def example(self, row: int, step: int, tokenizer: Any) -> Example:
        """Return it as an example, named after its step and its place in the batch."""
        prompt, response = (
            [i for i, scored in zip(self.encoded.ids, self.encoded.response_mask, strict=True) if scored is wanted]
            for wanted in (False, True)
        )
        turns = (Turn("user", tokenizer.decode(prompt)), Turn("assistant", tokenizer.decode(response)))
        return Example(row, f"step-{step:06d}-row-{self.index}", turns)


def rows_of_batch(inputs: Mapping[str, Any], most: int) -> list[BatchRow]:
    """Return the first rows of a batch, at most so many, without those that have no loss token.

    Raises `GradPrismError` for a batch without labels, and one whose rows hold several examples each.
    """
    ids, labels = inputs.get("input_ids"), inputs.get("labels")
    if not isinstance(ids, Tensor) or not isinstance(labels, Tensor) or ids.ndim != 2:
        raise GradPrismError(
            f"SpectraCallback: the model was given {', '.join(inputs)}. Expected a batch with input_ids and labels of "
            "two dimensions (label smoothing keeps the labels from the model); or rows of your own: "
            "SpectraCallback(rows)."
        )
    if _is_packed(inputs):
        raise GradPrismError(
            "SpectraCallback: the rows of a batch hold several examples each (packing, or padding_free), whose "
            "gradients are not told apart. Expected packing=False; or rows of your own: SpectraCallback(rows)."
        )
    mask = inputs.get("attention_mask")
    rows = (_row(index, ids, labels, mask) for index in range(min(most, len(ids))))
    return [row for row in rows if row.encoded.n_response_tokens]


def _is_packed(inputs: Mapping[str, Any]) -> bool:
    positions = inputs.get("position_ids")
    begins_anew = isinstance(positions, Tensor) and bool((positions.diff(dim=-1) < 0).any())
    masks = inputs.get("attention_mask")
    by_block = isinstance(masks, Tensor) and masks.ndim != 2
    return begins_anew or by_block or any(inputs.get(name) is not None for name in _PACKED)


def _row(index: int, ids: Tensor, labels: Tensor, mask: Tensor | None) -> BatchRow:
    kept = torch.ones_like(ids[index]) if mask is None else mask[index]
    (there,) = kept.nonzero(as_tuple=True)
    place = slice(int(there[0]), int(there[-1]) + 1) if len(there) else slice(0, 0)
    scored = (labels[index, place] != _IGNORED).tolist()
    scored[:1] = [False] * len(scored[:1])  # nothing predicts the first token
    return BatchRow(index, place, Encoded(tuple(ids[index, place].tolist()), tuple(scored), truncated=False))
