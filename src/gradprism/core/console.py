"""The console of every verb, which escapes control characters of data, names and errors before it prints them."""

import json
import re
import sys
from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Span, Text

_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but the tab and the end of a line
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb"  # marks that turn the direction of text or end a line
    "\ud800-\udfff\U000e0000-\U000e007f]"  # halves of surrogate pairs; invisible tags
)


def escaped(text: str) -> str:
    r"""Return the text with each character that controls a terminal written as an escape, such as `\x1b`."""
    return _HARMFUL.sub(lambda match: _escape(ord(match[0])), text)


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class HarmlessConsole(Console):
    """A console that escapes control characters in what it prints, and interprets no markup or emoji names."""

    def __init__(self, **options: Any):
        """Make the console; `options` are those of `rich.console.Console`."""
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts and renderables, control characters escaped."""
        super().print(*map(_harmless, objects), **options)


def _harmless(renderable: Any) -> Any:
    """Return a renderable with every text in it escaped. Tables, panels and paddings are changed in place."""
    if isinstance(renderable, str):
        return escaped(renderable)
    if isinstance(renderable, Text):
        return _escaped(renderable)
    if isinstance(renderable, Group):
        return Group(*map(_harmless, renderable.renderables), fit=renderable.fit)
    if isinstance(renderable, Panel | Padding):
        renderable.renderable = _harmless(renderable.renderable)
        if isinstance(renderable, Panel):
            renderable.title = _harmless(renderable.title)
    if isinstance(renderable, Table):
        renderable.title = _harmless(renderable.title)
        for column in renderable.columns:
            column.header = _harmless(column.header)
            column._cells = [*map(_harmless, column._cells)]
    return renderable


def _escaped(text: Text) -> Text:
    """Escape the control characters of styled text, each in the style of its character."""
    positions = [match.start() for match in _HARMFUL.finditer(text.plain)]
    pieces = text.divide(sorted({cut for position in positions for cut in (position, position + 1)}))
    for piece in pieces:
        if _HARMFUL.fullmatch(piece.plain):
            styles = [span.style for span in piece.spans]
            piece.plain = escaped(piece.plain)
            piece.spans = [Span(0, len(piece), style) for style in styles]
    return text.blank_copy().join(pieces) if positions else text


def print_json(values: Any) -> None:
    """Print values on stdout as indented JSON."""
    sys.stdout.write(json.dumps(values, indent=2, ensure_ascii=False) + "\n")
