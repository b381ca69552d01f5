"""Terminal output of correlations: the matrix in hundredths, and the strongest length-controlled pairs."""

from collections.abc import Iterator

import polars as pl
from rich.console import Group, RenderableType
from rich.text import Text

from gradprism.core.numbers import number, probability
from gradprism.core.terminal_tables import plain_table, spaced, summary_table
from gradprism.correlation.correlations import Correlations

_MOST_PAIRS = 12
_STRONG, _WEAK = 0.5, 0.2


def render_correlations(found: Correlations, width: int) -> RenderableType:
    """Render the matrix, raw below its diagonal and length-controlled above, and the strongest pairs."""
    return Group(*spaced(_sections(found, width)))


def _sections(found: Correlations, width: int) -> Iterator[RenderableType]:
    yield summary_table([line for line in found.summary_lines if line[0] != "metrics"])
    yield from _matrix_tables(found, width)
    yield Text(
        "Hundredths of Spearman's rho: raw below the diagonal, length-controlled (given prompt and response tokens) "
        "above it. "
        "Neighbours are alike (average linkage on 1 - |rho|).",
        style="dim",
    )
    yield _strongest_pairs(found)


def _matrix_tables(found: Correlations, width: int) -> Iterator[RenderableType]:
    """Tabulate the matrix in as many blocks of columns as fit the width."""
    names, raw, partial = found.names, found.raw, found.partial
    across = max(4, (width - max(map(len, names), default=0) - 8) // 6)
    for start in range(0, len(names), across):
        columns = range(start, min(start + across, len(names)))
        table = plain_table("Rank correlation" if start == 0 else "", ["", "", *(str(i + 1) for i in columns)], left=2)
        for i, name in enumerate(names):
            cells = [_cell((raw if j < i else partial)[names[j]][i]) if i != j else Text("·") for j in columns]
            table.add_row(str(i + 1), name, *cells)
        yield table


def _cell(value: float | None) -> Text:
    if value is None:
        return Text("–", style="dim")
    style = "" if abs(value) >= _WEAK else "dim"
    if abs(value) >= _STRONG:
        style = "bold cyan" if value > 0 else "bold magenta"
    return Text(str(round(100 * value)), style=style)


def _strongest_pairs(found: Correlations) -> RenderableType:
    """Tabulate the pairs that are not both spectral measures, the strongest length-controlled first."""
    headings = ["", "", "raw", "length-\ncontrolled", "95% interval", "p adjusted\n(BH)"]
    table = plain_table("Strongest with length controlled", headings, left=2)
    for row in _unlike(found.table).head(_MOST_PAIRS).iter_rows(named=True):
        interval = f"[{number(row['partial_low'], 2)}, {number(row['partial_high'], 2)}]"
        table.add_row(row["x"], row["y"], number(row["spearman"], 2), number(row["partial"], 2), interval,
                      probability(row["partial_q"]))  # fmt: skip
    return table


def _unlike(table: pl.DataFrame) -> pl.DataFrame:
    """Drop pairs of spectral measures, which are functions of the same singular values."""
    spectral = pl.col("x").str.contains(":", literal=True) & pl.col("y").str.contains(":", literal=True)
    columns = pl.col("x").str.starts_with("column:") | pl.col("y").str.starts_with("column:")
    return table.filter((~spectral | columns) & pl.col("partial").is_not_null()).sort(
        pl.col("partial").abs(), descending=True
    )
