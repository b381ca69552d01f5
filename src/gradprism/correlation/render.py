"""Terminal output of correlations: the pairs, strongest first, and the matrix in hundredths."""

import re
from collections.abc import Iterator

import polars as pl
from rich.console import Group, RenderableType
from rich.text import Text

from gradprism.core.numbers import number, probability
from gradprism.core.terminal_tables import plain_table, spaced, summary_table
from gradprism.correlation.correlations import Correlations
from gradprism.prism.measures import MEAN, known_measures

_MOST_PAIRS = 20
_STRONG, _WEAK = 0.5, 0.2
_BETWEEN_COLUMNS = 2


def render_correlations(found: Correlations, width: int, *, matrix: bool = False) -> RenderableType:
    """Render the strongest pairs, and with `matrix` all: raw below its diagonal and length-controlled above."""
    return Group(*spaced(_sections(found, width, matrix)))


def _sections(found: Correlations, width: int, matrix: bool) -> Iterator[RenderableType]:
    yield summary_table([line for line in found.summary_lines if line[0] != "metrics" or not matrix])
    if matrix:
        yield from _matrix_tables(found, width)
        yield Text(
            "Hundredths of Spearman's rho: raw below the diagonal, length-controlled (given prompt and response "
            "tokens) above it. Neighbours are alike (average linkage on 1 - |rho|).",
            style="dim",
        )
    yield from _strongest_pairs(found)


def _matrix_tables(found: Correlations, width: int) -> Iterator[RenderableType]:
    """Tabulate the matrix in as many blocks of columns as fit the width."""
    names, raw, partial = found.names, found.raw, found.partial
    shown = [_short(name) for name in names]
    room = width - max(map(len, shown), default=0) - _BETWEEN_COLUMNS
    headings = [_heading(name) for name in shown]
    for columns in _blocks(headings, room):
        table = plain_table("" if columns[0] else "Rank correlation", ["", *(headings[j] for j in columns)])
        for i in range(len(names)):
            cells = [_cell((raw if j < i else partial)[names[j]][i]) if i != j else Text("·") for j in columns]
            table.add_row(Text(shown[i]), *cells)
        yield table


def _short(name: str) -> str:
    """Leave out that a measure is the mean over projections, which it is by itself."""
    return name.removesuffix(f":{MEAN}")


def _heading(name: str) -> str:
    """Break a name into lines at its signs, `effective_rank:q` into three."""
    return re.sub(r"(?<=[_:.])(?=.)", "\n", name)


def _blocks(headings: list[str], room: int) -> Iterator[list[int]]:
    """Yield the numbers of columns that fit beside each other."""
    block, used = list[int](), 0
    for index, heading in enumerate(headings):
        needed = max(map(len, [*heading.split("\n"), "-100"])) + _BETWEEN_COLUMNS
        if block and used + needed > room:
            yield block
            block, used = [], 0
        block.append(index)
        used += needed
    if block:
        yield block


def _cell(value: float | None) -> Text:
    if value is None:
        return Text("–", style="dim")
    style = "" if abs(value) >= _WEAK else "dim"
    if abs(value) >= _STRONG:
        style = "bold cyan" if value > 0 else "bold magenta"
    return Text(str(round(100 * value)), style=style)


def _strongest_pairs(found: Correlations) -> Iterator[RenderableType]:
    """Tabulate the pairs that are not both spectral measures, those first that can be length-controlled."""
    pairs = _unlike(found.table)
    headings = ["metric", "and", "raw", "given\nlength", "95% interval", "p adj.\n(BH)"]
    table = plain_table("Rank correlation, strongest first", headings, left=2)
    for row in pairs.head(_MOST_PAIRS).iter_rows(named=True):
        ends = "partial_low", "partial_high"
        interval = "–" if row[ends[0]] is None else f"{number(row[ends[0]], 2)} to {number(row[ends[1]], 2)}"
        names = Text(_short(row["x"])), Text(_short(row["y"]))
        table.add_row(*names, number(row["spearman"], 2), number(row["partial"], 2), interval,
                      probability(row["partial_q"]))  # fmt: skip
    yield table
    rest = max(0, pairs.height - _MOST_PAIRS)
    more = [f"{rest:,} weaker pairs"] if rest else []
    more += [f"{same:,} pairs of two measures of one spectrum"] if (same := found.table.height - pairs.height) else []
    notes = ["Given length: Spearman's rho after prompt and response tokens are taken out of both, with its interval."]
    notes += [f"Not shown: {' and '.join(more)}; --matrix, --json or --out DIR has them."] if more else []
    yield Text("\n".join(notes), style="dim")


def _unlike(table: pl.DataFrame) -> pl.DataFrame:
    """Drop pairs of spectral measures, which are functions of the same singular values; the strongest come first."""
    spectral = [pl.col(name).str.split(":").list.first().str.split("@").list.first().is_in([*known_measures()])
                for name in ("x", "y")]  # fmt: skip
    partial, strength = pl.col("partial"), pl.coalesce("partial", "spearman").abs()
    kept = table.filter(~(spectral[0] & spectral[1]) & strength.is_not_null())
    return kept.sort(partial.is_not_null(), strength, descending=True)
