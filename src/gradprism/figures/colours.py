"""One colour, marker and dash for each projection and each group, the same in every figure and on the report's page.

Projections take the palette of Okabe & Ito (2008), groups and models that of Tol (technical note SRON/EPS/TN/09-002,
"muted"): both are told apart under every common colour blindness, and no colour is in both, so that a colour never
changes its meaning. Markers and dashes carry the same distinction in grey. This module knows no drawing library.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Dash = tuple[float, ...]  # lengths of line and gap in line widths; empty is a full line

PROJECTION_COLOURS: Mapping[str, str] = {
    "q": "#0072B2",
    "k": "#E69F00",
    "v": "#009E73",
    "o": "#D55E00",
    "gate": "#CC79A7",
    "up": "#56B4E9",
    "down": "#783018",  # the palette's yellow (#F0E442) cannot be seen as a line on white
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
    "mean": (),
    "k-v": (),
    "q-o": (4, 1.5),
}

GROUP_COLOURS = ("#332288", "#CC6677", "#117733", "#DDAA33", "#88CCEE", "#882255", "#44AA99", "#AA4499")
GROUP_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GROUP_DASHES: tuple[Dash, ...] = ((), (5, 1.5), (1.5, 1.2), (5, 1.5, 1.2, 1.5), (8, 2), (2.5, 2.5))

OTHER_COLOUR = "#555555"  # of a projection that has no colour of its own, and of what stands for no projection


@dataclass(frozen=True)
class Look:
    """How one line is told from the others, in colour and in grey."""

    colour: str
    marker: str
    dash: Dash


def projection_look(projection: str) -> Look:
    """The look of a projection or a pair of projections."""
    return Look(
        PROJECTION_COLOURS.get(projection, OTHER_COLOUR),
        PROJECTION_MARKERS.get(projection, "*"),
        PROJECTION_DASHES.get(projection, (1, 1)),
    )


def group_look(place: int) -> Look:
    """The look of the group, or model, that stands at a place in its order, from 0.

    After 8 colours they come again, with other dashes.
    """
    colour, marker = GROUP_COLOURS[place % len(GROUP_COLOURS)], GROUP_MARKERS[place % len(GROUP_MARKERS)]
    return Look(colour, marker, GROUP_DASHES[place % len(GROUP_DASHES)])
