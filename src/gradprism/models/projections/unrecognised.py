"""The message for a model whose projections are not found: what was looked for, and which modules it has."""

import re
from collections import Counter
from collections.abc import Sequence

from torch import nn

from gradprism.models.projections.decoder_layers import base_model
from gradprism.models.projections.linear import shape_of
from gradprism.models.projections.naming import ATTENTION, ATTENTION_NAMES, MLP, MLP_NAMES

_MOST_MODULE_KINDS = 24


def unrecognised_model(model: nn.Module, names: Sequence[str], problem: str) -> str:
    """Write the message: the problem, the names looked for, the modules with weights, and what to do."""
    _, model = base_model(model)
    kinds = _count_module_kinds(model)
    listing = [f"  {path} ({kind}) x {n}" for (path, kind), n in kinds.most_common(_MOST_MODULE_KINDS)] or ["  (none)"]
    if len(kinds) > _MOST_MODULE_KINDS:
        listing.append(f"  ... and {len(kinds) - _MOST_MODULE_KINDS} other kinds")
    return "\n".join(
        [
            f"{type(model).__name__}: {problem}",
            "Looked for modules of a numbered layer called:",
            *(f"  {line}" for line in _names_looked_for(names)),
            "Modules with weights in this model (* is a number):",
            *listing,
            "Choose other projections with --projections, or say in a YAML file where these are "
            '(--architecture FILE.yaml; see "A model of your own" in docs/families.md).',
        ]
    )


def with_stars(path: str) -> str:
    """Replace the numbers in a module's path by `*`: model.layers.7.mlp -> model.layers.*.mlp."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", path)


def _count_module_kinds(model: nn.Module) -> Counter[tuple[str, str]]:
    """Count modules with weights by path (numbers as `*`) and class."""
    return Counter(
        (with_stars(path), type(module).__name__)
        for path, module in model.named_modules()
        if shape_of(module)
        or (not list(module.children()) and any(p.ndim >= 2 for p in module.parameters(recurse=False)))
    )


def _names_looked_for(names: Sequence[str]) -> list[str]:
    if {*names} & {*ATTENTION}:
        return [f"{name}: {', '.join(spellings)}" for name, spellings in ATTENTION_NAMES.items()]
    return [", ".join(f"{name}: {at}" for name, at in zip(MLP, each, strict=True) if at) for each in MLP_NAMES]
