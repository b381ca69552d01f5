"""What was measured of a model, in words, where that is not all layers and what was asked for."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def measured_in_words(model: Mapping[str, Any], asked: Sequence[str]) -> Iterator[str]:
    """A sentence on projections and layers, and one for each thing left out; none of an ordinary model.

    `model` is that of run.json; runs of version 0.1 and those stopped before a model was loaded do not say.
    """
    names, layers, skipped = (model.get(key, []) for key in ("projections", "measured_layers", "skipped_layers"))
    if skipped:
        others = "the other has" if len(skipped) == 1 else f"the other {len(skipped)} have"
        yield f"{', '.join(names)} in {len(layers)} of {len(layers) + len(skipped)} layers; {others} none of them"
    elif names and list(names) != list(asked):
        yield f"{', '.join(names)}, as this model has them"
    yield from model.get("notes", [])
