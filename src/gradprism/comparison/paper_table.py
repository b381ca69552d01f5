"""Summaries of a comparison: the table of Li et al. (arXiv 2504.10766), in LaTeX too, and the verdict as Markdown.

For each measure and projection the table has the mean of the second group, that of the first, and the gap.
"""

import re
from collections.abc import Mapping
from typing import Any

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.comparison_tables import COSINES
from gradprism.comparison.length_controls import (
    ADJUSTED_P,
    ALPHA,
    SIGNS,
    Control,
    controls,
    deciding_control,
    raw_difference,
)
from gradprism.core.console import escaped
from gradprism.core.markdown import header_lines, inline, table_row
from gradprism.core.numbers import number, probability
from gradprism.metrics.titles import title
from gradprism.prism.measures import MEAN
from gradprism.stats.layer_curves import MAD_IN_WORDS, THIRDS

_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
          "\\": r"\textbackslash{}", "→": r"$\rightarrow$"}  # fmt: skip


_CONTROLS = (
    "raw_effect_low", "raw_effect_high", "paired_rows", "paired_higher",
    "weighted_n_first", "weighted_n_second", "weighted_imbalance",
    "weighted_effect", "weighted_low", "weighted_high", "weighted_q", "window_tokens", "window_n_first",
    "window_n_second", "window_effect", "window_low", "window_high", "window_q", "matched_pairs", "matched_effect",
    "matched_low", "matched_high", "matched_q", "regression_scale", "raw_effect", "regression_effect",
    "regression_low", "regression_high", "regression_q", "spearman", "partial_spearman", "partial_low",
    "partial_high", "partial_q",
)  # fmt: skip


def paper_table(comparison: Comparison) -> pl.DataFrame:
    """Return both means, the gap and its length controls for each contrast, measure and projection (layer means).

    Columns: first, second, measure, projection, n_first, n_second, mean_second, mean_first, gap, gap_low, gap_high,
    auc, q, and those of the length controls as in the table EFFECTS.
    """
    measured = (*comparison.measures, *COSINES)
    rows = comparison.effects.filter(pl.col("layer").is_null() & pl.col("measure").is_in(measured))
    return rows.select(
        "first", "second", "measure", "projection", "n_first", "n_second", "mean_second", "mean_first",
        pl.col("difference").alias("gap"), pl.col("difference_low").alias("gap_low"),
        pl.col("difference_high").alias("gap_high"), "auc", "q", *_CONTROLS,
    )  # fmt: skip


def paper_latex(comparison: Comparison) -> str:
    """Write a table of each contrast in LaTeX (booktabs): means and ratios, bold where length control leaves them."""
    table = paper_table(comparison)
    return "\n\n".join(_latex_table(comparison, table, *pair) for pair in comparison.contrasts) + "\n"


def summary(comparison: Comparison) -> str:
    """Write groups, verdicts, tables and notes in Markdown."""
    groups = [
        f"- **{inline(group.name)}**: {group.n:,} rows ({inline(group.rule)}), "
        f"median response {number(group.median_response_tokens)} tokens"
        for group in comparison.groups
    ]
    names = " and ".join(group.name for group in (comparison.groups[:2] if comparison.paired else comparison.groups))
    parts = [f"# {inline(f'{names}, {comparison.model}')}", "\n".join(groups)]
    for first, second in comparison.contrasts:
        found = [each for each in comparison.findings if (each.first, each.second) == (first, second)]
        sentences = [
            inline(f"- {each.sentence}" + (f" {_details_name(comparison)}: {each.details}." if each.details else ""))
            for each in found
        ]
        parts += [
            f"## {inline(f'{first} against {second}')}",
            "\n".join(sentences),
            _markdown_table(comparison, first, second),
        ]
    if comparison.paired and comparison.paired.findings:
        told = [inline(f"- {each.sentence} Controls: {each.details}.") for each in comparison.paired.findings]
        parts += ["## Did one group of rows change more than another?", "\n".join(told)]
    if comparison.mad.height:
        parts += [f"## {MAD_IN_WORDS[:1].upper()}{MAD_IN_WORDS[1:]}", _mad_markdown(comparison)]
    if comparison.notes:
        parts += ["## Notes", "\n".join(f"- {inline(note)}" for note in comparison.notes)]
    return "\n\n".join(parts) + "\n"


def _details_name(comparison: Comparison) -> str:
    return "Paired" if comparison.paired else "Length-controlled"


def _markdown_table(comparison: Comparison, first: str, second: str) -> str:
    """Write means and ratios of one contrast as a Markdown table."""
    table = paper_table(comparison).filter((pl.col("first") == first) & (pl.col("second") == second))
    estimates = ["paired"] if comparison.paired else ["raw", "length-controlled"]
    heads = ["measure", "projection", first, second, *(name for each in estimates for name in (each, "95% interval"))]
    heads.append("p adj.")
    lines = [*header_lines(heads, 2)]
    for row in table.iter_rows(named=True):
        values = [number(row[name]) for name in ("mean_first", "mean_second")]
        raw, deciding = _raw_and_controlled(row)
        controlled = (
            [deciding.estimate, deciding.interval, probability(deciding.q)] if deciding.has_support else ["–"] * 3
        )
        uncontrolled = [] if comparison.paired else [raw.estimate, raw.interval]
        cells = [title(row["measure"]), row["projection"], *values, *uncontrolled, *controlled]
        lines.append(table_row(cells))
    return "\n".join(lines)


def _raw_and_controlled(row: Mapping[str, Any]) -> tuple[Control, Control]:
    """Return the raw effect and the length control on which a verdict rests."""
    return raw_difference(row), deciding_control(controls(row))


def _mad_markdown(comparison: Comparison) -> str:
    """Write MAD of each group, its mean over projections, as a Markdown table: all layers, then thirds of depth."""
    lines = [*header_lines(["group", "measure", "all layers", "95% interval", *THIRDS], 2)]
    for row in comparison.mad.filter(pl.col("projection") == MEAN).iter_rows(named=True):
        thirds = [number(row[f"mad_{third}"]) for third in THIRDS]
        cells = [row["group"], title(row["measure"]), number(row["mad"]), _interval_in_words(row, "mad"), *thirds]
        lines.append(table_row(cells))
    return "\n".join(lines)


def _interval_in_words(row: Mapping[str, Any], name: str) -> str:
    return "–" if row[f"{name}_low"] is None else f"{number(row[f'{name}_low'])} to {number(row[f'{name}_high'])}"


def _latex_table(comparison: Comparison, table: pl.DataFrame, first: str, second: str) -> str:
    names = (*comparison.projections, MEAN)
    rows = table.filter((pl.col("first") == first) & (pl.col("second") == second) & pl.col("projection").is_in(names))
    rows = rows.filter(pl.col("measure").is_in(comparison.measures))
    paired = comparison.paired is not None
    ratios, how = ["raw ratio", "length-controlled ratio"], (
        "Ratios of geometric means with 95% intervals, raw and with length controlled by overlap weights with "
        "regression; bold where a difference is found with length controlled"
    )  # fmt: skip
    if paired:
        ratios, how = ["ratio"], (
            "Geometric means of the ratios of the same rows with 95% intervals (BCa bootstrap); bold where a "
            "difference is found"
        )  # fmt: skip
    heads = ["measure", "projection", second, first, *ratios, ADJUSTED_P]
    caption = f"{first} against {second} on {comparison.model}, means over layers. {how} ({ADJUSTED_P} < {ALPHA:g})."
    label = "tab:" + re.sub("[^a-z0-9]+", "-", f"{first} {second}".lower()).strip("-")
    lines = [
        r"\begin{table}", r"\centering", f"\\caption{{{_escaped(caption).replace('<', '$<$')}}}", f"\\label{{{label}}}",
        r"\begin{tabular}{llrr" + "l" * len(ratios) + "r}", r"\toprule", " & ".join(map(_escaped, heads)) + r" \\",
        r"\midrule", *(_latex_line(row, paired) for row in rows.iter_rows(named=True)), r"\bottomrule",
        r"\end{tabular}", r"\end{table}",
    ]  # fmt: skip
    return "\n".join(lines)


def _latex_line(row: Mapping[str, Any], paired: bool) -> str:
    raw, deciding = _raw_and_controlled(row)
    controlled, p = ("--", "--")
    if deciding.has_support:
        controlled, p = _latex_ratio(deciding), _escaped(probability(deciding.q)).replace("<", "$<$")
        controlled = f"\\textbf{{{controlled}}}" if deciding.found in SIGNS else controlled
    ratios = [controlled] if paired else [_latex_ratio(raw), controlled]
    values = [number(row["mean_second"]), number(row["mean_first"]), *ratios, p]
    return " & ".join([_escaped(title(row["measure"])), _escaped(row["projection"]), *values]) + r" \\"


def _latex_ratio(control: Control) -> str:
    return f"{control.estimate} {control.interval}".replace("×", "").replace("–", "--")


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in _one_line(text))


def _one_line(text: str) -> str:
    """Return text on one line, since a line break ends a comment, and an empty line a paragraph."""
    return escaped(" ".join(text.splitlines()))
