"""Weights that accelerate fetches for each module's forward pass, fetched again for the backward pass.

A linear map needs its weights again to send a gradient on. Autograd would keep every fetched one until then, and a
model that was spread because it fits nowhere would have to fit after all.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from gradprism.models.device import is_offloaded


@dataclass(frozen=True)
class _Fetched:
    """A view of one weight that is not kept, and what is needed to make it again."""

    hook: Any  # accelerate's
    name: str
    dtype: torch.dtype
    device: torch.device
    layout: tuple[torch.Size, tuple[int, ...], int]  # size, stride, offset

    def refetch(self) -> Tensor:
        """Fetch the weight and return the view of it."""
        weight: Tensor = self.hook.weights_map[self.name]
        return weight.to(self.device, self.dtype).contiguous().as_strided(*self.layout)


@contextmanager
def refetching(model: nn.Module) -> Iterator[None]:
    """Let autograd keep none of the weights that are fetched inside: backward fetches each again.

    Weights in memory, and quantised ones, are kept as ever, and no number changes.
    """
    offloaded = [
        module for module in model.modules() if is_offloaded(module) and hasattr(module._hf_hook, "weights_map")
    ]
    if not offloaded:
        yield
        return
    running: list[nn.Module] = []

    def begin(module: nn.Module, _: Any) -> None:
        running.append(module)

    def end(*_: Any) -> None:
        running.pop()

    def keep(tensor: Tensor) -> Tensor | _Fetched:
        plain = running and type(tensor) in (Tensor, nn.Parameter)
        for name, weight in running[-1].named_parameters(recurse=False) if plain else ():
            if type(weight) is nn.Parameter and weight.is_contiguous() and _is_view_of(weight, tensor):
                layout = tensor.size(), tensor.stride(), int(tensor.storage_offset())
                return _Fetched(running[-1]._hf_hook, name, tensor.dtype, tensor.device, layout)
        return tensor

    def give_back(kept: Tensor | _Fetched) -> Tensor:
        return kept.refetch() if isinstance(kept, _Fetched) else kept

    with ExitStack() as stack:
        for module in offloaded:
            stack.callback(module.register_forward_pre_hook(begin).remove)
            stack.callback(module.register_forward_hook(end, always_call=True).remove)
        with saved_tensors_hooks(keep, give_back):
            yield


def _is_view_of(weight: Tensor, tensor: Tensor) -> bool:
    """Check for a view of a contiguous weight, or of the copy that autocast made of it in another type."""
    if tensor.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr():
        return True
    size = weight.numel() * tensor.element_size()
    if tensor.dtype == weight.dtype or tensor.device != weight.device or tensor.untyped_storage().nbytes() != size:
        return False
    return torch.equal(tensor.as_strided(weight.shape, weight.stride(), 0), weight.to(tensor.dtype))
