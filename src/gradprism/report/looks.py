"""The colours, dashes and markers of figures as plotly has them."""

from typing import Any

from gradprism.figures.colours import (
    GROUP_COLOURS,
    GROUP_DASHES,
    GROUP_MARKERS,
    LATENT,
    PROJECTION_COLOURS,
    Look,
    projection_look,
)

_SYMBOLS = {
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross", "X": "x",
    "*": "star",
}  # fmt: skip


def looks() -> dict[str, Any]:
    """Of projections by name, of any other one, and of groups by their place; dashes in line widths."""
    return {
        "projections": {name: _line(projection_look(name)) for name in (*PROJECTION_COLOURS, *LATENT)},
        "other": _line(projection_look("")),
        "groups": {
            "colours": GROUP_COLOURS,
            "dashes": GROUP_DASHES,
            "symbols": [_SYMBOLS[marker] for marker in GROUP_MARKERS],
        },
    }


def _line(look: Look) -> dict[str, Any]:
    return {"colour": look.colour, "dash": look.dash}
