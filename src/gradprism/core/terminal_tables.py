"""Numbers and tables as a terminal shows them."""

from collections.abc import Iterable, Iterator

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text


def plain_table(title: str, headings: list[str], left: int = 1) -> Table:
    """A table with light rules: the first `left` columns to the left, numbers to the right."""
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < left else "right", no_wrap=index >= left)
    return table


def spaced(parts: Iterable[RenderableType]) -> Iterator[RenderableType]:
    """Put an empty line in front of each part but the first."""
    for index, part in enumerate(parts):
        if index:
            yield Text()
        yield part


def summary_table(rows: Iterable[tuple[str, str | Text]]) -> Table:
    """Names in bold on the left, what they are on the right."""
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(Text(name, "bold"), value if isinstance(value, Text) else Text(value))
    return table
