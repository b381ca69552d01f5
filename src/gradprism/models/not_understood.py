"""What to say of a model whose projections are not found: what was seen, what was looked for, how to describe it."""

import re
from collections import Counter
from collections.abc import Sequence

from torch import nn

from gradprism.models.linear import shape_of
from gradprism.models.naming import ATTENTION, ATTENTION_NAMES, MLP_NAMES

_MOST = 24


def not_understood(model: nn.Module, names: Sequence[str], problem: str, described: bool = False) -> str:
    """The message: `problem`, the names looked for (unless they were `described`), the modules, what to edit."""
    seen = _seen(model)
    listing = "\n".join(f"  {path} ({kind}) x {count}" for (path, kind), count in seen.most_common(_MOST))
    rest = f"\n  ... and {len(seen) - _MOST} other kinds" if len(seen) > _MOST else ""
    lines = [
        f"{type(model).__name__}: {problem}",
        *([] if described else [f"Looked for modules of a numbered layer called {_looked_for(names)}."]),
        f"Modules with weights in this model (* is a number):\n{listing or '  (none)'}{rest}",
        "Choose others with --projections, or describe the model in a file for --architecture (docs/families.md):",
        _stub(seen, names),
    ]
    return "\n".join(lines)


def _seen(model: nn.Module) -> Counter[tuple[str, str]]:
    return Counter(
        (re.sub(r"(?<![^.])\d+(?![^.])", "*", path), type(module).__name__)
        for path, module in model.named_modules()
        if shape_of(module)
        or (not list(module.children()) and any(p.ndim >= 2 for p in module.parameters(recurse=False)))
    )


def _looked_for(names: Sequence[str]) -> str:
    if {*names} & {*ATTENTION}:
        return "; ".join(f"{name}: {', '.join(spellings)}" for name, spellings in ATTENTION_NAMES.items())
    return "; ".join(" with ".join(filter(None, together)) for together in MLP_NAMES)


def _stub(seen: Counter[tuple[str, str]], names: Sequence[str]) -> str:
    """A description to edit: the layers with most kinds of modules, and those modules for want of better."""
    below = [path.split(".*.", 1) for path, _ in seen if ".*." in path]
    layers = next((path for path, _ in Counter(path for path, _ in below).most_common(1)), "model.layers")
    modules = [module for path, module in below if path == layers] or ["attention.query"]
    lines = [f"{name}: {modules[min(place, len(modules) - 1)]}" for place, name in enumerate(names)]
    lines[0] += "    # a module below the layer; or rows of a fused one: {module: ..., rows: [0, 64]}"
    return "\n".join(f"  {line}" for line in (f"layers: {layers}.*    # * is the layer's number", *lines))
