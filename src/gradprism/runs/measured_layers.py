"""Describe which projections and layers of a model were measured, where these are not all that were requested."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def describe_measured_layers(model: Mapping[str, Any], requested: Sequence[str]) -> Iterator[str]:
    """Yield a sentence on projections and layers, and one for each thing left out; nothing for an ordinary model.

    `model` is the entry of run.json, which holds none of this in runs of version 0.1 and in those stopped before a
    model was loaded. `requested` names the projections of the settings.
    """
    names, layers, skipped = (model.get(key, []) for key in ("projections", "measured_layers", "skipped_layers"))
    if skipped:
        others = "the other has" if len(skipped) == 1 else f"the other {len(skipped)} have"
        yield f"{', '.join(names)} in {len(layers)} of {len(layers) + len(skipped)} layers; {others} none of them"
    elif names and list(names) != list(requested):
        yield f"{', '.join(names)}, as this model has them"
    yield from model.get("notes", [])
