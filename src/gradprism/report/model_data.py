"""One comparison as the page's data: what is at the top, and its tables column by column."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.comparison.comparison import Comparison, Group
from gradprism.comparison.comparison_tables import EXAMPLES
from gradprism.comparison.evidence import controls, raw_difference
from gradprism.report.embedded import EXAMPLE_DIGITS, columns_of, plain
from gradprism.report.header import header_facts
from gradprism.report.paths import base_name, known_paths, without_paths

IMPORTANCE = (
    "survives", "partly", "reversed", "hidden", "length", "mixed", "unclear", "none", "chosen", "missing",
)  # fmt: skip
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
    """Everything but the examples, which depend on how many there is room for."""
    known = [*known_paths(comparison)]
    return {
        "name": base_name(comparison.model),
        "facts": header_facts(comparison),
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
            "effects": columns_of(comparison.effects, _EFFECTS) | columns_of(_evidence(comparison.effects)),
            "mad": columns_of(comparison.mad),
            "rd": columns_of(comparison.rd),
            "decay": columns_of(comparison.decay),
            "correlations": columns_of(comparison.correlations, _CORRELATIONS),
        },
    }


def examples_data(comparison: Comparison, examples: pl.DataFrame) -> dict[str, Any]:
    """The rows of `Comparison.examples` that are shown; layer means and metrics as `values`."""
    known = [name for name in EXAMPLES if name not in ("example_id", "group")]
    groups = [group.name for group in comparison.groups]
    return {
        "group": [groups.index(name) for name in examples["group"]],
        "example_id": examples["example_id"].to_list(),
        **columns_of(examples, known, EXAMPLE_DIGITS),
        "truncated": examples["truncated"].cast(pl.Int8).to_list(),
        "values": columns_of(examples, [name for name in examples.columns if name not in EXAMPLES], EXAMPLE_DIGITS),
    }


def _evidence(effects: pl.DataFrame) -> pl.DataFrame:
    """What each row of EFFECTS shows, raw and at equal length, by the rule of the verdict; 1 where it extrapolates."""
    rows = [_found(row) for row in effects.iter_rows(named=True)]
    kinds = dict.fromkeys(("raw_found", *_FOUND.values()), pl.String)
    return pl.DataFrame(rows, schema={**kinds, "extrapolates": pl.Int8})


def _found(row: Mapping[str, Any]) -> dict[str, Any]:
    held = controls(row)
    found = {_FOUND[control.name]: control.found for control in held}
    extrapolates = int(any(control.extrapolates for control in held))
    return {"raw_found": raw_difference(row).found, **found, "extrapolates": extrapolates}


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
        "median_prompt_tokens": plain(group.median_prompt_tokens),
        "median_response_tokens": plain(group.median_response_tokens),
    }


def _findings(comparison: Comparison) -> list[dict[str, str]]:
    """By contrast, the most important first; equals stay in their order."""
    pairs = [tuple(pair) for pair in comparison.contrasts]
    ordered = sorted(
        comparison.findings,
        key=lambda finding: (_place(pairs, (finding.first, finding.second)), _place(IMPORTANCE, finding.kind)),
    )
    return [dict(vars(finding)) for finding in ordered]


def _place(order: Sequence[Any], item: Any) -> int:
    return order.index(item) if item in order else len(order)
