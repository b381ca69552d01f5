"""The decoder layers of a language model: one list of modules, in one of several towers."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from gradprism.core.errors import GradPrismError
from gradprism.models.projections.linear import join_path, shape_of


@dataclass(frozen=True)
class DecoderLayers:
    """The decoder layers, numbered as they stand in the model."""

    path: str
    layers: dict[int, nn.Module]
    paths: dict[int, str]

    def path_of(self, layer: int, below: str) -> str:
        """Return the full path of a module below a layer."""
        return join_path(self.paths[layer], below)


def text_config(model: nn.Module) -> Any:
    """Return the configuration of a model's language part; None where it has none."""
    config = getattr(model, "config", None)
    find = getattr(config, "get_text_config", None)
    return find(decoder=True) if find else config


def base_model(model: nn.Module) -> tuple[str, nn.Module]:
    """Return path and module of the model that peft wraps; "" and the model itself where there is no wrapper."""
    find = getattr(model, "get_base_model", None)
    base = find() if callable(find) else model
    return next(((path, module) for path, module in model.named_modules() if module is base), ("", model))


def find_decoder_layers(
    model: nn.Module, has_projections: Callable[[nn.Module], bool]
) -> tuple[DecoderLayers, list[str]] | None:
    """Find the layers of the language model, and the paths of other lists of layers (towers of vision and sound).

    A list counts where one of its layers has projections. Of several in the decoder, the outermost is the language
    model's: other towers hang deeper. Raises `GradPrismError` where two are equally deep; None where no list counts.
    """
    lists = _outermost_lists(model)
    counting = {path: layers for path, layers in lists.items() if any(map(has_projections, layers.values()))}
    decoder = _decoder_path(model)
    within = [path for path in counting if f"{path}.".startswith(f"{decoder}." if decoder else "")] or list(counting)
    if not within:
        return None
    depths = Counter(path.count(".") for path in within)
    least = min(depths)
    if depths[least] > 1:
        raise GradPrismError(_several_lists(model, [path for path in within if path.count(".") == least]))
    chosen = next(path for path in within if path.count(".") == least)
    paths = {number: f"{chosen}.{number}" if chosen else str(number) for number in counting[chosen]}
    others = [path for path in lists if path != chosen and (path in counting or _are_layers(lists[path]))]
    return DecoderLayers(chosen, counting[chosen], paths), others


def _are_layers(modules: Mapping[int, nn.Module]) -> bool:
    """Check that a list is of repeated layers with linear maps in them, not of the maps themselves (a projector)."""
    first = next(iter(modules.values()))
    inside = any(shape_of(inner) for inner in first.modules() if inner is not first)
    return len(modules) > 1 and inside and not shape_of(first)


def _outermost_lists(model: nn.Module) -> dict[str, dict[int, nn.Module]]:
    """Return the modules whose children are numbered, by path, without those inside a layer of another list."""
    lists: dict[str, dict[int, nn.Module]] = {}
    for path, module in model.named_modules():
        children = module._modules.items()  # also a layer that stands there twice
        numbered = {int(name): child for name, child in children if child is not None and name.isdecimal()}
        if numbered and not re.search(r"(^|\.)\d+(\.|$)", path):
            lists[path] = numbered
    return lists


def _decoder_path(model: nn.Module) -> str:
    """Return the path of what the model calls its decoder; "" for the whole model."""
    find = getattr(model, "get_decoder", None)
    decoder = find() if callable(find) else None
    return next((path for path, module in model.named_modules() if module is decoder), "")


def _several_lists(model: nn.Module, paths: Sequence[str]) -> str:
    return (
        f"{type(model).__name__} has several lists of layers with attention: {', '.join(paths)}. Expected one, the "
        "language model's.\nSay which under `layers:` in a description of the architecture (--architecture FILE.yaml; "
        'see "A model of your own" in docs/families.md).'
    )
