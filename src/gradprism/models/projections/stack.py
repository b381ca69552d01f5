"""Where the decoder layers of a language model are: one list of modules, in one of several towers."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from gradprism.core.errors import GradPrismError
from gradprism.models.projections.linear import shape_of


@dataclass(frozen=True)
class Stack:
    """The decoder layers, numbered as they stand in the model."""

    path: str
    layers: dict[int, nn.Module]
    paths: dict[int, str]

    def path_of(self, layer: int, below: str) -> str:
        """Full path of a module below a layer."""
        return ".".join(filter(None, (self.paths[layer], below)))


def text_config(model: nn.Module) -> Any:
    """The configuration of a model's language part; None where it has none."""
    config = getattr(model, "config", None)
    find = getattr(config, "get_text_config", None)
    return find(decoder=True) if find else config


def inside_wrapper(model: nn.Module) -> tuple[str, nn.Module]:
    """The model that peft wraps, and its path; the model itself where there is no wrapper."""
    find = getattr(model, "get_base_model", None)
    base = find() if callable(find) else model
    return next(((path, module) for path, module in model.named_modules() if module is base), ("", model))


def find_stack(model: nn.Module, has_parts: Callable[[nn.Module], bool]) -> tuple[Stack, list[str]] | None:
    """The list of layers that make up the language model, and the paths of other lists of layers, whatever is in them.

    A list counts where one of its layers has what is looked for. Of several in the decoder, the outermost is the
    language model: towers of vision and sound hang deeper. Raises `GradPrismError` where two are equally deep; None
    where there is no such list.
    """
    lists = _outermost_lists(model)
    having = {path: layers for path, layers in lists.items() if any(map(has_parts, layers.values()))}
    decoder = _decoder_path(model)
    within = [path for path in having if f"{path}.".startswith(f"{decoder}." if decoder else "")] or list(having)
    if not within:
        return None
    depths = Counter(path.count(".") for path in within)
    least = min(depths)
    if depths[least] > 1:
        raise GradPrismError(_several(model, [path for path in within if path.count(".") == least]))
    chosen = next(path for path in within if path.count(".") == least)
    paths = {number: f"{chosen}.{number}" if chosen else str(number) for number in having[chosen]}
    others = [path for path in lists if path != chosen and (path in having or _are_layers(lists[path]))]
    return Stack(chosen, having[chosen], paths), others


def _are_layers(modules: Mapping[int, nn.Module]) -> bool:
    """Whether these are repeated layers with linear maps in them, and not the maps themselves (a projector)."""
    first = next(iter(modules.values()))
    inside = any(shape_of(inner) for inner in first.modules() if inner is not first)
    return len(modules) > 1 and inside and not shape_of(first)


def _outermost_lists(model: nn.Module) -> dict[str, dict[int, nn.Module]]:
    """Modules whose children are numbered, by path; not those inside a layer of another."""
    lists: dict[str, dict[int, nn.Module]] = {}
    for path, module in model.named_modules():
        children = module._modules.items()  # also a layer that stands there twice
        numbered = {int(name): child for name, child in children if child is not None and name.isdecimal()}
        if numbered and not re.search(r"(^|\.)\d+(\.|$)", path):
            lists[path] = numbered
    return lists


def _decoder_path(model: nn.Module) -> str:
    """Path of what the model calls its decoder; "" for the whole of it."""
    find = getattr(model, "get_decoder", None)
    decoder = find() if callable(find) else None
    return next((path for path, module in model.named_modules() if module is decoder), "")


def _several(model: nn.Module, paths: Sequence[str]) -> str:
    return (
        f"{type(model).__name__} has several lists of layers with attention: {', '.join(paths)}. Expected one, the "
        "language model's.\nSay which under `layers:` in a description of the architecture (--architecture FILE.yaml; "
        'see "A model of your own" in docs/families.md).'
    )
