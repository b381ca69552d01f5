"""One comparison as the page's data: its header, groups and findings, and its tables column by column."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.comparison.comparison import Comparison, Finding, Group
from gradprism.comparison.comparison_tables import EXAMPLES
from gradprism.comparison.findings import KINDS
from gradprism.comparison.length_controls import controls, raw_difference
from gradprism.report.header import header_lines
from gradprism.report.page_json import EXAMPLE_DIGITS, columns_of, rounded
from gradprism.report.paths import base_name, known_paths, without_paths

_LEVELS = ("group", "measure", "projection", "layer", "n", "mean", "mean_low", "mean_high", "median", "q25", "q75")
_EFFECTS = (
    "first", "second", "measure", "projection", "layer", "n_first", "n_second", "mean_first", "mean_second",
    "difference", "difference_low", "difference_high", "auc", "auc_low", "auc_high", "q",
    "matched_pairs", "matched_effect", "matched_low", "matched_high", "matched_q",
    "regression_scale", "raw_effect", "regression_effect", "regression_low", "regression_high", "regression_q",
    "spearman", "partial_spearman", "partial_low", "partial_high", "partial_q",
)  # fmt: skip
_FOUND = {
    "matched pairs": "matched_found",
    "regression": "regression_found",
    "partial rank correlation": "partial_found",
}
_CORRELATIONS = ("x", "y", "n", "spearman", "low", "high", "q", "partial", "partial_low", "partial_high", "partial_q")


def model_data(comparison: Comparison) -> dict[str, Any]:
    """Return everything that the page shows of a comparison but its examples."""
    known = [*known_paths(comparison)]
    return {
        "name": base_name(comparison.model),
        "header": header_lines(comparison),
        "groups": [_group(group, known) for group in comparison.groups],
        "contrasts": [list(pair) for pair in comparison.contrasts],
        "findings": _findings(comparison),
        "notes": [without_paths(note, known) for note in comparison.notes],
        "projections": list(comparison.projections),
        "layers": list(comparison.layers),
        "measures": list(comparison.measures),
        "metrics": [name for name in comparison.about.get("metrics", ()) if name in comparison.examples.columns],
        "tables": {
            "levels": columns_of(comparison.levels, _LEVELS),
            "effects": columns_of(comparison.effects, _EFFECTS) | columns_of(_found_by_controls(comparison.effects)),
            "mad": columns_of(comparison.mad),
            "rd": columns_of(comparison.rd),
            "decay": columns_of(comparison.decay),
            "correlations": columns_of(comparison.correlations, _CORRELATIONS),
        },
    }


def examples_data(comparison: Comparison, examples: pl.DataFrame) -> dict[str, Any]:
    """Return the examples that are shown, rows of `Comparison.examples`: layer means and metrics as `values`."""
    known = [name for name in EXAMPLES if name not in ("example_id", "group")]
    groups = [group.name for group in comparison.groups]
    return {
        "group": [groups.index(name) for name in examples["group"]],
        "example_id": examples["example_id"].to_list(),
        **columns_of(examples, known, EXAMPLE_DIGITS),
        "truncated": examples["truncated"].cast(pl.Int8).to_list(),
        "values": columns_of(examples, [name for name in examples.columns if name not in EXAMPLES], EXAMPLE_DIGITS),
    }


def _found_by_controls(effects: pl.DataFrame) -> pl.DataFrame:
    """Return what each row of EFFECTS shows, raw and length-controlled, by the rule of the findings.

    `no_support` is 1 where the groups have no common support in length.
    """
    kinds = dict.fromkeys(("raw_found", *_FOUND.values()), pl.String)
    rows = [_found_in_row(row) for row in effects.iter_rows(named=True)]
    return pl.DataFrame(rows, schema={**kinds, "no_support": pl.Int8})


def _found_in_row(row: Mapping[str, Any]) -> dict[str, Any]:
    controlled = controls(row)
    found = {_FOUND[control.name]: control.found for control in controlled}
    no_support = int(any(control.extrapolates for control in controlled))
    return {"raw_found": raw_difference(row).found, **found, "no_support": no_support}


def _group(group: Group, known: Sequence[str]) -> dict[str, Any]:
    return {
        "name": group.name,
        "run": Path(group.run).name,
        "rule": without_paths(group.rule, known),
        "n": group.n,
        "skipped": group.skipped,
        "failed": group.failed,
        "pending": group.pending,
        "truncated": group.truncated,
        "reasons": [[without_paths(reason, known), count] for reason, count in group.reasons.items()],
        "median_prompt_tokens": rounded(group.median_prompt_tokens),
        "median_response_tokens": rounded(group.median_response_tokens),
    }


def _findings(comparison: Comparison) -> list[dict[str, str]]:
    """Return the findings by contrast, the most important first; equals stay in their order."""
    pairs, kinds = [tuple(pair) for pair in comparison.contrasts], [*KINDS]

    def order(finding: Finding) -> tuple[int, int]:
        return _index_or_last(pairs, (finding.first, finding.second)), _index_or_last(kinds, finding.kind)

    return [dict(vars(finding)) for finding in sorted(comparison.findings, key=order)]


def _index_or_last(items: Sequence[Any], item: Any) -> int:
    return items.index(item) if item in items else len(items)
