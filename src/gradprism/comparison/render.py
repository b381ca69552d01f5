"""Terminal output of a comparison: the answer, the ratios behind it, roughness over layers, groups and notes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from gradprism.comparison.comparison import Comparison, Finding, Paired
from gradprism.comparison.findings import by_importance, margin_of, said_of
from gradprism.comparison.length_controls import Control, controls, deciding_control, raw_difference
from gradprism.core.numbers import number, probability
from gradprism.core.terminal_tables import plain_table, spaced, summary_table
from gradprism.metrics.titles import title
from gradprism.prism.measures import MAIN_MEASURES, MEAN
from gradprism.stats.layer_curves import MAD_IN_WORDS, THIRDS

_LEGEND = (
    "Ratios of geometric means over examples, of the mean over layers and projections, with 95% intervals. "
    "Length-controlled: overlap weights with regression on prompt and response tokens. p adj.: adjusted by "
    "Benjamini-Hochberg over layers and projections."
)
_PAIRED_LEGEND = (
    "Geometric means over rows of each row's ratio, of the mean over layers and projections, with 95% intervals "
    "(BCa bootstrap over rows). p adj.: sign flips, adjusted by Benjamini-Hochberg over layers and projections."
)
_INTERACTION_LEGEND = (
    "Each ratio is that of the two changes: above 1, the first group of rows rose more, or fell less. The rows of the "
    "groups are not the same, so that length is controlled: overlap weights with regression."
)
_ADJUSTED_P = "p adj."
_STYLES = {
    **dict.fromkeys(("survives", "partly", "changed"), "blue"), "equal": "cyan",
    **dict.fromkeys(("length", "reversed", "mixed", "hidden"), "yellow"),
}  # fmt: skip
Row = Mapping[str, Any]


def render_comparison(comparison: Comparison) -> RenderableType:
    """Render what fits on a screen or two; the rest is in the tables."""
    return Group(*spaced(_sections(comparison)))


def _sections(comparison: Comparison) -> Iterator[RenderableType]:
    means = comparison.effects.filter(pl.col("layer").is_null() & (pl.col("projection") == MEAN))
    if comparison.paired is not None:
        yield from _paired_sections(comparison, comparison.paired, means)
    elif comparison.contrasts:
        yield _answers(comparison.findings, _shown_measures(comparison))
        yield _ratio_table(comparison, comparison.contrasts, means)
        yield Text(_LEGEND, style="dim")
        if len(comparison.contrasts) == 1:
            yield _control_table(comparison, means)
    if comparison.paired is None and len(comparison.contrasts) < 2 and comparison.mad.height:
        yield _mad_table(comparison)
    yield summary_table(comparison.summary_lines)


def _paired_sections(comparison: Comparison, paired: Paired, means: pl.DataFrame) -> Iterator[RenderableType]:
    """Yield what changed in all rows, in each group of rows, and whether one group changed more than another."""
    whole, measures = comparison.contrasts[0], _shown_measures(comparison)
    yield _answers([each for each in comparison.findings if (each.first, each.second) == whole], measures)
    yield _paired_table(comparison, means)
    yield Text(_PAIRED_LEGEND, style="dim")
    pairs = [*dict.fromkeys((each.first, each.second) for each in paired.findings)]
    if pairs:
        heading = f"Did one group of rows change more than another? Ratios of {whole[0]} over {whole[1]}"
        rows = paired.interactions.filter(pl.col("layer").is_null(), projection=MEAN)
        yield _ratio_table(comparison, pairs, rows, heading)
        yield Text(_INTERACTION_LEGEND, style="dim")
    if len(pairs) == 1:
        yield _answers(paired.findings, measures)
    if paired.mad_changes.height:
        yield _mad_change_table(comparison, paired.mad_changes)


def _shown_measures(comparison: Comparison) -> tuple[str, ...]:
    """Return the measures to show in full: those asked for by name, otherwise the two of the papers."""
    if comparison.about.get("settings", {}).get("measures"):
        return comparison.measures
    return tuple(measure for measure in MAIN_MEASURES if measure in comparison.measures)


def _answers(findings: Sequence[Finding], measures: Sequence[str]) -> RenderableType:
    """Say what was found of each contrast in some measures, those that are decided first."""
    shown = [each for each in findings if each.measure in measures]
    contrasts: dict[tuple[str, str], list[Finding]] = {}
    for finding in by_importance(shown):
        contrasts.setdefault((finding.first, finding.second), []).append(finding)
    lines: list[RenderableType] = []
    for (first, second), found in contrasts.items():
        lines.append(Text.assemble((first, "bold"), " against ", (second, "bold")))
        lines += [Padding(_answer(each), (0, 0, 0, 2)) for each in found]
        lines += [Padding(Text(each), (0, 0, 0, 4)) for each in dict.fromkeys(f.advice for f in found) if each]
    return Group(*lines)


def _paired_table(comparison: Comparison, rows: pl.DataFrame) -> RenderableType:
    """Tabulate the paired effect of each contrast and measure: all rows, then each group of rows."""
    first, second = comparison.contrasts[0]
    headings = ["", "rows", "ratio", "95% interval", _ADJUSTED_P, "higher in"]
    table = plain_table(f"{first} over {second}, in the same rows", headings)
    found = {(row["first"], row["second"], row["measure"]): row for row in rows.iter_rows(named=True)}
    for measure in _shown_measures(comparison):
        table.add_row(title(measure), style="bold")
        pairs = [pair for pair in comparison.contrasts if (*pair, measure) in found]
        for pair in pairs:
            row = found[*pair, measure]
            effect, higher = raw_difference(row), f"{row['paired_higher']:,} of {row['paired_rows']:,}"
            name = f"  {_name_of_rows(pair[0], first)}"
            table.add_row(name, effect.rows, *_cells(effect), probability(effect.q), higher,
                          end_section=pair == pairs[-1])  # fmt: skip
    return table


def _mad_change_table(comparison: Comparison, changes: pl.DataFrame) -> RenderableType:
    """Tabulate MAD of both sides of each paired contrast, its mean over projections, and their difference."""
    first, second = comparison.contrasts[0]
    headings = ["", first, second, "difference", "95% interval", _ADJUSTED_P]
    table = plain_table(f"Roughness over layers: {MAD_IN_WORDS}", headings)
    for measure in _shown_measures(comparison):
        rows = changes.filter(measure=measure, projection=MEAN).to_dicts()
        table.add_row(title(measure), style="bold")
        for row in rows:
            numbers = [number(row[name]) for name in ("mad_first", "mad_second", "difference")]
            interval = _interval(row["difference_low"], row["difference_high"])
            name = _name_of_rows(row["first"], first)
            table.add_row(f"  {name}", *numbers, interval, probability(row["q"]), end_section=row is rows[-1])
    return table


def _name_of_rows(side: str, whole: str) -> str:
    """Return the group of rows that a side of a paired contrast is of."""
    return "all" if side == whole else side.removeprefix(f"{whole}: ")


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None else f"[{number(low)}, {number(high)}]"


def _answer(finding: Finding) -> Text:
    """Write the headline of a finding, what it comes to in colour; the sentence of one of an earlier version."""
    if not finding.headline:
        return Text.assemble((f"{finding.kind}  ", _STYLES.get(finding.kind, "dim")), finding.sentence)
    figures, colon, verdict = finding.headline.partition(": ")
    return Text.assemble(figures, colon, (verdict, _STYLES.get(finding.kind, "dim")))


def _ratio_table(
    comparison: Comparison, contrasts: Sequence[tuple[str, str]], rows: pl.DataFrame, heading: str = ""
) -> RenderableType:
    """Tabulate the raw and the length-controlled ratio of each contrast and measure."""
    headings = ["", "raw", "95% interval", "controlled", "95% interval", _ADJUSTED_P]
    seconds = {second for _, second in contrasts}
    to = f" to {next(iter(seconds))}" if len(seconds) == 1 and not heading else ""
    table = plain_table(heading or f"Ratios{to}, raw and length-controlled", headings)
    found = {(row["first"], row["second"], row["measure"]): row for row in rows.iter_rows(named=True)}
    for measure in _shown_measures(comparison):
        table.add_row(title(measure), style="bold")
        pairs = [pair for pair in contrasts if (*pair, measure) in found]
        for pair in pairs:
            row = found[*pair, measure]
            deciding = deciding_control(controls(row))
            controlled = (*_cells(deciding), probability(deciding.q)) if deciding.has_support else ("–",) * 3
            name = f"  {pair[0]}" if to else f"  {pair[0]} / {pair[1]}"
            table.add_row(name, *_cells(raw_difference(row)), *controlled, end_section=pair == pairs[-1])
    return table


def _cells(control: Control) -> tuple[str, str]:
    return control.estimate.removeprefix("×"), control.interval.replace("×", "")


def _control_table(comparison: Comparison, rows: pl.DataFrame) -> RenderableType:
    """Tabulate the raw effect of each measure's mean over projections, and every length control."""
    table = plain_table("Every length control", ["", "rows", "ratio", "95% interval", _ADJUSTED_P, "finds"])
    means, margin = {row["measure"]: row for row in rows.iter_rows(named=True)}, margin_of(comparison.about)
    for measure in _shown_measures(comparison):
        if row := means.get(measure):
            raw = raw_difference(row, margin)
            table.add_row(title(measure), style="bold")
            found = (raw, *controls(row, margin))
            for control in found:
                said = said_of(control, raw)
                table.add_row(f"  {control.name}", control.rows, *_cells(control), probability(control.q), said,
                              end_section=control is found[-1])  # fmt: skip
    return table


def _mad_table(comparison: Comparison) -> RenderableType:
    """Tabulate MAD of each group, its mean over projections: over all layers, and within each third of depth."""
    headings = ["", "all layers", "95% interval", *THIRDS]
    table = plain_table(f"Roughness over layers: {MAD_IN_WORDS}", headings)
    rows = comparison.mad.filter(pl.col("projection") == MEAN)
    for measure in _shown_measures(comparison):
        found: Sequence[Row] = list(rows.filter(pl.col("measure") == measure).iter_rows(named=True))
        table.add_row(title(measure), style="bold")
        for row in found:
            thirds = [number(row[f"mad_{third}"]) for third in THIRDS]
            interval = _interval(row["mad_low"], row["mad_high"])
            table.add_row(f"  {row['group']}", number(row["mad"]), interval, *thirds, end_section=row is found[-1])
    return table
