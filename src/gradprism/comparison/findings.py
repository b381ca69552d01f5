"""Verdicts on differences, raw and length-controlled: a kind and a sentence for each, from the numbers alone.

When a control finds a difference, leaves little or cannot say is written in `gradprism.comparison.length_controls`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from gradprism.comparison.comparison import Finding
from gradprism.comparison.length_controls import (
    ADJUSTED_P,
    ALPHA,
    LEFT,
    SIGNS,
    Control,
    Row,
    controls,
    raw_difference,
    too_few,
)
from gradprism.core.numbers import number
from gradprism.metrics.titles import headed
from gradprism.prism.measures import MEAN, known_measures


class KindOfFinding(NamedTuple):
    """A kind of finding: its name for readers, and when a finding is of it."""

    name: str
    meaning: str


KINDS: Mapping[str, KindOfFinding] = {
    "survives": KindOfFinding("survives", "a raw difference, and all three length controls find it again"),
    "partly": KindOfFinding(
        "survives in part", "some controls find it again, and the others cannot say or are not computed"
    ),
    "reversed": KindOfFinding("reversed", "a raw difference, and the controls that say anything find the opposite"),
    "hidden": KindOfFinding(
        "hidden by length", "no raw difference can be shown, and all three controls find the same one"
    ),
    "length": KindOfFinding("mostly length", "a raw difference, and all three controls leave little of it"),
    "mixed": KindOfFinding(
        "mixed", "some controls find it, or its opposite, and others leave little of it or disagree"
    ),
    "unclear": KindOfFinding("unclear", "a raw difference, and the length controls do not decide"),
    "none": KindOfFinding("no difference", "none can be shown, raw or length-controlled"),
    "chosen": KindOfFinding(
        "by construction", "the groups were chosen by this measure, or one of the same singular values"
    ),
    "missing": KindOfFinding("not computed", "one of the groups has no value"),
}
"""Every kind of finding, the most important first."""

CONTROL_RULE = (
    f"A control finds a difference where its 95% interval excludes zero and its {ADJUSTED_P} is below {ALPHA:g}; it "
    f"leaves little of one where its whole interval lies within {LEFT:.0%} of the raw figure. Otherwise it cannot say, "
    "as regression and partial Spearman never can where the groups have no common support in length."
)


def findings(effects: pl.DataFrame, measures: Sequence[str], by: str | None = None) -> list[Finding]:
    """Return a finding for each contrast and measure, of the mean over layers and projections.

    `by` is the metric whose extremes the groups are, if they are.
    """
    means = effects.filter(pl.col("layer").is_null() & (pl.col("projection") == MEAN))
    rows = {(row["first"], row["second"], row["measure"]): row for row in means.iter_rows(named=True)}
    contrasts = dict.fromkeys((first, second) for first, second, _ in rows)
    wanted = [(*pair, measure) for pair in contrasts for measure in measures if (*pair, measure) in rows]
    return [finding(rows[key], by) for key in wanted]


def finding(row: Row, by: str | None = None) -> Finding:
    """Judge one row of the table EFFECTS; `by` as in `findings`."""
    names = row["first"], row["second"], row["measure"], row["projection"]
    if is_spectral(by):
        kind, said = "chosen", f"the groups are the extremes of {by}, so that they differ by construction"
        return Finding(*names, kind, f"{_subject(row)}: {said}.", _details(row))
    kind = _kind(raw_difference(row), controls(row))
    return Finding(*names, kind, _sentence(kind, row), _details(row))


def is_spectral(by: str | None) -> bool:
    """Return whether groups are chosen by a spectral measure, all of which are functions of the same values."""
    return by is not None and by.partition(":")[0] in known_measures()


def _kind(raw: Control, length_controls: Sequence[Control]) -> str:
    """Return the key of `KINDS` that the rule gives."""
    if raw.found == "missing":
        return "missing"
    found = [control.found for control in length_controls]
    signs = {each for each in found if each in SIGNS}
    everywhere = len({*found}) == 1
    if raw.found not in SIGNS:
        return "none" if not signs else "hidden" if everywhere else "mixed"
    if not signs:
        return "length" if everywhere and found[0] == "little" else "unclear"
    if len(signs) > 1 or "little" in found:
        return "mixed"
    if raw.found in signs:
        return "survives" if everywhere else "partly"
    return "reversed"


def _sentence(kind: str, row: Row) -> str:
    """Write the verdict on one row of the table EFFECTS."""
    first, second = row["first"], row["second"]
    if kind == "missing":
        return f"{_subject(row)}: no value in one of {first} and {second}, so nothing is compared."
    higher = f"{first} is {'higher' if row['difference'] > 0 else 'lower'} than {second}"
    means = f"({number(row['mean_first'])} against {number(row['mean_second'])}, AUC {row['auc']:.2f})"
    few = ", with too few rows to show one" if too_few(row) else ""
    without = f"no difference between {first} and {second} can be shown {means}{few}"
    shown = f"{higher} {means}" if raw_difference(row).found in SIGNS else without
    said = {
        "survives": f"{shown}, and not by length alone: {_said(row)}",
        "partly": f"{shown}; with length controlled, {_said(row)}",
        "length": f"{shown}, but length accounts for most of it: with length controlled, {_said(row)}",
        "reversed": f"{shown}, but with length controlled the sign reverses: {_said(row)}",
        "unclear": f"{shown}; with length controlled these data do not decide: {_said(row)}",
        "mixed": f"{shown}, and raw and controlled disagree: with length controlled, {_said(row)}",
        "hidden": f"{shown}, but length hides one: with length controlled, {_said(row)}",
        "none": f"{shown}, {'nor' if _is_controlled(row) else 'and nothing is known'} with length controlled",
    }[kind]
    return f"{_subject(row)}: {said}."


def _is_controlled(row: Row) -> bool:
    """Return whether any length control could be computed: token counts may not be known."""
    return any(control.found != "missing" for control in controls(row))


def _subject(row: Row) -> str:
    """Begin a sentence with the measure, and with the projection where it is one alone."""
    return headed(row["measure"]) + ("" if row["projection"] in (MEAN, None) else f" of {row['projection']}")


def _said(row: Row) -> str:
    """List by what they find the length controls: `regression and partial rank correlation find it again`."""
    raw = raw_difference(row)
    by_words: dict[str, list[str]] = {}
    for control in controls(row):
        by_words.setdefault(said_of(control, raw), []).append(control.name)
    return ", ".join(_clause(names, words) for words, names in by_words.items())


def said_of(control: Control, raw: Control) -> str:
    """Say in a few words what a control finds of the raw difference."""
    if control.found == "missing":
        return "could not be computed" if control.name != "matched pairs" else "there are none"
    if control.found in SIGNS and raw.found in SIGNS:
        return "find it again" if control.found == raw.found else "find the opposite"
    if control.found in SIGNS:
        return f"find a {control.found} difference"
    if raw.found not in SIGNS and not control.extrapolates:
        return "find none"
    if control.found == "little":
        return "leave little of it"
    return "cannot say (no common support)" if control.extrapolates else "cannot say"


def _clause(names: Sequence[str], words: str) -> str:
    """Join subjects and verb: `regression and partial rank correlation find it again`, `regression finds it again`."""
    if words == "there are none":
        return "no pairs match"
    joined = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    verb, _, rest = words.partition(" ")
    one = len(names) == 1 and not names[0].endswith("s")
    return f"{joined} {verb}s {rest}" if one and verb in ("find", "leave") else f"{joined} {words}"


def _details(row: Row) -> str:
    """Write the figures of the length controls on one line."""
    texts = [control.text for control in controls(row) if control.found != "missing"]
    absent = [] if row["matched_pairs"] else ["no rows could be matched in length"]
    return "; ".join([*texts, *absent])
