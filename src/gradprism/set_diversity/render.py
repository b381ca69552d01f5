"""Terminal output of a set's diversity: the score, sources at equal size, unions, near-duplicates, rows, notes."""

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from gradprism.core.numbers import count, number, share
from gradprism.core.terminal_tables import plain_table, spaced, summary_table
from gradprism.set_diversity.diversity import Diversity
from gradprism.set_diversity.tables import ALL_ROWS

_MOST_PAIRS, _MOST_ROWS, _MOST_UNIONS = 8, 4, 8


def render_diversity(found: Diversity) -> RenderableType:
    """Render what fits on a screen or two; the rest is in the tables."""
    return Group(*spaced(_sections(found)))


def _sections(found: Diversity) -> Iterator[RenderableType]:
    yield Text("\n".join(filter(None, (found.headline, found.growth))))
    yield _source_table(found)
    if found.about["subset_rows"]:
        yield _equal_size_table(found)
    if found.unions.height:
        yield _union_table(found)
    if found.pairs.height:
        yield _pair_table(found)
    yield _row_table(found)
    yield summary_table([line for line in found.summary_lines if line[0] not in ("diversity", "")])


def _source_table(found: Diversity) -> RenderableType:
    """Tabulate all rows, and each source where there are several."""
    headings = ["", "rows", "median\nresponse", "Vendi\nscore", "95% interval", "half of\nthe rows"]
    table = plain_table("All rows of each source" if _has_sources(found) else "Vendi score", headings)
    for row in found.sources.iter_rows(named=True):
        interval = _interval(row["low"], row["high"])
        cells = f"{row['rows']:,}", count(row["response_tokens"]), number(row["vendi"]), interval, number(row["half"])
        table.add_row(_source_name(row, found), *cells, end_section=row["source"] == ALL_ROWS)
    return table


def _equal_size_table(found: Diversity) -> RenderableType:
    """Tabulate random subsets of equal size: of all rows, and of each source beside these."""
    rows, tokens = found.about["subset_rows"], found.about["subset_tokens"]
    headings = ["", f"{rows:,} rows", "95% range", *(["than all rows"] if _has_sources(found) else [])]
    headings += [f"{tokens:,.0f} tokens"] if tokens else []
    table = plain_table("Sources at equal size", headings)
    compared = found.sources.drop_nulls("equal_rows")
    whole = found.sources.row(0, named=True)
    for row in compared.iter_rows(named=True):
        cells = [number(row["equal_rows"]), _interval(row["equal_rows_low"], row["equal_rows_high"])]
        cells += [_against(row, whole)] if _has_sources(found) else []
        cells += [number(row["equal_tokens"])] if tokens else []
        table.add_row(_source_name(row, found), *cells, end_section=row["source"] == ALL_ROWS)
    legend = (
        f"Vendi score of {rows:,} random rows{', and of rows of as many response tokens' if tokens else ''}: mean, and "
        "the middle 95% of random subsets. It grows with rows, so only these can be compared."
    )
    return Group(table, Text(legend, style="dim"))


def _against(row: dict[str, Any], whole: dict[str, Any]) -> str:
    """Say on which side of random subsets of all rows a source lies."""
    if row["source"] == ALL_ROWS or whole["equal_rows_low"] is None:
        return ""
    if row["equal_rows"] < whole["equal_rows_low"]:
        return "less diverse"
    return "more diverse" if row["equal_rows"] > whole["equal_rows_high"] else "as diverse"


def _has_sources(found: Diversity) -> bool:
    return found.sources.height > 1


def _source_name(row: dict[str, Any], found: Diversity) -> Text:
    return Text(row["source"], "bold" if row["source"] == ALL_ROWS and _has_sources(found) else "")


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None else f"{number(low)} to {number(high)}"


def _union_table(found: Diversity) -> RenderableType:
    rows = found.about["subset_rows"]
    headings = [f"{rows:,} rows of", "half of them from", "alone", "mixed", "95% range", "ratio"]
    table = plain_table("What another source brings at equal size", headings, left=2)
    for row in found.unions.head(_MOST_UNIONS).iter_rows(named=True):
        table.add_row(
            Text(row["first"]), Text(row["second"]), number(row["alone"]), number(row["union"]),
            _interval(row["union_low"], row["union_high"]), f"{row['ratio']:.2f}",
        )  # fmt: skip
    more = found.unions.height - _MOST_UNIONS
    return Group(table, *([Text(f"{more} more are in the table unions (--out DIR).", style="dim")] if more > 0 else []))


def _pair_table(found: Diversity) -> RenderableType:
    """Tabulate the closest pairs of near-duplicates."""
    table = plain_table("Near-duplicates", ["row", "and row", "cosine"], left=2)
    for row in found.pairs.head(_MOST_PAIRS).iter_rows(named=True):
        names = _row_name(row, found), _row_name(row, found, "other_")
        table.add_row(*map(Text, names), f"{row['cosine']:.3f}")
    return table


def _row_table(found: Diversity) -> RenderableType:
    """Tabulate the rows that add most and least."""
    table = plain_table("What a row adds to the score", ["row", "response", "adds", "nearest row", "cosine"])
    ranked = found.rows.drop_nulls("adds")
    few = ranked.height <= 2 * _MOST_ROWS
    parts = [ranked] if few else [ranked.head(_MOST_ROWS), ranked.tail(_MOST_ROWS)]
    for part in parts:
        for index, row in enumerate(part.iter_rows(named=True)):
            table.add_row(
                Text(_row_name(row, found)), count(row["response_tokens"]), number(row["adds"]),
                _nearest(row), share(row["nearest_cosine"]),
                end_section=index == part.height - 1,
            )  # fmt: skip
    return table


def _nearest(row: dict[str, Any]) -> str:
    return "–" if row["nearest_row"] is None else str(row["nearest_row"])


def _row_name(row: dict[str, Any], found: Diversity, prefix: str = "") -> str:
    """Name a row by its number, and its source where there are several."""
    name = str(row[f"{prefix}row"])
    return f"{name} {row[f'{prefix}source']}" if _has_sources(found) else name
