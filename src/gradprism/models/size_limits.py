"""Limits on the size of a model while it is made without memory, before any of its weights are allocated."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from gradprism.core.errors import GradPrismError
from gradprism.models.weight_files import StoredWeights

if TYPE_CHECKING:
    from torch import nn

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_SLACK = 1 << 24  # values: what is missing from a small file is named by its keys instead
_MADE_TWICE = 4  # tied and shared weights are made more than once, and joined then
_FEW_LAYERS = 64


def available_memory() -> int:
    """Return the bytes that this process may still take: the machine's, or fewer where its container has a limit."""
    free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # no container, or no limit ("max")
        free = min(free, int(_CGROUP_LIMIT.read_text()))
    return free


@contextmanager
def limited_parameters(limit: int, message: str, *, anywhere: bool = False) -> Iterator[None]:
    """Raise `GradPrismError` once the parameters made inside come to more than `limit` values.

    Those made without memory are counted, and with `anywhere` all; what is merely allocated takes no memory yet.
    """
    from torch.nn.modules.module import register_module_parameter_registration_hook

    n_made, kept = 0, dict[int, Any]()  # kept, so that no number is given twice

    def count(_: "nn.Module", __: str, weight: Any) -> None:
        nonlocal n_made
        if weight is None or id(weight) in kept or not (anywhere or weight.is_meta):
            return
        kept[id(weight)] = weight
        n_made += weight.numel()
        if n_made > limit:
            raise GradPrismError(message)

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def refuse_more_layers(config: Any, stored: StoredWeights, name: str) -> None:
    """Refuse a configuration of more layers than there are tensors. Raises `GradPrismError`."""
    if (n_layers := layers_of(config)) > stored.n_tensors:
        raise GradPrismError(
            f"Cannot load the model {name!r}: its configuration says {n_layers:,} layers, and the weights are "
            f"{stored.n_tensors:,} tensors.\nExpected the config.json that these weights were saved with."
        )


def most_parameters(stored: StoredWeights, *, quantised: bool) -> int:
    """Return how many parameters a model may be made of, given its stored weights: far more are a damage.

    Several quantised ones lie in one byte.
    """
    return _SLACK + (8 * stored.n_bytes if quantised else _MADE_TWICE * stored.n_values)


def most_adapter_parameters(n_stored: int) -> int:
    """Return how many parameters an adapter may be made of, given the values in its file."""
    return _SLACK + _MADE_TWICE * n_stored


def layers_of(config: Any) -> int:
    """Return the number of decoder layers by a configuration; 0 where it does not say."""
    found = getattr(config.get_text_config(), "num_hidden_layers", 0)
    return found if isinstance(found, int) else 0


def with_few_layers(config: Any) -> tuple[Any, float]:
    """Return a configuration of few layers like these, and how many times as many there are.

    Lists with an entry for each layer are cut. One that has few is returned as it is.
    """
    n_layers = layers_of(config)
    if n_layers <= _FEW_LAYERS:
        return config, 1.0
    few = deepcopy(config)
    text = few.get_text_config()
    for name, value in list(vars(text).items()):
        if isinstance(value, list | tuple) and len(value) == n_layers:
            setattr(text, name, value[:_FEW_LAYERS])
    text.num_hidden_layers = _FEW_LAYERS
    return few, n_layers / _FEW_LAYERS
