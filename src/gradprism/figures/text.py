"""Text in figures: names of any length and script, made drawable and shortened to a width."""

import unicodedata
from collections.abc import Sequence
from functools import cache

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

from gradprism.figures.styles import Style

ELLIPSIS = "…"
_MISSING = "□"


def drawable(text: str, style: Style) -> str:
    """Return the text on one line, with a box for every character that no font of the style has."""
    characters = (" " if c.isspace() else c for c in unicodedata.normalize("NFC", text))
    kept = (c for c in characters if unicodedata.category(c) not in ("Cc", "Cf"))
    return " ".join("".join(c if _has_glyph(ord(c), style.families) else _MISSING for c in kept).split())


def literal(text: str) -> str:
    """Escape dollar signs, which matplotlib would read as mathematics."""
    return text.replace("$", r"\$")


def width(text: str, style: Style, size: float) -> float:
    """Measure one line of text without mathematics, in inches; `size` in points."""
    font = FontProperties(family=list(style.families), size=size)
    points, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(points) / 72


def shortened(text: str, most: float, style: Style, size: float) -> str:
    """Return the drawable text, with an ellipsis in its middle where it is wider than `most` inches."""
    text = drawable(text, style)
    if width(text, style, size) <= most:
        return text
    fits, too_many = 1, len(text)
    while too_many - fits > 1:
        kept = (fits + too_many) // 2
        fits, too_many = (kept, too_many) if width(_both_ends(text, kept), style, size) <= most else (fits, kept)
    return _both_ends(text, fits)


def distinct(texts: Sequence[str], most: float, style: Style, size: float) -> list[str]:
    """Shorten texts to `most` inches, and number different ones that would look the same."""
    whole = list(dict.fromkeys(texts))
    short = [shortened(text, most, style, size) for text in whole]
    marks = [f" ({number})" if short.count(text) > 1 else "" for number, text in enumerate(short, 1)]
    shown = {
        text: shortened(text, most - width(mark, style, size), style, size) + mark
        for text, mark in zip(whole, marks, strict=True)
    }
    return [shown[text] for text in texts]


def _both_ends(text: str, kept: int) -> str:
    head = (kept + 1) // 2
    return text[:head].rstrip() + ELLIPSIS + text[len(text) - (kept - head) :].lstrip()


@cache
def _has_glyph(code: int, families: tuple[str, ...]) -> bool:
    return any(get_font(findfont(family)).get_char_index(code) for family in families)
