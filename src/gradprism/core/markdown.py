"""Tables in Markdown, and text of data, models and files in it: as text, whatever it holds."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from gradprism.core.console import escaped
from gradprism.core.numbers import number

_TAG = re.compile(r"<(?!br>)(?=[A-Za-z/!?])")
"""Where HTML begins, and a link in angle brackets; our own tables hold line breaks. A mere `<` as in <0.001 is text."""


def without_html(text: str) -> str:
    """Return Markdown in which no HTML begins; control characters are written as escapes."""
    return _TAG.sub("&lt;", escaped(text))


def inline(text: object) -> str:
    """Return text for one line of Markdown: no line break, HTML, link, picture or control character acts in it."""
    return without_html(" ".join(str(text).splitlines())).replace("](", "]\\(")


def code(text: object) -> str:
    """Return text as a code span, which holds any text; control characters are written as escapes."""
    shown = escaped(" ".join(str(text).splitlines()))
    fence = "`" * (_longest_run(shown) + 1)
    return f"{fence} {shown} {fence}" if "`" in shown else f"{fence}{shown}{fence}"


def code_block(text: str, language: str) -> str:
    """Return lines as a block of code that they cannot end."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{escaped(text)}\n{fence}"


def _longest_run(text: str) -> int:
    """Return the most backticks that follow each other."""
    return max((len([*run]) for character, run in groupby(text) if character == "`"), default=0)


def header_lines(heads: Sequence[str], words: int) -> Iterator[str]:
    """Yield the two header lines of a table: the first `words` columns aligned left, the others right."""
    yield table_row(heads)
    yield table_row(["---"] * words + ["---:"] * (len(heads) - words))


def table_row(cells: Iterable[object]) -> str:
    """Return one row of a table; cells are `inline` text, with `|` escaped."""
    words = (inline(cell).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(words)} |"


def with_interval(row: Mapping[str, Any], name: str, ends: str = "") -> str:
    """Return a value with its interval as text, such as `1.23 [1.10, 1.40]`; a dash where the value is missing.

    The value stands under `name` in the row, its interval under `{ends}_low` and `{ends}_high` (`name` if not given).
    """
    if row[name] is None:
        return "–"
    ends = ends or name
    return f"{number(row[name])} [{number(row[f'{ends}_low'])}, {number(row[f'{ends}_high'])}]"
