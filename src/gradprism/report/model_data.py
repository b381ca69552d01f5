"""One comparison as the page's data: what is at the top, and its tables column by column."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.analysis.comparison import Comparison, Group
from gradprism.analysis.comparison_tables import EXAMPLES
from gradprism.report.embedded import columns_of, plain

_IMPORTANCE = ("survives", "partly", "reversed", "hidden", "length", "mixed", "unclear", "none", "missing")
_LEVELS = ("group", "measure", "projection", "layer", "n", "mean", "mean_low", "mean_high", "median", "q25", "q75")
_EFFECTS = (
    "first", "second", "measure", "projection", "layer", "n_first", "n_second", "mean_first", "mean_second",
    "difference", "difference_low", "difference_high", "auc", "auc_low", "auc_high", "q",
    "matched_pairs", "matched_difference", "matched_low", "matched_high", "matched_q",
    "regression_scale", "raw_effect", "regression_effect", "regression_low", "regression_high", "regression_q",
    "spearman", "partial_spearman", "partial_low", "partial_high", "partial_q",
)  # fmt: skip
_CORRELATIONS = ("x", "y", "n", "spearman", "low", "high", "q", "partial", "partial_low", "partial_high", "partial_q")


def model_data(comparison: Comparison) -> dict[str, Any]:
    """Everything but the examples, which depend on how many there is room for."""
    return {
        "name": comparison.model,
        "facts": [list(fact) for fact in _facts(comparison)],
        "groups": [_group(group) for group in comparison.groups],
        "contrasts": [list(pair) for pair in comparison.contrasts],
        "findings": _findings(comparison),
        "notes": list(comparison.notes),
        "projections": list(comparison.projections),
        "layers": list(comparison.layers),
        "measures": list(comparison.measures),
        "metrics": [name for name in comparison.about.get("metrics", ()) if name in comparison.examples.columns],
        "tables": {
            "levels": columns_of(comparison.levels, _LEVELS),
            "effects": columns_of(comparison.effects, _EFFECTS),
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
        **columns_of(examples, known),
        "truncated": examples["truncated"].cast(pl.Int8).to_list(),
        "values": columns_of(examples, [name for name in examples.columns if name not in EXAMPLES]),
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "run": Path(group.run).name,  # where it lies on the author's disk is nobody's business
        "rule": group.rule,
        "n": group.n,
        "skipped": group.skipped,
        "failed": group.failed,
        "pending": group.pending,
        "truncated": group.truncated,
        "reasons": [[reason, count] for reason, count in group.reasons.items()],
        "median_prompt_tokens": plain(group.median_prompt_tokens),
        "median_response_tokens": plain(group.median_response_tokens),
    }


def _findings(comparison: Comparison) -> list[dict[str, str]]:
    """By contrast, the most important first; equals stay in their order."""
    pairs = [tuple(pair) for pair in comparison.contrasts]
    ordered = sorted(
        comparison.findings,
        key=lambda finding: (_place(pairs, (finding.first, finding.second)), _place(_IMPORTANCE, finding.kind)),
    )
    return [dict(vars(finding)) for finding in ordered]


def _place(order: Sequence[Any], item: Any) -> int:
    return order.index(item) if item in order else len(order)


def _facts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    about = comparison.about
    model, text = about.get("model", {}), about.get("text", {})
    shape = [model.get("class"), f"{len(comparison.layers)} layers", model.get("dtype")]
    yield "Model", ", ".join([comparison.model, *(str(part) for part in shape if part)])
    yield from _of_data(about.get("data", ()))
    if text:
        yield "Text", f"template {text.get('template')}, at most {text.get('max_length', 0):,} tokens"
    if about.get("precision"):
        yield "Precision", str(about["precision"])
    yield "Projections", ", ".join(comparison.projections)
    if about.get("settings"):
        yield "Settings", _settings(about["settings"])
    if about.get("created"):
        yield "Compared", str(about["created"]).replace("T", " ").replace("+00:00", " UTC")
    yield "Versions", _settings(about.get("versions", {}))


def _of_data(data: Any) -> Iterator[tuple[str, str]]:
    entries = [data] if isinstance(data, Mapping) else list(data)
    said = dict.fromkeys(_one_data_set(entry) for entry in entries if isinstance(entry, Mapping))
    if said:
        yield "Data", "; ".join(said)


def _one_data_set(entry: Mapping[str, Any]) -> str:
    names = ", ".join(Path(str(source)).name or str(source) for source in entry.get("sources", ()))
    rows = f", {entry['rows']:,} rows" if isinstance(entry.get("rows"), int) else ""
    schema = f" ({entry['schema']})" if entry.get("schema") else ""
    return f"{names}{schema}{rows}"


def _settings(settings: Mapping[str, Any]) -> str:
    given = {
        name.replace("_", " "): value for name, value in settings.items() if value is not None and value is not False
    }
    return ", ".join(name if value is True else f"{name} {value}" for name, value in given.items())
