"""Independent computations that the tests compare with: autograd on the weights, and SVD in fp64."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode


class _Fp64Throughout(TorchFunctionMode):
    """What a model asks to be done in fp32 (norms, rotations, softmax, loss) is done in fp64."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        def wider(value: Any) -> Any:
            return torch.float64 if value is torch.float32 else value

        if func is torch.Tensor.float:
            func = torch.Tensor.double
        return func(*map(wider, args), **{name: wider(value) for name, value in (kwargs or {}).items()})


class TrueModel:
    """An fp64 copy of a model, every step in fp64. fp32 losses of `transformers` are 1e-5 too small on some CPUs."""

    def __init__(self, model: Any):
        self._model = copy.deepcopy(model).double().eval()
        if hasattr(self._model, "set_experts_implementation"):
            self._model.set_experts_implementation("eager")  # the faster one has no fp64

    def gradients(self, ids: Sequence[int], mask: Sequence[bool], weights: Sequence[str]) -> dict[str, Any]:
        """As `weight_gradients`."""
        with _Fp64Throughout():
            return weight_gradients(self._model, ids, mask, weights)

    def loss(self, ids: Sequence[int], first: int) -> float:
        """Mean negative log-likelihood of ids[first:]."""
        with torch.no_grad(), _Fp64Throughout():
            labels = torch.tensor([[-100] * first + list(ids[first:])])
            return float(self._model(input_ids=torch.tensor([list(ids)]), labels=labels, use_cache=False).loss)


def weight_gradients(model: Any, ids: Sequence[int], mask: Sequence[bool], weights: Sequence[str]) -> dict[str, Any]:
    """Gradient of the mean response loss in each named weight, by ordinary autograd, as fp64 arrays; and the loss."""
    model.zero_grad()
    model.requires_grad_(False)
    parameters = dict(model.named_parameters())
    for name in weights:
        parameters[name].requires_grad_(True)
    inputs = torch.tensor([list(ids)])
    labels = torch.tensor([[token if scored else -100 for token, scored in zip(ids, mask, strict=True)]])
    loss = model(input_ids=inputs, labels=labels, use_cache=False).loss
    loss.backward()
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
