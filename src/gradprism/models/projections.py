"""Which linear maps of a model are its q, k, v, o (attention) and gate, up, down (MLP) projections."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from gradprism.errors import GradPrismError

# The names that decoder models of `transformers` give to separate projections.
MODULE_NAMES = {
    "q": ("q_proj", "query_proj", "query", "wq"),
    "k": ("k_proj", "key_proj", "key", "wk"),
    "v": ("v_proj", "value_proj", "value", "wv"),
    "o": ("o_proj", "out_proj", "dense", "wo"),
    "gate": ("gate_proj",),
    "up": ("up_proj",),
    "down": ("down_proj",),
}


@dataclass(frozen=True)
class Projection:
    """One linear map y = W x of a decoder layer; W has the shape (d_out, d_in)."""

    name: str  # q, k, v, o, gate, up, down
    layer: int
    path: str
    module: nn.Module
    d_out: int
    d_in: int


def find_projections(model: nn.Module, names: Sequence[str]) -> tuple[Projection, ...]:
    """Find the projections called `names` in every decoder layer that has them, in the order of layers and names.

    A projection belongs to the layer whose index is the first number in its module path, and q, k, v and o
    must stand in the same attention module. Raises `GradPrismError` where one of `names` is found nowhere.
    """
    if unknown := [name for name in names if name not in MODULE_NAMES]:
        raise GradPrismError(f"Unknown projection {unknown[0]!r}; known: {', '.join(MODULE_NAMES)}.")
    if not names or len(set(names)) != len(names):
        raise GradPrismError(
            f"--projections {','.join(names)!r}: expected distinct names of {', '.join(MODULE_NAMES)}."
        )
    found = sorted(_candidates(model, names), key=lambda p: (p.layer, names.index(p.name)))
    missing = [name for name in names if all(p.name != name for p in found)]
    doubled = [key for key, n in Counter((p.layer, p.name) for p in found).items() if n > 1]
    if missing or doubled:
        raise GradPrismError(_not_understood(model, missing, doubled))
    return tuple(found)


def _candidates(model: nn.Module, names: Sequence[str]) -> Iterator[Projection]:
    wanted = {spelling: name for name in names for spelling in MODULE_NAMES[name]}
    for parent_path, parent in model.named_modules():
        layer = re.search(r"(?:^|\.)(\d+)(?:\.|$)", parent_path)
        children = dict(parent.named_children())
        if layer is None or not _is_home(children):
            continue
        for child, module in children.items():
            if child in wanted and (shape := _weight_shape(module)):
                yield Projection(wanted[child], int(layer[1]), f"{parent_path}.{child}", module, *shape)


def _is_home(children: dict[str, nn.Module]) -> bool:
    """Whether a module with these children is an attention with separate projections, or an MLP.

    Layers that reuse the keys and values of a lower one (Gemma 3n) have q and o alone.
    """
    has = {p: any(name in children for name in names) for p, names in MODULE_NAMES.items()}
    return has["down"] or (has["q"] and (has["o"] or (has["k"] and has["v"])))


def _weight_shape(module: nn.Module) -> tuple[int, int] | None:
    """(d_out, d_in) of a linear module, whatever holds its weights (quantised ones lack a 2-D weight)."""
    d_out, d_in = getattr(module, "out_features", None), getattr(module, "in_features", None)
    return (d_out, d_in) if isinstance(d_out, int) and isinstance(d_in, int) else None


def _not_understood(model: nn.Module, missing: Sequence[str], doubled: Sequence[tuple[int, str]]) -> str:
    what = (
        f"has no projections named {', '.join(missing)}"
        if missing
        else "has several projections {1} in layer {0}".format(*doubled[0])
    )
    seen = Counter(
        f"{re.sub(r'[0-9]+', '*', path)} ({type(module).__name__})"
        for path, module in model.named_modules()
        if not list(module.children()) and any(p.ndim >= 2 for p in module.parameters(recurse=False))
    )
    listing = "\n".join(f"  {path} x {count}" for path, count in seen.most_common(24))
    known = "; ".join(f"{name}: {', '.join(MODULE_NAMES[name])}" for name in missing or ("q", "k", "v", "o"))
    return (
        f"{type(model).__name__} {what}.\n"
        f"Looked for modules of a numbered layer called {known}.\nModules with weights in this model:\n"
        f"{listing or '  (none)'}\n"
        "Choose others with --projections, or use a model with separate attention projections."
    )
