"""Independent computations that the tests compare with: autograd on the weights, and SVD in fp64."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch


def weight_gradients(model: Any, ids: Sequence[int], mask: Sequence[bool], weights: Sequence[str]) -> dict[str, Any]:
    """Gradient of the mean response loss in each named weight, by ordinary autograd, as fp64 arrays; and the loss."""
    model.zero_grad()
    model.requires_grad_(True)
    inputs = torch.tensor([list(ids)])
    labels = torch.tensor([[token if scored else -100 for token, scored in zip(ids, mask, strict=True)]])
    loss = model(input_ids=inputs, labels=labels, use_cache=False).loss
    loss.backward()
    parameters = dict(model.named_parameters())
    gradients = {name: parameters[name].grad.double().numpy().copy() for name in weights}
    model.zero_grad()
    return {"loss": loss.item(), **gradients}


def spectrum(gradient: np.ndarray, most: int) -> np.ndarray:
    """Singular values, cut to as many as there can be."""
    return np.linalg.svd(gradient, compute_uv=False)[:most]


def effective_rank(values: np.ndarray) -> float:
    p = values[values > 0] / values.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))


def measures(gradient: np.ndarray, most: int) -> Mapping[str, float]:
    values = spectrum(gradient, most)
    return {
        "nuclear_norm": float(values.sum()),
        "effective_rank": effective_rank(values),
        "frobenius_norm": float(np.linalg.norm(gradient)),
        "spectral_norm": float(values[0]),
        "stable_rank": float((values**2).sum() / values[0] ** 2),
    }
