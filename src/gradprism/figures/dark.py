"""Figures on dark ground: the lightness of every colour is inverted once a figure is drawn, its hue kept."""

import colorsys

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.typing import ColorType

_OF_BLACK, _OF_WHITE = 0.93, 0.06  # lightness, once inverted
_SEEN = 0.13  # luminance of lines, at least: three times the contrast of none

Rgba = tuple[float, float, float, float]


def inverted(colour: ColorType) -> Rgba:
    """Invert the lightness of a colour and keep its hue: black becomes nearly white, and white nearly black.

    Colours that are light but no ground, such as violet and pink, stay as light as is needed to see lines in them.
    """
    red, green, blue, alpha = to_rgba(colour)
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    changed = colorsys.hls_to_rgb(hue, _OF_BLACK + (_OF_WHITE - _OF_BLACK) * lightness, saturation)
    least = _SEEN * min(1.0, 2 * (1 - luminance((red, green, blue))))
    missing = max(0.0, least - luminance(changed)) / (1 - luminance(changed))
    red, green, blue = (_encoded(c + (1 - c) * missing) for c in map(_linear, changed))
    return red, green, blue, alpha


def luminance(colour: ColorType) -> float:
    """Return the relative luminance of a colour, from 0 for black to 1 for white (WCAG 2)."""
    red, green, blue, _ = to_rgba(colour)
    return 0.2126 * _linear(red) + 0.7152 * _linear(green) + 0.0722 * _linear(blue)


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)


def _encoded(channel: float) -> float:
    return 12.92 * channel if channel <= 0.0031308 else float(1.055 * channel ** (1 / 2.4) - 0.055)


def set_dark(figure: Figure) -> None:
    """Invert the lightness of everything in a figure, colour maps too."""
    figure.draw_without_rendering()  # makes the ticks
    for artist in dict.fromkeys(figure.findobj()):
        _invert_artist(artist)
    ink, grid = inverted("black"), inverted("#E4E4E4")
    for axes in figure.axes:
        axes.tick_params(which="both", color=ink, labelcolor=ink, grid_color=grid)


def _invert_artist(artist: Artist) -> None:
    if isinstance(artist, Line2D):
        artist.set(
            color=inverted(artist.get_color()),
            **{name: inverted(getattr(artist, f"get_{name}")()) for name in ("markerfacecolor", "markeredgecolor")},
        )
    elif isinstance(artist, Text):
        artist.set_color(inverted(artist.get_color()))
    elif isinstance(artist, Patch):
        artist.set(facecolor=inverted(artist.get_facecolor()), edgecolor=inverted(artist.get_edgecolor()))
    elif isinstance(artist, Collection):
        if artist.get_array() is not None:
            artist.set_cmap(ListedColormap(_all_inverted(artist.get_cmap()(np.linspace(0, 1, 256)))))
        else:
            artist.set_facecolor(_all_inverted(artist.get_facecolor()))
        artist.set_edgecolor(_all_inverted(artist.get_edgecolor()))


def _all_inverted(colours: npt.ArrayLike) -> list[Rgba]:
    return [inverted(tuple(colour)) for colour in np.asarray(colours, float).tolist()]
