"""The ways of getting gradient spectra that are timed against each other, on the same model and examples."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.timing import Way
from benchmarks.works import Encodeds
from gradprism import GradientAnalyzer
from gradprism.data.encode import Encoded
from gradprism.data.example import Example
from gradprism.models.batches import Batches
from gradprism.models.likelihood import Batch, ResponseHead
from gradprism.models.projections.discovery import find_projections
from gradprism.prism.capture import capturing, frozen


def plain(model: Any, encoded: Encodeds) -> None:
    """Forward and backward with every weight's gradient, batch 1, no optimiser: what training would cost."""
    model.requires_grad_(True)
    for _, item in encoded:
        backward(model, item)
        model.zero_grad()


def published(model: Any, encoded: Encodeds) -> None:
    """The way of the papers' scripts, plainly written.

    Autograd on the attention weights, a full SVD of each gradient, statistics, cosines of neighbouring layers.
    """
    weights = attention_weights(model)
    for _, item in encoded:
        backward(model, item)
        statistics_of({name: parameter.grad for name, parameter in weights.items()})
        model.zero_grad()


def attention_weights(model: Any) -> dict[str, torch.nn.Parameter]:
    """Make the attention projections the only weights that take a gradient, and return them."""
    model.requires_grad_(False)
    weights = {name: p for name, p in model.named_parameters() if "self_attn" in name and name.endswith("proj.weight")}
    for parameter in weights.values():
        parameter.requires_grad_(True)
    return weights


def statistics_of(gradients: dict[str, Any]) -> None:
    """What the scripts compute of the gradients of one example."""
    below: dict[str, torch.Tensor] = {}
    for name, gradient in gradients.items():
        values = torch.linalg.svd(gradient.float(), full_matrices=True).S  # no SVD takes bf16
        p = values / values.sum()
        _ = (values.sum(), torch.exp(-(p * torch.log(p + 1e-12)).sum()), gradient.mean(), gradient.max())
        kind = name.split(".")[-2]
        if kind in below:
            torch.cosine_similarity(gradient.flatten(), below[kind].flatten(), dim=0)
        below[kind] = gradient


def activation_only(model: Any, encoded: Encodeds, batch_tokens: int = 512) -> None:
    """Our own pass without spectra: the floor. Forward, response loss, and backward to the activations alone."""
    head, projections = ResponseHead(model), find_projections(model, ("q", "k", "v", "o")).projections
    with frozen(model):
        for items in _batches(encoded, batch_tokens):
            batch = Batch.of([item for _, item in items], head.device)
            with capturing(projections, tuple(batch.ids.shape), lambda caught: None):
                head.loss(batch).backward()


def _batches(encoded: Encodeds, batch_tokens: int) -> Iterator[list[tuple[Example, Encoded]]]:
    return Batches[Any](lambda item: item[1].n_tokens, batch_tokens, torch.device("cpu")).cut(encoded)


def the_ways(model: Any, tokenizer: Any, encoded: Encodeds, batch_tokens: int = 512) -> dict[str, list[Way]]:
    """Each way as one call for each of our batches; what they share is made here, before any clock runs."""
    analyzer = GradientAnalyzer(model, tokenizer, max_length=2048, batch_tokens=batch_tokens)
    chunks = list(_batches(encoded, batch_tokens))
    return {
        "plain": [partial(plain, model, chunk) for chunk in chunks],
        "gradprism": [partial(analyzer.analyze_encoded, chunk) for chunk in chunks],
        "floor": [partial(activation_only, model, chunk) for chunk in chunks],
        "published": [partial(published, model, chunk) for chunk in chunks],
    }


def backward(model: Any, item: Encoded) -> None:
    """One ordinary forward and backward pass of one example."""
    ids = torch.tensor([item.ids], device=model.device)
    labels = ids.masked_fill(~torch.tensor([item.response_mask], device=model.device), -100)
    model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
