"""What to say of a model whose projections are not found: what was seen, what was looked for, how to describe it."""

import re
from collections import Counter
from collections.abc import Sequence

from torch import nn

from gradprism.models.linear import shape_of
from gradprism.models.naming import ATTENTION, ATTENTION_NAMES, MLP_NAMES

_MOST = 24


def not_understood(model: nn.Module, names: Sequence[str], problem: str) -> str:
    """The message: `problem`, the names looked for, the modules seen, and a description of them to edit."""
    seen = _seen(model)
    listing = [f"  {path} ({kind}) x {count}" for (path, kind), count in seen.most_common(_MOST)] or ["  (none)"]
    if len(seen) > _MOST:
        listing.append(f"  ... and {len(seen) - _MOST} other kinds")
    lines = [
        f"{type(model).__name__}: {problem}",
        f"Looked for modules of a numbered layer called {_looked_for(names)}.",
        "Modules with weights in this model (* is a number):",
        *listing,
        "Choose others with --projections, or describe the model in a file for --architecture (docs/families.md):",
        *(
            f"  {line}"
            for line in _stub([numbered(path) for path, module in model.named_modules() if shape_of(module)], names)
        ),
    ]
    return "\n".join(lines)


def numbered(path: str) -> str:
    """A path with * for its numbers."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", path)


def _seen(model: nn.Module) -> Counter[tuple[str, str]]:
    return Counter(
        (numbered(path), type(module).__name__)
        for path, module in model.named_modules()
        if shape_of(module)
        or (not list(module.children()) and any(p.ndim >= 2 for p in module.parameters(recurse=False)))
    )


def _looked_for(names: Sequence[str]) -> str:
    if {*names} & {*ATTENTION}:
        return "; ".join(f"{name}: {', '.join(spellings)}" for name, spellings in ATTENTION_NAMES.items())
    return "; ".join(" with ".join(filter(None, together)) for together in MLP_NAMES)


def _stub(linear: Sequence[str], names: Sequence[str]) -> list[str]:
    """A description to edit: the layers with most kinds of linear maps, and those maps for want of better."""
    below = [path.split(".*.", 1) for path in dict.fromkeys(linear) if ".*." in path]
    layers = next((path for path, _ in Counter(path for path, _ in below).most_common(1)), "model.layers")
    modules = [module for path, module in below if path == layers] or ["attention.query"]
    lines = [f"{name}: {modules[min(place, len(modules) - 1)]}" for place, name in enumerate(names)]
    lines[0] += "    # a module below the layer; or rows of a fused one: {module: ..., rows: [0, 64]}"
    return [f"layers: {layers}.*    # * is the layer's number", *lines]
