from itertools import combinations, product

import numpy as np
import numpy.typing as npt
import pytest

from gradprism.figures.colours import (
    GROUP_COLOURS,
    GROUP_MARKERS,
    MODEL_COLOURS,
    MODEL_MARKERS,
    OTHER_COLOUR,
    PROJECTION_COLOURS,
    PROJECTION_DASHES,
    PROJECTION_MARKERS,
    group_look,
    model_look,
    projection_look,
)

# Machado, Oliveira & Fernandes (2009), severity 1: what is seen of linear RGB.
SIGHTS = {
    "full": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TOGETHER = {
    "projections": [colour for name, colour in PROJECTION_COLOURS.items() if "-" not in name],
    "pairs": [PROJECTION_COLOURS["k-v"], PROJECTION_COLOURS["q-o"]],
    "groups": list(GROUP_COLOURS),
    "models": list(MODEL_COLOURS),
}
KINDS = {
    "projections": [*PROJECTION_COLOURS.values(), OTHER_COLOUR],
    "groups": [*GROUP_COLOURS],
    "models": [*MODEL_COLOURS],
}


def linear(colour: str) -> npt.NDArray[np.float64]:
    share = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """CIE L*a*b* of linear sRGB under D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.clip(to_xyz @ light / [0.9505, 1, 1.089], 0, None))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("kind", TOGETHER)
def test_colours_drawn_together_are_told_apart_by_every_eye(kind: str, sight: str) -> None:
    seen = [lab(np.clip(SIGHTS[sight] @ linear(colour), 0, 1)) for colour in TOGETHER[kind]]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > 15  # 2.3 is just noticed


@pytest.mark.parametrize("colour", [*PROJECTION_COLOURS.values(), *GROUP_COLOURS, *MODEL_COLOURS, OTHER_COLOUR])
def test_a_line_can_be_seen_on_white(colour: str) -> None:
    luminance = float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour))
    assert 1.05 / (luminance + 0.05) > 1.7


@pytest.mark.parametrize(("one", "other"), [*combinations(KINDS, 2)])
def test_no_colour_can_be_taken_for_one_of_another_meaning(one: str, other: str) -> None:
    pairs = product(KINDS[one], KINDS[other])
    assert min(float(np.linalg.norm(lab(linear(a)) - lab(linear(b)))) for a, b in pairs) > 20


def test_every_projection_has_its_own_marker_and_colour() -> None:
    assert PROJECTION_COLOURS.keys() == PROJECTION_MARKERS.keys() == PROJECTION_DASHES.keys()
    assert len({*PROJECTION_MARKERS.values()}) == len({*PROJECTION_COLOURS.values()}) == len(PROJECTION_COLOURS)
    assert projection_look("qkv").colour == OTHER_COLOUR


def test_the_maps_of_latent_attention_differ_from_each_other() -> None:
    looks = [projection_look(name) for name in ("q_a", "q_b", "kv_a", "kv_b", "o", "gate", "up", "down", "mean")]
    assert len({look.colour for look in looks}) == len({look.marker for look in looks}) == len(looks)


def test_many_groups_differ_in_something() -> None:
    looks = {(look.colour, look.dash) for look in map(group_look, range(24))}
    assert len(looks) == 24
    assert len({*GROUP_MARKERS}) == len(GROUP_COLOURS)


def test_models_have_colours_of_their_own_and_dashes_for_groups() -> None:
    assert len({*MODEL_COLOURS}) == len({*MODEL_MARKERS}) == len(MODEL_COLOURS) >= 4
    assert len({(look.colour, look.dash) for look in (model_look(m, g) for m in range(6) for g in range(6))}) == 36
