"""Tables in Markdown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gradprism.core.numbers import number


def header_lines(heads: Sequence[str], words: int) -> Iterator[str]:
    """Yield the two header lines of a table: the first `words` columns aligned left, the others right."""
    yield table_row(heads)
    yield table_row(["---"] * words + ["---:"] * (len(heads) - words))


def table_row(cells: Iterable[object]) -> str:
    """Return one row of a table, with `|` escaped and line breaks replaced by spaces."""
    words = (str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(words)} |"


def with_interval(row: Mapping[str, Any], name: str, ends: str = "") -> str:
    """Return a value with its interval as text, such as `1.23 [1.10, 1.40]`; a dash where the value is missing.

    The value stands under `name` in the row, its interval under `{ends}_low` and `{ends}_high` (`name` if not given).
    """
    if row[name] is None:
        return "–"
    ends = ends or name
    return f"{number(row[name])} [{number(row[f'{ends}_low'])}, {number(row[f'{ends}_high'])}]"
