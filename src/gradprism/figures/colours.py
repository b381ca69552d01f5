"""One colour, marker and dash for each projection, group and model, the same in every figure and on the report's page.

Projections take the palette of Okabe & Ito (2008), with brown for its yellow. Groups and models have palettes of their
own, found by search: the colours of one kind differ by more than 15 (CIE76) under every common colour blindness (as
Machado et al. 2009 simulate it), and those of two kinds by more than 20 to the full eye, so that no colour of one
meaning is taken for another. Markers and dashes carry the same distinction in grey. This module knows no drawing
library.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Dash = tuple[float, ...]  # lengths of line and gap in line widths; empty is a full line

PROJECTION_COLOURS: Mapping[str, str] = {
    "q": "#0072B2",
    "k": "#E69F00",
    "v": "#009E73",
    "o": "#D55E00",
    "gate": "#CC79A7",
    "up": "#56B4E9",
    "down": "#783018",  # the palette's yellow (#F0E442) cannot be seen as a line on white
    "q_a": "#8700F0",  # found by search, as the palettes below
    "mean": "#000000",
    "k-v": "#7F7F7F",  # pairs are drawn without projections, so that they need to differ from each other
    "q-o": "#8B6F00",
}
PROJECTION_MARKERS: Mapping[str, str] = {
    "q": "o",
    "k": "s",
    "v": "^",
    "o": "D",
    "gate": "v",
    "up": "P",
    "down": "X",
    "q_a": "p",
    "mean": ".",
    "k-v": "<",
    "q-o": ">",
}
PROJECTION_DASHES: Mapping[str, Dash] = {
    "q": (),
    "k": (5, 1.5),
    "v": (1.5, 1.2),
    "o": (5, 1.5, 1.2, 1.5),
    "gate": (8, 2),
    "up": (3, 1.2, 1.2, 1.2, 1.2, 1.2),
    "down": (2.5, 2.5),
    "q_a": (8, 1.5, 1.2, 1.5, 1.2, 1.5),
    "mean": (),
    "k-v": (),
    "q-o": (4, 1.5),
}
# Latent attention has these instead of q, k and v; no model has both, so that no figure mixes them up.
LATENT: Mapping[str, str] = {"q_b": "q", "kv_a": "k", "kv_b": "v"}

GROUP_COLOURS = ("#332288", "#11AAAA", "#990044", "#AAAA44", "#8888DD", "#883388", "#CC3344", "#333300")
GROUP_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GROUP_DASHES: tuple[Dash, ...] = ((), (5, 1.5), (1.5, 1.2), (5, 1.5, 1.2, 1.5), (8, 2), (2.5, 2.5))

MODEL_COLOURS = ("#2222BB", "#33BB66", "#551133", "#FF88EE", "#007722", "#1188FF")
MODEL_MARKERS = ("o", "s", "^", "D", "v", "P")

OTHER_COLOUR = "#555555"  # for projections without a colour of their own, and for marks of no projection
DIVERGING_MAP, NO_VALUE_COLOUR = "RdBu_r", "#C8C8C8"  # of effects and correlations, white at none
PALE = 0.35  # of a colour, the rest white: estimates without common support
REFERENCE_COLOUR = "#888888"  # for lines at zero, or at no effect


@dataclass(frozen=True)
class Look:
    """The colour, marker and dashes that tell one line from the others, also in grey."""

    colour: str
    marker: str
    dash: Dash

    @property
    def linestyle(self) -> Literal["-"] | tuple[float, Dash]:
        """The dashes as matplotlib takes them."""
        return (0, self.dash) if self.dash else "-"


def projection_look(projection: str) -> Look:
    """Return colour, marker and dashes of a projection or a pair of projections."""
    projection = LATENT.get(projection, projection)
    return Look(
        PROJECTION_COLOURS.get(projection, OTHER_COLOUR),
        PROJECTION_MARKERS.get(projection, "*"),
        PROJECTION_DASHES.get(projection, (1, 1)),
    )


def group_look(index: int) -> Look:
    """Return colour, marker and dashes of a group by its index; after 8 the colours return, with other dashes."""
    colour, marker = GROUP_COLOURS[index % len(GROUP_COLOURS)], GROUP_MARKERS[index % len(GROUP_MARKERS)]
    return Look(colour, marker, GROUP_DASHES[index % len(GROUP_DASHES)])


def model_look(index: int, group: int = 0) -> Look:
    """Return colour and marker of a model by its index, with dashes for its group; after 6 the colours return."""
    colour, marker = MODEL_COLOURS[index % len(MODEL_COLOURS)], MODEL_MARKERS[index % len(MODEL_MARKERS)]
    return Look(colour, marker, GROUP_DASHES[group % len(GROUP_DASHES)])


def paler(colour: str) -> str:
    """Return a colour mixed with white, for what is no evidence.

    >>> paler("#000000")
    '#a6a6a6'
    """
    mixed = (round(255 - PALE * (255 - int(colour[at : at + 2], 16))) for at in (1, 3, 5))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
