"""Text in figures: foreign names made fit to be drawn and short enough for their room."""

import unicodedata
from collections.abc import Sequence
from functools import cache

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

from gradprism.figures.styles import Style

ELLIPSIS = "…"
_MISSING = "□"


def drawable(text: str, style: Style) -> str:
    """The text on one line, with a box for every character that no font of the style has."""
    characters = (" " if c.isspace() else c for c in unicodedata.normalize("NFC", text))
    kept = (c for c in characters if unicodedata.category(c) not in ("Cc", "Cf"))
    return " ".join("".join(c if _known(ord(c), style.families) else _MISSING for c in kept).split())


def literal(text: str) -> str:
    """Keep dollar signs from being read as mathematics."""
    return text.replace("$", r"\$")


def bare(text: str) -> str:
    """The letters of a number in mathematics, about as wide."""
    return text.replace("{\\cdot}", "·").translate({ord(c): None for c in "${}^"})


def width(text: str, style: Style, size: float) -> float:
    """Of a text without mathematics on one line, in inches."""
    font = FontProperties(family=list(style.families), size=size)
    points, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(points) / 72


def shortened(text: str, room: float, style: Style, size: float) -> str:
    """The text as it can be drawn in `room` inches, with an ellipsis in its middle where it is too long."""
    text = drawable(text, style)
    if width(text, style, size) <= room:
        return text
    fits, too_many = 1, len(text)
    while too_many - fits > 1:
        kept = (fits + too_many) // 2
        fits, too_many = (kept, too_many) if width(_ends(text, kept), style, size) <= room else (fits, kept)
    return _ends(text, fits)


def distinct(texts: Sequence[str], room: float, style: Style, size: float) -> list[str]:
    """Shortened texts; different ones that look the same afterwards are numbered, so that none stands for two."""
    whole = list(dict.fromkeys(texts))
    short = [shortened(text, room, style, size) for text in whole]
    marks = [f" ({place})" if short.count(text) > 1 else "" for place, text in enumerate(short, 1)]
    rooms = [room - width(mark, style, size) for mark in marks]
    shown = {
        text: shortened(text, space, style, size) + mark for text, space, mark in zip(whole, rooms, marks, strict=True)
    }
    return [shown[text] for text in texts]


def _ends(text: str, kept: int) -> str:
    head = (kept + 1) // 2
    return text[:head].rstrip() + ELLIPSIS + text[len(text) - (kept - head) :].lstrip()


@cache
def _known(code: int, families: tuple[str, ...]) -> bool:
    return any(get_font(findfont(family)).get_char_index(code) for family in families)
