"""Hooks that catch the two factors of every projection's gradient during one backward pass.

X is the input seen in the forward pass, D the loss gradient that arrives at the output. No weight needs a
gradient: where nothing below requires one, the projection's own output is made to, so that backward stops at
the lowest layer's projections instead of going on to the embeddings.
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


LayerSink = Callable[[int, Sequence[Caught]], None]


@contextmanager
def capturing(
    projections: Sequence[Projection], shape: tuple[int, ...], on_layer: LayerSink
) -> Iterator[Mapping[int, Sequence[Projection]]]:
    """Call `on_layer(layer, caught)` during backward, last layer first, once all its projections have arrived.

    `shape` is that of the batch, (examples, tokens).
    What a layer caught is not kept here after the call. Whoever keeps it may: autograd adds in place only to what
    nobody else holds. Yields the projections that took part in the forward pass and whose gradient is still to come,
    by layer: empty after a complete backward.
    """
    awaited: dict[int, list[Projection]] = {}
    arrived: dict[int, dict[str, Caught]] = defaultdict(dict)
    sharing: dict[nn.Module, list[Projection]] = defaultdict(list)  # several are rows of one fused map
    for projection in projections:
        sharing[projection.module].append(projection)

    def arrive(here: Sequence[Projection], inputs: Tensor, version: int, deltas: Tensor) -> None:
        if inputs._version != version:
            raise RuntimeError(f"the model changed the inputs of {here[0].path} in place after they were used")
        inputs, deltas = (_by_example(values, shape, here[0].path) for values in (inputs, deltas))
        for projection in here:
            arrived[projection.layer][projection.name] = Caught(projection, inputs, projection.select(deltas))
        for number in {projection.layer for projection in here}:
            if len(arrived[number]) == len(awaited[number]):
                layer = arrived.pop(number)
                del awaited[number]
                on_layer(number, [layer[p.name] for p in projections if p.layer == number and p.name in layer])

    def watch(module: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any], output: Tensor) -> Tensor | None:
        here = sharing[module]
        layer = awaited.setdefault(here[0].layer, [])
        if here[0] in layer:
            raise GradPrismError(repeated_use_message(here[0].path))
        layer.extend(here)
        leaf = not output.requires_grad
        if leaf:
            output.requires_grad_(True)
        inputs = next(value for value in (*args, *named.values()) if isinstance(value, Tensor)).detach()
        output.register_hook(partial(arrive, here, inputs, inputs._version))  # type: ignore[no-untyped-call]
        return output.clone() if leaf else None  # a model may change its activations in place, but not a leaf

    handles = [module.register_forward_hook(watch, with_kwargs=True) for module in sharing]
    try:
        yield awaited
    finally:
        for handle in handles:
            handle.remove()


def _by_example(
    values: Float[Tensor, "*tokens d"], shape: tuple[int, ...], path: str
) -> Float[Tensor, "batch tokens d"]:
    """Undo what some models do: flatten the tokens of all examples (MLPs), or insert a dimension (latent attention)."""
    if values.shape[:-1] == shape:
        return values
    leading = [n for n in values.shape[:-1] if n > 1]
    if leading in ([n for n in shape if n > 1], [math.prod(shape)]):
        return values.reshape(*shape, values.shape[-1])
    raise RuntimeError(f"{path} sees values of the shape {tuple(values.shape)}, not the tokens of a batch {shape}")


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No weight requires a gradient and dropout is off; both are put back afterwards."""
    required: Mapping[str, bool] = {name: p.requires_grad for name, p in model.named_parameters(remove_duplicate=False)}
    model.requires_grad_(False)
    try:
        with evaluating(model):
            yield
    finally:
        for name, parameter in model.named_parameters(remove_duplicate=False):  # offloaded: others than before
            if not parameter.is_inference():  # fetched so by the caller: they take no gradient any more
                parameter.requires_grad_(required.get(name, False))
