"""The response loss of each example of a batch, logits taken on response positions only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gradprism.data.encode import Encoded
from gradprism.errors import GradPrismError


@dataclass(frozen=True)
class Batch:
    """Examples padded on the right to one length. Causal attention never looks right, so no mask is needed."""

    ids: Int[Tensor, "batch tokens"]
    response_mask: Bool[Tensor, "batch tokens"]
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, encoded: Sequence[Encoded], device: torch.device) -> "Batch":
        """Pad and move to the device."""
        lengths = tuple(example.n_tokens for example in encoded)
        ids = torch.zeros(len(encoded), max(lengths), dtype=torch.long)
        mask = torch.zeros_like(ids, dtype=torch.bool)
        for row, example in enumerate(encoded):
            ids[row, : example.n_tokens] = torch.tensor(example.ids)
            mask[row, : example.n_tokens] = torch.tensor(example.response_mask)
        return cls(ids.to(device, non_blocking=True), mask.to(device, non_blocking=True), lengths)


@dataclass(frozen=True)
class ResponseLoss:
    """Sums of negative log-likelihoods in nats; `total` is the sum over all examples, for backward.

    Not of the means: a gradient divided by a long response's token count falls below what fp16 can hold. The
    division belongs after backward, in fp64.
    """

    nll_sum: Float[Tensor, " batch"]
    n_predicted: Int[Tensor, " batch"]
    total: Float[Tensor, ""]

    @property
    def means(self) -> list[float]:
        """Mean negative log-likelihood of each example's response tokens."""
        return (self.nll_sum / self.n_predicted).tolist()


def response_loss(model: nn.Module, batch: Batch) -> ResponseLoss:
    """Forward pass and loss. An example with a non-finite loss is left out of `total`."""
    examples, positions = batch.response_mask[:, 1:].nonzero(as_tuple=True)
    targets = batch.ids[examples, positions + 1]
    logits = _logits_at(model, batch.ids, examples, positions)
    nll = cross_entropy(logits.float(), targets, reduction="none")  # (predicted,)
    owner = examples.cpu()  # sums on the CPU: Apple's GPUs have no fp64
    zeros = torch.zeros(len(batch.lengths), dtype=torch.float64, device="cpu")
    nll_sum = zeros.index_add_(0, owner, nll.detach().cpu().double())
    counts = torch.bincount(owner, minlength=len(zeros))
    finite = nll_sum.isfinite()[owner].to(nll.device)
    return ResponseLoss(nll_sum, counts, nll[finite].sum())


def _logits_at(model: nn.Module, ids: Tensor, examples: Tensor, positions: Tensor) -> Float[Tensor, "n vocabulary"]:
    """Logits at chosen positions: hidden states are gathered in front of the output layer, so that soft caps
    and scalings that a model applies to its logits still run.
    """
    head = _output_layer(model)

    def gather(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0][examples, positions].unsqueeze(0), *args[1:])  # (1, n, d)

    handle = head.register_forward_pre_hook(gather)
    try:
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
    finally:
        handle.remove()
    return logits.squeeze(0)


def _output_layer(model: nn.Module) -> nn.Module:
    find = getattr(model, "get_output_embeddings", None)
    head = find() if find else None
    if not isinstance(head, nn.Module):
        raise GradPrismError(
            f"{type(model).__name__} has no output layer over a vocabulary; expected a causal language model "
            "(AutoModelForCausalLM)."
        )
    return head
