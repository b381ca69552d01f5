"""One comparison as the page's data: its header, groups and findings, and its tables column by column."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.comparison.comparison import Comparison, Group
from gradprism.comparison.comparison_tables import EXAMPLES
from gradprism.comparison.findings import margin_of
from gradprism.comparison.length_controls import controls, further_controls, is_paired, raw_difference
from gradprism.figures.paired_lines import paired_lines
from gradprism.files.paths import base_name
from gradprism.report.first_screen import findings_data, first_contrasts, interactions_data, main_measures, overview
from gradprism.report.header import data_names, header_lines
from gradprism.report.length_moments import length_moments
from gradprism.report.page_json import EXAMPLE_DIGITS, columns_of, rounded
from gradprism.report.paths import known_paths, without_paths

_LEVELS = ("group", "measure", "projection", "layer", "n", "mean", "mean_low", "mean_high", "median", "q25", "q75")
_EFFECTS = (
    "first", "second", "measure", "projection", "layer", "n_first", "n_second", "mean_first", "mean_second",
    "difference", "difference_low", "difference_high", "auc", "auc_low", "auc_high", "q",
    "raw_effect_low", "raw_effect_high", "weighted_n_first", "weighted_n_second", "weighted_effect", "weighted_low",
    "weighted_high", "weighted_q", "matched_pairs", "matched_effect", "matched_low", "matched_high", "matched_q",
    "regression_scale", "raw_effect", "regression_effect", "regression_low", "regression_high", "regression_q",
    "spearman", "partial_spearman", "partial_low", "partial_high", "partial_q", "window_tokens", "window_n_first",
    "window_n_second", "window_effect", "window_low", "window_high", "window_q", "paired_rows", "paired_higher",
)  # fmt: skip
_FOUND = {
    "overlap weights": "weighted_found",
    "matched pairs": "matched_found",
    "regression": "regression_found",
    "partial Spearman": "partial_found",
}
_CORRELATIONS = ("x", "y", "n", "spearman", "low", "high", "q", "partial", "partial_low", "partial_high", "partial_q")


def model_data(comparison: Comparison) -> dict[str, Any]:
    """Return everything that the page shows of a comparison but its examples."""
    known, found = [*known_paths(comparison)], findings_data(comparison)
    main = main_measures(comparison.measures)
    return {
        "name": base_name(comparison.model),
        "data": without_paths(data_names(comparison), known),
        "header": header_lines(comparison),
        "groups": [_group(group, known) for group in comparison.groups],
        "contrasts": [list(pair) for pair in comparison.contrasts],
        "findings": found,
        "main_measures": main,
        "first_contrasts": first_contrasts(found, main),
        "overview": [] if comparison.contrasts else overview(comparison),
        "notes": [without_paths(note, known) for note in comparison.notes],
        "projections": list(comparison.projections),
        "layers": list(comparison.layers),
        "measures": list(comparison.measures),
        "metrics": [name for name in comparison.about.get("metrics", ()) if name in comparison.examples.columns],
        "tables": {
            "levels": columns_of(comparison.levels, _LEVELS),
            "effects": columns_of(comparison.effects, _EFFECTS)
            | columns_of(_found_by_controls(comparison.effects, margin_of(comparison.about))),
            "mad": columns_of(comparison.mad),
            "rd": columns_of(comparison.rd),
            "decay": columns_of(comparison.decay),
            "correlations": columns_of(comparison.correlations, _CORRELATIONS),
        },
        "length_moments": length_moments(comparison),
        "paired": _paired(comparison, main),
    }


def _paired(comparison: Comparison, measures: Sequence[str]) -> dict[str, Any] | None:
    """Return what the page shows of a paired comparison alone: interactions, cosines, and the lines of rows."""
    if comparison.paired is None:
        return None
    lines = pl.concat([paired_lines(comparison, measure) for measure in measures])
    return {
        "cosine": comparison.about["cosine"]["in_words"],
        "interactions": interactions_data(comparison),
        "lines": columns_of(lines, digits=EXAMPLE_DIGITS),
        "mad_changes": columns_of(comparison.paired.mad_changes),
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


def _found_by_controls(effects: pl.DataFrame, margin: float) -> pl.DataFrame:
    """Return what each row of EFFECTS shows, raw and length-controlled, by the rule of the findings.

    `no_support` is 1 where the groups have no common support in length, `few_pairs` where few rows could be matched.
    """
    kinds = dict.fromkeys(("raw_found", *_FOUND.values()), pl.String)
    rows = [_found_in_row(row, margin) for row in effects.iter_rows(named=True)]
    return pl.DataFrame(rows, schema={**kinds, "no_support": pl.Int8, "few_pairs": pl.Int8})


def _found_in_row(row: Mapping[str, Any], margin: float) -> dict[str, Any]:
    if is_paired(row):
        return {"raw_found": raw_difference(row, margin).found, "no_support": 0, "few_pairs": 0}
    weighted, *others = (*controls(row, margin), *further_controls(row))
    found = {_FOUND[each.name]: each.found for each in (weighted, *others) if each.name in _FOUND}
    support = {"no_support": int(weighted.extrapolates), "few_pairs": int(others[-1].extrapolates)}
    return {"raw_found": raw_difference(row, margin).found, **found, **support}


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
