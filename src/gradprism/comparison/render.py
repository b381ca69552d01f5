"""Terminal output of a comparison: groups, the paper's table, length controls, roughness over layers, verdict."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.findings import said_of
from gradprism.comparison.length_controls import ADJUSTED_P, controls, raw_difference
from gradprism.core.numbers import number, probability, share
from gradprism.core.terminal_tables import plain_table, spaced, summary_table
from gradprism.metrics.titles import title
from gradprism.prism.measures import MAIN_MEASURES, MEAN
from gradprism.stats.layer_curves import MAD_IN_WORDS, THIRDS

_LEGEND = (
    "Gap: the first less the second, mean over layers (and projections), with its BCa bootstrap interval over "
    f"examples. AUC: how often a random row of the first exceeds one of the second. {ADJUSTED_P}: permutation p, "
    "Benjamini-Hochberg over layers and projections of a measure."
)
_ADJUSTED_P = "p adj.\n(BH)"  # in a heading, which leaves names of groups their room at 80 columns
_STYLES = {"survives": "green", "partly": "green", **dict.fromkeys(("length", "reversed", "mixed", "hidden"), "yellow")}
_DIFFERENCE = {"positive": "higher", "negative": "lower", "missing": "–"}
_FOUND = {
    "find it again": "the same", "find the opposite": "the opposite", "leave little of it": "little left",
    "find none": "none shown", "find a positive difference": "higher", "find a negative difference": "lower",
    "cannot say": "cannot say", "cannot say (no common support)": "no common support", "there are none": "–",
    "could not be computed": "–",
}  # fmt: skip
Row = Mapping[str, Any]


def render_comparison(comparison: Comparison) -> RenderableType:
    """Render what fits on a screen or two; the rest is in the tables."""
    return Group(*spaced(_sections(comparison)))


def _sections(comparison: Comparison) -> Iterator[RenderableType]:
    yield summary_table(comparison.summary_lines)
    means = comparison.effects.filter(pl.col("layer").is_null())
    if len(comparison.contrasts) == 1:
        yield _mean_table(comparison, means)
        yield _length_control_table(comparison, means)
    elif comparison.contrasts:
        yield _contrast_table(comparison, means)
    if len(comparison.contrasts) < 2 and comparison.mad.height:
        yield _mad_table(comparison)
    for first, second in comparison.contrasts:
        yield _verdict(comparison, first, second)
    if comparison.contrasts:
        yield Text(_LEGEND, style="dim")


def _shown_measures(comparison: Comparison) -> tuple[str, ...]:
    """Return the measures to show in full: those asked for by name, otherwise the two of the papers."""
    if comparison.about.get("settings", {}).get("measures"):
        return comparison.measures
    return tuple(measure for measure in MAIN_MEASURES if measure in comparison.measures)


def _contrast_table(comparison: Comparison, rows: pl.DataFrame) -> RenderableType:
    """Tabulate the mean over projections for each contrast and measure."""
    headings = ["", "gap", "95% interval", "AUC", _ADJUSTED_P, "verdict"]
    table = plain_table("Mean over layers and projections; the verdict is length-controlled", headings)
    kinds = {(each.first, each.second, each.measure): each.kind for each in comparison.findings}
    means = {(row["first"], row["second"], row["measure"]): row
             for row in rows.filter(pl.col("projection") == MEAN).iter_rows(named=True)}  # fmt: skip
    for measure in _shown_measures(comparison):
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


def _mean_table(comparison: Comparison, rows: pl.DataFrame) -> RenderableType:
    first, second = comparison.contrasts[0]
    headings = ["", first, second, "gap", "95% interval", "AUC", _ADJUSTED_P]
    table = plain_table(f"{first} against {second}, mean over layers", headings)
    for measure in _shown_measures(comparison):
        found = list(rows.filter(pl.col("measure") == measure).iter_rows(named=True))
        table.add_row(title(measure), style="bold")
        for row in found:
            cells = [number(row[name]) for name in ("mean_first", "mean_second", "difference")]
            cells += [_interval(row, "difference"), share(row["auc"]), probability(row["q"])]
            table.add_row(f"  {row['projection']}", *cells, end_section=row is found[-1])
    return table


def _length_control_table(comparison: Comparison, rows: pl.DataFrame) -> RenderableType:
    """Tabulate the raw difference of each measure's mean over projections, and its three length controls."""
    headings = ["", "estimate", "95% interval", _ADJUSTED_P, "finding"]
    table = plain_table("Mean over layers and projections, length-controlled", headings)
    means = {row["measure"]: row for row in rows.filter(pl.col("projection") == MEAN).iter_rows(named=True)}
    for measure in _shown_measures(comparison):
        if row := means.get(measure):
            raw = raw_difference(row)
            lines = [(raw, _DIFFERENCE.get(raw.found, "none shown"))]
            lines += [(each, _FOUND[said_of(each, raw)]) for each in controls(row)]
            table.add_row(title(measure), style="bold")
            for index, (control, said) in enumerate(lines):
                table.add_row(f"  {control.label}", control.estimate, control.interval, probability(control.q), said,
                              end_section=index == len(lines) - 1)  # fmt: skip
    return table


def _mad_table(comparison: Comparison) -> RenderableType:
    """Tabulate MAD of each group, its mean over projections: over all layers, and within each third of depth."""
    headings = ["", "all layers", "95% interval", *THIRDS]
    table = plain_table(f"Roughness over layers: {MAD_IN_WORDS}", headings)
    rows = comparison.mad.filter(pl.col("projection") == MEAN)
    for measure in _shown_measures(comparison):
        found = list(rows.filter(pl.col("measure") == measure).iter_rows(named=True))
        table.add_row(title(measure), style="bold")
        for row in found:
            thirds = [number(row[f"mad_{third}"]) for third in THIRDS]
            cells = [number(row["mad"]), _interval(row, "mad"), *thirds]
            table.add_row(f"  {row['group']}", *cells, end_section=row is found[-1])
    return table


def _interval(row: Row, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "–" if low is None else f"[{number(low)}, {number(high)}]"


def _verdict(comparison: Comparison, first: str, second: str) -> RenderableType:
    lines: list[RenderableType] = [Text(f"Verdict: {first} against {second}", style="bold")]
    for finding in comparison.findings:
        if (finding.first, finding.second) == (first, second) and finding.measure in MAIN_MEASURES:
            mark = (f"{finding.kind}  ", _STYLES.get(finding.kind, "dim"))
            lines.append(Padding(Text.assemble(mark, finding.sentence), (0, 0, 0, 2)))
    return Group(*lines)
