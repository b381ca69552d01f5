"""Tables in Markdown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gradprism.core.numbers import number


def head(heads: Sequence[str], words: int) -> Iterator[str]:
    """The two lines above the rows; the first so many columns are words, the others numbers."""
    yield line(heads)
    yield line(["---"] * words + ["---:"] * (len(heads) - words))


def line(cells: Iterable[object]) -> str:
    """One row; what would end a cell or the row does not."""
    words = (str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(words)} |"


def with_interval(row: Mapping[str, Any], name: str, ends: str = "") -> str:
    """A value and its interval: NAME, and NAME_low and NAME_high or those of `ends`; a dash where there is none."""
    if row[name] is None:
        return "–"
    ends = ends or name
    return f"{number(row[name])} [{number(row[f'{ends}_low'])}, {number(row[f'{ends}_high'])}]"
