from collections.abc import Iterator

import numpy as np
import pytest
from length_controlled import controlled_comparison
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from test_figure_colours import linear

from gradprism.figures import figure
from gradprism.figures.colours import GROUP_COLOURS, PROJECTION_COLOURS
from gradprism.figures.dark import inverted

LEAST = 3.0  # the contrast that WCAG asks of graphics


def luminance(colour: object) -> float:
    red, green, blue = to_rgb(colour)  # type: ignore[arg-type]
    code = "#" + "".join(f"{round(255 * channel):02x}" for channel in (red, green, blue))
    return float(np.array([0.2126, 0.7152, 0.0722]) @ linear(code))


def contrast(colour: object, ground: object) -> float:
    one, other = sorted((luminance(colour), luminance(ground)))
    return (other + 0.05) / (one + 0.05)


@pytest.mark.parametrize("colour", ["black", *PROJECTION_COLOURS.values(), *GROUP_COLOURS])
def test_lines_are_seen_on_dark_ground(colour: str) -> None:
    assert contrast(inverted(colour), inverted("white")) > LEAST


def test_opacity_stays() -> None:
    assert inverted((0.0, 0.0, 0.0, 0.25))[3] == 0.25


def colours(drawn: Figure) -> Iterator[tuple[str, object]]:
    drawn.draw_without_rendering()
    for item in drawn.findobj():
        if isinstance(item, Text) and item.get_text():
            yield item.get_text(), item.get_color()
        elif isinstance(item, Line2D) and item.get_label() and str(item.get_label()).endswith("interval"):
            yield str(item.get_label()), item.get_color()


@pytest.mark.slow  # figures are drawn
@pytest.mark.parametrize("name", ["answer", "effect-forest", "effect-heatmap", "nuclear-norm", "length"])
def test_every_letter_is_seen_on_dark_ground(name: str) -> None:
    drawn, _ = figure(controlled_comparison(), name, "web-dark")
    ground = drawn.get_facecolor()
    assert luminance(ground) < 0.01
    assert not [what for what, colour in colours(drawn) if contrast(colour, ground) < LEAST]
    for mesh in (item for axes in drawn.axes for item in axes.collections if isinstance(item, QuadMesh)):
        assert contrast(mesh.get_cmap()(0.5), ground) < 1.5  # no difference is as dark as the ground
