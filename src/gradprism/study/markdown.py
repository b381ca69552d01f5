"""Tables in Markdown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gradprism.numbers import number


def head(heads: Sequence[str], words: int) -> Iterator[str]:
    """The two lines above the rows; the first so many columns are words, the others numbers."""
    yield line(heads)
    yield line(["---"] * words + ["---:"] * (len(heads) - words))


def line(cells: Iterable[object]) -> str:
    """One row."""
    return f"| {' | '.join(map(str, cells))} |"


def with_interval(row: Mapping[str, Any], name: str) -> str:
    """A value and its interval: NAME, NAME_low, NAME_high; a dash where there is none."""
    if row[name] is None:
        return "–"
    return f"{number(row[name])} [{number(row[f'{name}_low'])}, {number(row[f'{name}_high'])}]"
