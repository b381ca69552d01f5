"""What is to be said of a difference, raw and at equal length, in a sentence: from the numbers alone.

| kind | when |
|---|---|
| survives | there is a raw difference, and every length control finds it again |
| partly | some find it again, and the others can neither confirm nor exclude it |
| length | there is one, and no control finds it: each puts zero, and not the raw figure, inside its interval |
| reversed | there is one, and every control that finds anything finds the opposite |
| unclear | there is one, and the controls can neither confirm nor exclude it (too few rows) |
| mixed | the controls disagree: some find it, or the opposite, and others find nothing |
| hidden | there is no raw difference, and every control finds the same one |
| none | there is none, raw or controlled |
| missing | nothing could be computed |

A difference is *found* where its interval excludes zero and its p, after Benjamini-Hochberg, is below 0.05. Where the
groups hardly overlap in length (fewer pairs match than a quarter of the smaller group), regression and partial rank
correlation *cannot say* what they would have found: they extrapolate, and what they leave of length passes for a
difference (of length alone, 27-fold apart, partial correlation makes one of 0.1 in nearly every simulation).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from gradprism.analysis.comparison import Finding
from gradprism.analysis.length_match import overlap_in_length
from gradprism.numbers import number

ALPHA = 0.05
Row = Mapping[str, Any]
Found = Literal["positive", "negative", "absent", "unclear", "missing"]
_SIGNS = ("positive", "negative")
_TITLES = {
    "frobenius_norm": "Frobenius norm",
    "adjacent_cosine": "adjacent-layer cosine",
    "same_layer_cosine": "same-layer cosine",
}


@dataclass(frozen=True)
class Control:
    """One way to look at a difference: its estimate, and the raw figure on the same scale."""

    name: str
    label: str  # with what belongs to it, such as the number of pairs
    effect: float | None
    low: float | None
    high: float | None
    q: float | None
    raw: float | None
    is_log: bool
    is_trusted: bool = True  # not where it extrapolates

    @property
    def found(self) -> Found:
        """Whether it finds a difference; if not, whether it excludes the raw one or cannot say."""
        if self.effect is None or self.low is None or self.high is None or self.q is None or self.raw is None:
            return "missing"
        significant = self.q < ALPHA
        if significant and not self.holds_zero:
            return "unclear" if not self.is_trusted else "positive" if self.effect > 0 else "negative"
        undecided = significant or not self.holds_zero or self.low <= self.raw <= self.high
        return "unclear" if undecided else "absent"

    @property
    def holds_zero(self) -> bool:
        """Whether zero lies in the interval."""
        return self.low is not None and self.high is not None and self.low <= 0 <= self.high

    @property
    def estimate(self) -> str:
        """As people read it: a ratio where the scale is logarithmic."""
        return self._shown(self.effect)

    @property
    def interval(self) -> str:
        """The same of its ends."""
        return "–" if self.low is None else f"[{self._shown(self.low)}, {self._shown(self.high)}]"

    @property
    def text(self) -> str:
        """Label, estimate, interval, and the raw figure."""
        return f"{self.label} {self.estimate} {self.interval} (raw {self._shown(self.raw)})"

    def _shown(self, value: float | None) -> str:
        return number(math.exp(value)) if self.is_log and value is not None else number(value)


def findings(effects: pl.DataFrame, measures: Sequence[str]) -> list[Finding]:
    """One finding for each contrast and measure, of the mean over layers and projections."""
    means = effects.filter(pl.col("layer").is_null() & (pl.col("projection") == "mean"))
    rows = {(row["first"], row["second"], row["measure"]): row for row in means.iter_rows(named=True)}
    contrasts = dict.fromkeys((first, second) for first, second, _ in rows)
    return [finding(rows[*pair, measure]) for pair in contrasts for measure in measures if (*pair, measure) in rows]


def finding(row: Row) -> Finding:
    """Of one row of the table EFFECTS."""
    kind = _kind(raw_difference(row), controls(row))
    names = row["first"], row["second"], row["measure"], row["projection"]
    return Finding(*names, kind, _sentence(kind, row), _details(row))


def raw_difference(row: Row) -> Control:
    """The difference of means, whatever its reason."""
    return _control(
        row, "raw", "difference", ("difference_low", "difference_high", "q"), "difference", "raw difference"
    )


def controls(row: Row) -> tuple[Control, ...]:
    """The three ways to look at it at equal length."""
    regression = "regression, ratio" if row["regression_scale"] == "log" else "regression"
    overlap = overlap_in_length(row["matched_pairs"] or 0, row["n_first"], row["n_second"])
    return (
        _control(row, "matched pairs", "matched_difference", _ends("matched"), "difference",
                 f"{row['matched_pairs'] or 0:,} matched pairs"),
        _control(row, "regression", "regression_effect", _ends("regression"), "raw_effect", regression, overlap),
        _control(row, "partial rank correlation", "partial_spearman", _ends("partial"), "spearman",
                 "partial Spearman", overlap),
    )  # fmt: skip


def _ends(name: str) -> tuple[str, str, str]:
    return f"{name}_low", f"{name}_high", f"{name}_q"


def _control(
    row: Row, name: str, effect: str, ends: tuple[str, str, str], raw: str, label: str, is_trusted: bool = True
) -> Control:
    low, high, q = ends
    is_log = label.endswith("ratio")
    return Control(name, label, row[effect], row[low], row[high], row[q], row[raw], is_log, is_trusted)


def _kind(raw: Control, at_equal_length: Sequence[Control]) -> str:
    if raw.found == "missing":
        return "missing"
    found = [control.found for control in at_equal_length if control.found != "missing"]
    signs = {each for each in found if each in _SIGNS}
    if raw.found not in _SIGNS:
        if not signs:
            return "none"
        return "hidden" if len({*found}) == 1 else "mixed"
    if not signs:
        return "length" if found and {*found} == {"absent"} else "unclear"
    if signs == {raw.found}:
        return "mixed" if "absent" in found else "partly" if "unclear" in found else "survives"
    return "mixed" if raw.found in signs else "reversed"


def _sentence(kind: str, row: Row) -> str:
    subject = title(row["measure"])
    subject = (
        subject[:1].upper() + subject[1:] + ("" if row["projection"] in ("mean", None) else f" of {row['projection']}")
    )
    first, second = row["first"], row["second"]
    if kind == "missing":
        return f"{subject}: no value in one of {first} and {second}, so nothing is compared."
    higher = f"{first} is {'higher' if row['difference'] > 0 else 'lower'} than {second}"
    raw = f"({number(row['mean_first'])} against {number(row['mean_second'])}, AUC {number(row['auc'], 2)})"
    without = f"no difference between {first} and {second} {raw}"
    said = {
        "survives": f"{higher} {raw}, and not by length alone: {_said(row)}",
        "partly": f"{higher} {raw}; at equal length {_said(row)}",
        "length": f"{higher} {raw}, but that is length: at equal length {_said(row)}",
        "reversed": f"{higher} {raw}, but at equal length the sign turns: {_said(row)}",
        "unclear": f"{higher} {raw}; at equal length these data do not decide: {_said(row)}",
        "mixed": f"{without if raw_difference(row).found not in _SIGNS else f'{higher} {raw}'}, and raw and controlled "
        f"disagree: at equal length {_said(row)}",
        "hidden": f"{without}, but length hides one: at equal length {_said(row)}",
        "none": f"{without}, and none at equal length",
    }[kind]
    return f"{subject}: {said}."


def _said(row: Row) -> str:
    """What each control finds, those that agree together: `regression and partial rank correlation find it again`."""
    raw = raw_difference(row)
    by_words: dict[str, list[str]] = {}
    for control in controls(row):
        by_words.setdefault(said_of(control, raw), []).append(control.name)
    found = [_clause(names, words) for words, names in by_words.items() if words]
    return ", ".join(found) or "nothing could be controlled"


def said_of(control: Control, raw: Control) -> str:
    """What a control finds, beside what is found raw; nothing where it could not be computed."""
    if control.found == "missing":
        return ""
    if control.found in _SIGNS:
        if raw.found not in _SIGNS:
            return f"find a {control.found} difference"
        return "find it again" if control.found == raw.found else "find the opposite"
    if raw.found not in _SIGNS and control.holds_zero:
        return "find none"
    return "find nothing left" if control.found == "absent" else "cannot say"


def _clause(names: Sequence[str], words: str) -> str:
    one = len(names) == 1 and not names[0].endswith("s")
    return f"{_joined(names)} {words.replace('find', 'finds', 1) if one else words}"


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _details(row: Row) -> str:
    texts = [control.text for control in controls(row) if control.found != "missing"]
    absent = [] if row["matched_pairs"] else ["no rows could be matched in length"]
    return "; ".join([*texts, *absent])


def title(measure: str) -> str:
    """A measure or metric in words."""
    return _TITLES.get(measure, measure if ":" in measure else measure.replace("_", " "))
