"""Hooks that catch the two factors of every projection's gradient during one backward pass.

X is the input seen in the forward pass, D the loss gradient that arrives at the output. No weight needs a
gradient: where nothing below requires one, the projection's own output is made to, so that backward stops at
the lowest layer's projections instead of going on to the embeddings.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from gradprism.errors import GradPrismError
from gradprism.models.likelihood import evaluating
from gradprism.models.projections import Projection


@dataclass(frozen=True)
class Caught:
    """The factors of one projection for a whole batch."""

    projection: Projection
    inputs: Float[Tensor, "batch tokens d_in"]
    deltas: Float[Tensor, "batch tokens d_out"]


LayerSink = Callable[[int, Sequence[Caught]], None]


@contextmanager
def capturing(projections: Sequence[Projection], on_layer: LayerSink) -> Iterator[Mapping[int, Sequence[Projection]]]:
    """Call `on_layer(layer, caught)` during backward, last layer first, once all its projections have arrived.

    What a layer caught is not kept here after the call. Whoever keeps it may: autograd adds in place only to what
    nobody else holds. Yields the projections that took part in the forward pass and whose gradient is still to come,
    by layer: empty after a complete backward.
    """
    awaited: dict[int, list[Projection]] = {}
    arrived: dict[int, dict[str, Caught]] = defaultdict(dict)

    def arrive(projection: Projection, inputs: Tensor, deltas: Tensor) -> None:
        layer = arrived[projection.layer]
        layer[projection.name] = Caught(projection, inputs, deltas)
        if len(layer) == len(awaited[projection.layer]):
            del arrived[projection.layer], awaited[projection.layer]
            complete = [layer[p.name] for p in projections if p.layer == projection.layer and p.name in layer]
            on_layer(projection.layer, complete)

    def watch(projection: Projection, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        layer = awaited.setdefault(projection.layer, [])
        if projection in layer:
            raise GradPrismError(
                f"{projection.path} is used several times in one forward pass. Expected one use: what is measured is "
                "one Dᵀ X, and this gradient would be the sum of several. Leave it out of --projections."
            )
        layer.append(projection)
        leaf = not output.requires_grad
        if leaf:
            output.requires_grad_(True)
        output.register_hook(partial(arrive, projection, args[0].detach()))  # type: ignore[no-untyped-call]
        return output.clone() if leaf else None  # a model may change its activations in place, but not a leaf

    handles = [p.module.register_forward_hook(partial(watch, p)) for p in projections]
    try:
        yield awaited
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No weight requires a gradient and dropout is off; both are put back afterwards."""
    required: Mapping[nn.Parameter, bool] = {p: p.requires_grad for p in model.parameters()}
    model.requires_grad_(False)
    try:
        with evaluating(model):
            yield
    finally:
        for parameter, value in required.items():
            parameter.requires_grad_(value)
