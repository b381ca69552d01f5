"""A comparison in a terminal: what is compared, the paper's table, raw beside controlled, and the verdict."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.evidence import controls, raw_difference
from gradprism.comparison.findings import said_of
from gradprism.core.numbers import number, probability, share
from gradprism.core.terminal_tables import facts, plain_table, spaced
from gradprism.metrics.titles import title

_LEGEND = (
    "Gap: the first less the second, mean over layers (and projections), with its BCa bootstrap interval over "
    "examples. AUC: how often a random row of the first exceeds one of the second. q: permutation p after "
    "Benjamini-Hochberg."
)
_IN_FULL = ("nuclear_norm", "effective_rank")
_STYLES = {"survives": "green", "partly": "green", **dict.fromkeys(("length", "reversed", "mixed", "hidden"), "yellow")}
_DIFFERENCE = {"positive": "higher", "negative": "lower", "missing": "–"}
_FOUND = {
    "find it again": "the same", "find the opposite": "the opposite", "leave little of it": "little left",
    "find none": "none shown", "find a positive difference": "higher", "find a negative difference": "lower",
    "cannot say": "cannot say", "cannot say (outside the common lengths)": "extrapolates", "there are none": "–",
    "could not be computed": "–",
}  # fmt: skip
Row = Mapping[str, Any]


def comparison_of(comparison: Comparison) -> RenderableType:
    """Everything that fits on a screen or two; the rest is in the tables."""
    return Group(*spaced(_parts(comparison)))


def _parts(comparison: Comparison) -> Iterator[RenderableType]:
    yield facts(comparison.facts)
    means = comparison.effects.filter(pl.col("layer").is_null())
    if len(comparison.contrasts) == 1:
        yield _means(means, *comparison.contrasts[0])
        yield _controlled(means)
    elif comparison.contrasts:
        yield _contrasts(comparison, means)
    for first, second in comparison.contrasts:
        yield _verdict(comparison, first, second)
    if comparison.contrasts:
        yield Text(_LEGEND, style="dim")


def _contrasts(comparison: Comparison, rows: pl.DataFrame) -> RenderableType:
    """A line for each contrast and measure: the mean over projections."""
    headings = ["", "gap", "95% interval", "AUC", "q", "verdict"]
    table = plain_table("Mean over layers and projections; the verdict is about equal length", headings)
    kinds = {(each.first, each.second, each.measure): each.kind for each in comparison.findings}
    means = {(row["first"], row["second"], row["measure"]): row
             for row in rows.filter(pl.col("projection") == "mean").iter_rows(named=True)}  # fmt: skip
    for measure in _IN_FULL:
        table.add_row(title(measure), style="bold")
        for pair in comparison.contrasts:
            if row := means.get((*pair, measure)):
                kind = kinds[*pair, measure]
                table.add_row(
                    f"  {pair[0]} − {pair[1]}", number(row["difference"]), _interval(row, "difference"),
                    share(row["auc"]), probability(row["q"]), Text(kind, _STYLES.get(kind, "dim")),
                    end_section=pair == comparison.contrasts[-1],
                )  # fmt: skip
    return table


def _means(rows: pl.DataFrame, first: str, second: str) -> RenderableType:
    headings = ["", first, second, "gap", "95% interval", "AUC", "q"]
    table = plain_table(f"{first} against {second}, mean over layers", headings)
    for measure in _IN_FULL:
        found = list(rows.filter(pl.col("measure") == measure).iter_rows(named=True))
        table.add_row(title(measure), style="bold")
        for row in found:
            cells = [number(row[name]) for name in ("mean_first", "mean_second", "difference")]
            cells += [_interval(row, "difference"), share(row["auc"]), probability(row["q"])]
            table.add_row(f"  {row['projection']}", *cells, end_section=row is found[-1])
    return table


def _controlled(rows: pl.DataFrame) -> RenderableType:
    """Of each measure's mean over projections: the raw difference, and what each length control makes of it."""
    table = plain_table("The mean over projections, at equal length", ["", "estimate", "95% interval", "q", "finding"])
    means = {row["measure"]: row for row in rows.filter(pl.col("projection") == "mean").iter_rows(named=True)}
    for measure in _IN_FULL:
        if row := means.get(measure):
            raw = raw_difference(row)
            lines = [(raw, _DIFFERENCE.get(raw.found, "none shown"))]
            lines += [(each, _FOUND[said_of(each, raw)]) for each in controls(row)]
            table.add_row(title(measure), style="bold")
            for index, (control, said) in enumerate(lines):
                table.add_row(f"  {control.label}", control.estimate, control.interval, probability(control.q), said,
                              end_section=index == len(lines) - 1)  # fmt: skip
    return table


def _interval(row: Row, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "–" if low is None else f"[{number(low)}, {number(high)}]"


def _verdict(comparison: Comparison, first: str, second: str) -> RenderableType:
    lines: list[RenderableType] = [Text(f"Verdict: {first} against {second}", style="bold")]
    for finding in comparison.findings:
        if (finding.first, finding.second) == (first, second) and finding.measure in _IN_FULL:
            mark = (f"{finding.kind}  ", _STYLES.get(finding.kind, "dim"))
            lines.append(Padding(Text.assemble(mark, finding.sentence), (0, 0, 0, 2)))
    return Group(*lines)
