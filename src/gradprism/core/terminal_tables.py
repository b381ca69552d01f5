"""Lay out tables for a terminal."""

from collections.abc import Iterable, Iterator
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text


def plain_table(title: str, headings: list[str], left: int = 1) -> Table:
    """Make an empty table with light rules: the first `left` columns aligned left, the others right."""
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for index, heading in enumerate(headings):
        is_left = index < left
        justify: Literal["left", "right"] = "left" if is_left else "right"
        table.add_column(heading, justify=justify, no_wrap=not is_left, overflow="fold" if is_left else "ellipsis")
    return table


def spaced(parts: Iterable[RenderableType]) -> Iterator[RenderableType]:
    """Yield the parts with an empty line between them."""
    for index, part in enumerate(parts):
        if index:
            yield Text()
        yield part


def summary_table(rows: Iterable[tuple[str, str | Text]]) -> Table:
    """Make a table of summary lines: names in bold on the left, texts on the right."""
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(Text(name, "bold"), value if isinstance(value, Text) else Text(value))
    return table
