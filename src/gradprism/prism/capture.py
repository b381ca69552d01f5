"""Capture the two factors of every projection's gradient during one backward pass, by hooks.

X is the projection's input in the forward pass, D the gradient of the loss at its output. No weight needs a
gradient: where nothing below requires one, the projection's output is made to require it, so that backward stops
at the projections of the lowest layer instead of continuing to the embeddings.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from gradprism.core.errors import GradPrismError
from gradprism.models.likelihood import evaluating
from gradprism.models.projections.discovery import Projection
from gradprism.models.usage import repeated_use_message


@dataclass(frozen=True)
class Caught:
    """The factors of one projection for a whole batch."""

    projection: Projection
    inputs: Float[Tensor, "batch tokens d_in"]
    deltas: Float[Tensor, "batch tokens d_out"]


LayerSink = Callable[[Sequence[Caught]], None]


@contextmanager
def capturing(
    projections: Sequence[Projection], shape: tuple[int, ...], on_layer: LayerSink
) -> Iterator[Mapping[int, Sequence[Projection]]]:
    """Call `on_layer(caught)` during backward, last layer first, once a layer's factors are complete.

    `shape` is that of the batch, (examples, tokens). The factors are not kept here after the call. The caller may keep
    them: autograd accumulates in place only into tensors without other references. Yields, by layer, the projections
    that took part in the forward pass and whose gradient is still missing: empty after a complete backward.
    """
    awaited: dict[int, list[Projection]] = {}
    arrived: dict[int, dict[str, Caught]] = defaultdict(dict)
    by_module: dict[nn.Module, list[Projection]] = defaultdict(list)  # several are rows of one fused map
    for projection in projections:
        by_module[projection.module].append(projection)

    def on_gradient(here: Sequence[Projection], inputs: Tensor, version: int, deltas: Tensor) -> None:
        if inputs._version != version:
            raise RuntimeError(f"the model changed the inputs of {here[0].path} in place after they were used")
        inputs, deltas = (by_example(values, shape, here[0].path) for values in (inputs, deltas))
        for projection in here:
            arrived[projection.layer][projection.name] = Caught(projection, inputs, projection.select(deltas))
        for number in {projection.layer for projection in here}:
            if len(arrived[number]) == len(awaited[number]):
                layer = arrived.pop(number)
                del awaited[number]
                on_layer([layer[p.name] for p in projections if p.layer == number and p.name in layer])

    def on_forward(module: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any], output: Tensor) -> Tensor | None:
        here = by_module[module]
        layer = awaited.setdefault(here[0].layer, [])
        if here[0] in layer:
            raise GradPrismError(repeated_use_message(here[0].path))
        layer.extend(here)
        leaf = not output.requires_grad
        if leaf:
            output.requires_grad_(True)
        inputs = next(value for value in (*args, *named.values()) if isinstance(value, Tensor)).detach()
        output.register_hook(partial(on_gradient, here, inputs, inputs._version))  # type: ignore[no-untyped-call]
        return output.clone() if leaf else None  # a model may change its activations in place, but not a leaf

    handles = [module.register_forward_hook(on_forward, with_kwargs=True) for module in by_module]
    try:
        yield awaited
    finally:
        for handle in handles:
            handle.remove()


def by_example(
    values: Float[Tensor, "*tokens d"], shape: tuple[int, ...], path: str
) -> Float[Tensor, "batch tokens d"]:
    """Restore the shape (batch, tokens, d) where a model has flattened the tokens (MLPs) or inserted a dimension."""
    if values.shape[:-1] == shape:
        return values
    leading = [n for n in values.shape[:-1] if n > 1]
    if leading in ([n for n in shape if n > 1], [math.prod(shape)]):
        return values.reshape(*shape, values.shape[-1])
    raise RuntimeError(f"{path} has activations of shape {tuple(values.shape)}; expected those of a batch {shape}")


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Freeze all weights and switch dropout off; restore both afterwards."""
    required: Mapping[str, bool] = {name: p.requires_grad for name, p in model.named_parameters(remove_duplicate=False)}
    model.requires_grad_(False)
    try:
        with evaluating(model):
            yield
    finally:
        for name, parameter in model.named_parameters(remove_duplicate=False):  # offloaded weights are new objects
            if not parameter.is_inference():  # fetched under the caller's inference mode: they can take no gradient
                parameter.requires_grad_(required.get(name, False))
