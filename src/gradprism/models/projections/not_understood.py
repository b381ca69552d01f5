"""What to say of a model whose projections are not found: what was seen, what was looked for, how to describe it."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from gradprism.models.projections.linear import shape_of
from gradprism.models.projections.naming import ATTENTION, ATTENTION_NAMES, MLP, MLP_NAMES, STANDS_FOR, Part, Parts
from gradprism.models.projections.stack import inside_wrapper

TO_BE_SAID = "???"
_HINT = "    # a module below the layer; or rows of a fused one: {module: ..., rows: [0, 64]}"
_MOST = 24


@dataclass(frozen=True)
class Seen:
    """What was found of a model all the same."""

    layers: str  # path of the list
    parts: Parts  # of the first layer that has them


def not_understood(model: nn.Module, names: Sequence[str], problem: str, there: Seen | None = None) -> str:
    """The message: `problem`, the names looked for, the modules seen, and a description to complete.

    `names` are all that were asked for: a description takes the place of what is found by naming altogether.
    """
    wrapper, model = inside_wrapper(model)
    seen = _seen(model)
    listing = [f"  {path} ({kind}) x {count}" for (path, kind), count in seen.most_common(_MOST)] or ["  (none)"]
    if len(seen) > _MOST:
        listing.append(f"  ... and {len(seen) - _MOST} other kinds")
    lines = [
        f"{type(model).__name__}: {problem}",
        "Looked for modules of a numbered layer called:",
        *(f"  {line}" for line in _looked_for(names)),
        "Modules with weights in this model (* is a number):",
        *listing,
        "Choose others with --projections, or describe the model in a file for --architecture (docs/families.md):",
        *(f"  {line}" for line in _stub(model, names, there, wrapper)),
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


def _looked_for(names: Sequence[str]) -> list[str]:
    if {*names} & {*ATTENTION}:
        return [f"{name}: {', '.join(spellings)}" for name, spellings in ATTENTION_NAMES.items()]
    return [", ".join(f"{name}: {at}" for name, at in zip(MLP, each, strict=True) if at) for each in MLP_NAMES]


def _stub(model: nn.Module, names: Sequence[str], there: Seen | None, wrapper: str) -> list[str]:
    """A description to complete: what was found, and ??? (refused by who reads it) for the rest.

    Where no layers were found, those with most kinds of linear maps.
    """
    linear = dict.fromkeys(numbered(path) for path, module in model.named_modules() if shape_of(module))
    lists = Counter(path.split(".*.", 1)[0] for path in linear if ".*." in path)
    most = next((path for path, _ in lists.most_common(1)), "model.layers")
    layers = there.layers.removeprefix(f"{wrapper}.") if there else most
    found = there.parts if there else {}
    lines = [f"layers: {f'{layers}.' if layers else ''}*    # * is the layer's number"]
    for name in names:
        own = [each for each in STANDS_FOR.get(name, (name,)) if each in found]
        lines += [f"{each}: {_place(found[each])}" for each in own] or [f"{name}: {TO_BE_SAID}{_HINT}"]
    return list(dict.fromkeys(lines))


def _place(part: Part) -> str:
    if part.rows is None:
        return part.path
    blocks = f", blocks: {part.rows.blocks}" if part.rows.blocks > 1 else ""
    return f"{{module: {part.path}, rows: [{part.rows.start}, {part.rows.stop}]{blocks}}}"
