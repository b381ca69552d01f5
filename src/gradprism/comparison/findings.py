"""Verdicts on differences, raw and length-controlled: a kind, a headline and a sentence, from the numbers alone.

When a control finds a difference, leaves little or cannot say is written in `gradprism.comparison.length_controls`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from gradprism.comparison.comparison import Finding
from gradprism.comparison.length_controls import (
    ADJUSTED_P,
    ALPHA,
    LEFT,
    MARGIN,
    SIGNS,
    Control,
    Row,
    controls,
    deciding_control,
    is_paired,
    raw_difference,
    too_few,
)
from gradprism.core.numbers import number, ratio
from gradprism.metrics.titles import headed, title
from gradprism.prism.measures import MEAN, known_measures


class KindOfFinding(NamedTuple):
    """A kind of finding: its name for readers, and when a finding is of it."""

    name: str
    meaning: str


KINDS: Mapping[str, KindOfFinding] = {
    "changed": KindOfFinding("changed", "paired rows: the same rows differ between the two models"),
    "survives": KindOfFinding("not just length", "a raw difference, and overlap weights find it again"),
    "reversed": KindOfFinding("reversed", "a raw difference, and overlap weights find the opposite"),
    "hidden": KindOfFinding("hidden by length", "no raw difference can be shown, and overlap weights find one"),
    "length": KindOfFinding("mostly length", "a raw difference, and overlap weights leave little of it"),
    "equal": KindOfFinding(
        "equal", "with overlap weights, or in paired rows, the whole interval lies within the margin"
    ),
    "mixed": KindOfFinding("mixed", "overlap weights find a difference, and pairs or windows find the opposite"),
    "unclear": KindOfFinding("unclear", "a raw difference, and these data cannot tell it from length"),
    "none": KindOfFinding("not shown", "no difference can be shown, raw or length-controlled, nor that there is none"),
    "chosen": KindOfFinding(
        "by construction", "the groups were chosen by this measure, or one of the same singular values"
    ),
    "missing": KindOfFinding("not computed", "one of the groups has no value"),
}
"""Every kind of finding, the most important first."""

CONTROL_RULE = (
    "The verdict rests on overlap weights with regression on the lengths of prompt and response, truncated rows as a "
    f"stratum. A difference is found where its 95% interval excludes none and its {ADJUSTED_P} is below {ALPHA:g}; "
    f"little of it is left where the whole interval lies within {LEFT:.0%} of the raw effect, and none is found or "
    "what is lies within the margin. Without common support in length nothing is decided."
)
_FEW = 10  # rows of a group: with fewer no length control has enough left, whatever the lengths
_ZEROS = 0.01  # of the smaller group: with more rows without a logarithm ratios do not speak for the groups
_LARGER: Mapping[str, str] = {
    "nuclear_norm": "gradients {factor} times as large",
    "effective_rank": "gradients in {factor} times as many directions",
}


def findings(
    effects: pl.DataFrame, measures: Sequence[str], by: str | None = None, margin: float = MARGIN
) -> list[Finding]:
    """Return a finding for each contrast and measure, of the mean over layers and projections.

    `by` is the metric whose extremes the groups are, if they are; `margin` the factor within which groups are equal.
    """
    means = effects.filter(pl.col("layer").is_null() & (pl.col("projection") == MEAN))
    rows = {(row["first"], row["second"], row["measure"]): row for row in means.iter_rows(named=True)}
    contrasts = dict.fromkeys((first, second) for first, second, _ in rows)
    wanted = [(*pair, measure) for pair in contrasts for measure in measures if (*pair, measure) in rows]
    return [finding(rows[key], by, margin) for key in wanted]


def finding(row: Row, by: str | None = None, margin: float = MARGIN) -> Finding:
    """Judge one row of the table EFFECTS, also of a metric; `by` and `margin` as in `findings`."""
    names = row["first"], row["second"], row["measure"], row["projection"]
    if is_paired(row):
        return _paired_finding(names, row, raw_difference(row, margin), by)
    if by == row["measure"] or (is_spectral(by) and row["projection"] is not None):
        said = f"the groups are the extremes of {by}, so that they differ by construction"
        return Finding(*names, "chosen", f"{_subject(row)}: {said}.", _details(row, margin), said)
    if without := _without_ratio(row):
        return Finding(*names, "missing", f"{_subject(row)}: {without}, so that no verdict is given.", "", without)
    raw, controlled = raw_difference(row, margin), controls(row, margin)
    kind = _kind(raw, controlled)
    headline = _headline(kind, row, raw, controlled)
    return Finding(*names, kind, _sentence(kind, row, raw, headline), _details(row, margin), headline)


def interaction_finding(row: Row, sides: tuple[str, str], by: str | None = None, margin: float = MARGIN) -> Finding:
    """Judge one row of the table INTERACTIONS: did `first` change more than `second` between the two `sides`?"""
    names = row["first"], row["second"], row["measure"], row["projection"]
    if is_spectral(by):
        said = f"the groups are extremes of {by}, which fall back towards the mean in any second measurement"
        return Finding(*names, "chosen", f"{_subject(row)}: {said}.", _details(row, margin), said)
    raw, controlled = raw_difference(row, margin), controls(row, margin)
    kind, (one, other) = _kind(raw, controlled), sides
    if kind == "missing":
        said = f"no change could be computed in one of {row['first']} and {row['second']}"
        return Finding(*names, kind, f"{_subject(row)}: {said}.", "", said)
    is_ratio = raw.is_ratio
    change = f"{one} over {other}" if is_ratio else f"{one} minus {other}"
    end = " times as high" if is_ratio else " higher"
    headline = _headline(kind, row, raw, controlled, f"{title(row['measure'])} {change} {_short(raw)}{end}")
    gaps = " and ".join(f"{_of_scale(row[f'gap_{side}'], is_ratio)} {name}"
                        for side, name in (("second", other), ("first", one)))  # fmt: skip
    changes = " and ".join(f"{_of_scale(row[f'mean_{each}'], is_ratio)} in {row[each]}" for each in ("first", "second"))
    sentence = (
        f"{_subject(row)}: {row['first']} against {row['second']}: {headline} ({change} is {changes}; "
        f"{row['first']} against {row['second']} was {gaps})."
    )
    return Finding(*names, kind, sentence, _details(row, margin), headline)


def _of_scale(value: float | None, is_ratio: bool) -> str:
    """Return an effect as a factor, or as a difference."""
    return number(value) if not is_ratio or value is None else ratio(math.exp(value))


def _paired_finding(names: tuple[str, str, str, str], row: Row, paired: Control, by: str | None) -> Finding:
    """Judge the same rows through two models: nothing but the model differs between the two sides."""
    if is_spectral(by):
        said = f"the rows are extremes of {by}, which fall back towards the mean in any second measurement"
        return Finding(*names, "chosen", f"{_subject(row)}: {said}.", paired.text, said)
    n, few = row["paired_rows"], " (too few rows)" if too_few(row) else ""
    if paired.effect is None:
        said = f"no row has a value in both {row['first']} and {row['second']}"
        return Finding(*names, "missing", f"{_subject(row)}: {said}.", "", said)
    kind = "changed" if paired.found in SIGNS else "equal" if paired.found == "equal" else "none"
    interval = "" if paired.low is None else f" {paired.interval.replace('×', '')}"
    end = {
        "changed": "changed" + (f", by less than {_percent(paired.margin)}" if paired.is_within_margin else ""),
        "equal": f"equal within {_percent(paired.margin)}",
        "none": f"no change shown, nor that there is none{few}",
    }[kind]
    headline = f"{_larger(row, paired)}{interval} in the same {n:,} rows: {end}"
    means = f"means {number(row['mean_first'])} and {number(row['mean_second'])}"
    sentence = (
        f"{_subject(row)}: {row['first']} against {row['second']}: {headline} ({means}, higher in "
        f"{row['paired_higher']:,} of {n:,} rows)."
    )
    return Finding(*names, kind, sentence, paired.text, headline)


def _without_ratio(row: Row) -> str:
    """Say how many rows have no logarithm, where that is too many for ratios to speak for the groups; else nothing."""
    if row["regression_scale"] != "log" or row["regression_n"] is None:
        return ""
    n = row["n_first"] + row["n_second"]
    zeros = n - row["regression_n"]
    few = zeros <= _ZEROS * min(row["n_first"], row["n_second"])
    return "" if few else f"{zeros:,} of {n:,} rows have a value of 0, which is in no ratio"


def by_importance(found: Sequence[Finding]) -> list[Finding]:
    """Order findings: contrasts that are decided first; equals, and the measures of each, stay in their order."""
    kinds = [*KINDS]
    rank = [kinds.index(each.kind) if each.kind in kinds else len(kinds) for each in found]
    best: dict[tuple[str, str], int] = {}
    for each, place in zip(found, rank, strict=True):
        pair = each.first, each.second
        best[pair] = min(place, best.get(pair, place))
    pairs = [*best]
    return sorted(found, key=lambda each: (best[p := (each.first, each.second)], pairs.index(p)))


def margin_of(about: Mapping[str, Any]) -> float:
    """Return the margin of a comparison by what it says about itself; the default of one of an earlier version."""
    return float((about.get("settings") or {}).get("margin") or MARGIN)


def is_spectral(by: str | None) -> bool:
    """Return whether groups are chosen by a spectral measure, all of which are functions of the same values."""
    return by is not None and by.partition(":")[0] in known_measures()


def _kind(raw: Control, length_controls: Sequence[Control]) -> str:
    """Return the key of `KINDS` that the rule gives; the first control decides."""
    if raw.found == "missing":
        return "missing"
    deciding = deciding_control(length_controls)
    found = deciding.found
    if found in SIGNS:
        if any(other.found in SIGNS and other.found != found for other in length_controls):
            return "mixed"
        return "survives" if found == raw.found else "reversed" if raw.found in SIGNS else "hidden"
    if raw.found in SIGNS:
        return {"little": "length", "equal": "equal"}.get(found, "unclear")
    return "equal" if found in ("equal", "little") and deciding.is_within_margin else "none"


def _headline(kind: str, row: Row, raw: Control, length_controls: Sequence[Control], larger: str = "") -> str:
    """Write what a reader takes away: both factors and what they come to; `larger` says how the first compares."""
    first, second, deciding = row["first"], row["second"], deciding_control(length_controls)
    if kind == "missing":
        return f"no value in one of {first} and {second}"
    figures = f"{larger or _larger(row, raw)} raw"
    if deciding.has_support:
        where = f"in the {deciding.label.partition(',')[0]}" if deciding.name == "windows" else "length-controlled"
        figures += f", {_short(deciding)} {where}"
    within = f"equal within {_percent(deciding.margin)}"
    few = " (too few rows)" if too_few(row) else ""
    contradicts = " and ".join(
        each.name for each in length_controls if each.found in SIGNS and each.found != deciding.found
    )
    end = {
        "survives": ("mostly length, yet a difference stays" if deciding.is_little else "not just length")
        + (f", though {within}" if deciding.is_within_margin else ""),
        "reversed": "with length controlled the difference turns around",
        "hidden": "length hides a difference",
        "length": "mostly length",
        "equal": f"{within} once length is controlled" if raw.found in SIGNS else within,
        "mixed": f"the controls contradict each other ({contradicts})",
        "unclear": f"cannot be told from length ({_why_unclear(row, deciding)})",
        "none": f"no difference shown, nor that there is none{few}",
    }[kind]
    return f"{figures}: {end}"


def _sentence(kind: str, row: Row, raw: Control, headline: str) -> str:
    """Write the verdict on one row of the table EFFECTS in full."""
    if kind == "missing":
        return f"{_subject(row)}: {headline}, so nothing is compared."
    means = f"means {number(row['mean_first'])} and {number(row['mean_second'])}, AUC {row['auc']:.2f}"
    return f"{_subject(row)}: {row['first']} against {row['second']}: {headline} ({means})."


def _larger(row: Row, control: Control) -> str:
    """Say how the first group compares with the second: `gradients 1.13 times as large`."""
    words = _LARGER.get(row["measure"], title(row["measure"]) + " {factor} times as high")
    if control.is_ratio:
        return words.format(factor=_short(control))
    return f"{title(row['measure'])} {_short(control)} higher"


def _short(control: Control) -> str:
    """Return an effect with three digits, a factor without its sign."""
    return control.estimate.removeprefix("×")


def _percent(margin: float) -> str:
    return f"{math.exp(margin) - 1:.0%}"


def _why_unclear(row: Row, weighted: Control) -> str:
    """Say in a few words why the control on which the verdict rests cannot say."""
    if weighted.found == "missing" and row["weighted_n_first"] is None:
        return "lengths are not known"
    if weighted.extrapolates or weighted.found == "missing":
        few = min(row["n_first"], row["n_second"]) < _FEW
        return "too few rows of like lengths" if few else "the lengths hardly overlap"
    return f"the interval {weighted.interval} is wide"


def _subject(row: Row) -> str:
    """Begin a sentence with the measure, and with the projection where it is one alone."""
    return headed(row["measure"]) + ("" if row["projection"] in (MEAN, None) else f" of {row['projection']}")


def said_of(control: Control, raw: Control) -> str:
    """Say in a few words what a control finds of the raw difference."""
    if control.found == "missing":
        return "no pairs" if control.name == "matched pairs" else "not computed"
    if control.found in SIGNS and raw.found in SIGNS and control is not raw:
        return "the same" if control.found == raw.found else "the opposite"
    if control.found in SIGNS:
        return "higher" if control.found == "positive" else "lower"
    if control.found == "equal":
        return f"equal within {_percent(control.margin)}"
    if control.found == "little":
        return "little left"
    return "no common support" if control.extrapolates else "cannot say" if control is not raw else "none shown"


def _details(row: Row, margin: float) -> str:
    """Write the figures of the raw effect and its length controls on one line."""
    found = [raw_difference(row, margin), *controls(row, margin)]
    texts = [control.text for control in found if control.found != "missing"]
    absent = [] if row["matched_pairs"] else ["no rows could be matched in length"]
    return "; ".join([*texts, *absent])
