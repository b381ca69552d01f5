"""A raw difference, its length controls, and the rule for what each control finds.

The verdict rests on overlap weights with regression; matched pairs, and windows of equally many tokens where they were
measured, stand beside it and can contradict it. All are ratios of geometric means where the measure is one of sizes.

A control *finds* a difference where its interval excludes none and its p adjusted (BH) is below 0.05. It leaves
*little* where its whole interval lies within half of the raw effect, and no difference is found or what is lies within
the margin. It finds the groups *equal* where the whole interval lies within the margin, a factor of 1.10 unless given:
a test of equivalence. Otherwise it *cannot say*: the interval is too wide, or there is no common support in length
(`gradprism.stats.length_match`).

Regression on log lengths and partial rank correlation are of the table too. They extrapolate where the groups hardly
overlap, and decide nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gradprism.core.numbers import number, probability, ratio
from gradprism.stats.length_match import overlap_in_length, overlap_in_weights

ALPHA = 0.05
ADJUSTED_P = "p adjusted (BH)"  # the columns `q` of the tables, in words
LEFT = 0.5  # of the raw effect: a control whose interval lies within it leaves little
MARGIN = 1.10  # the factor within which two groups are equal
Row = Mapping[str, Any]
Found = Literal["positive", "negative", "little", "equal", "unclear", "missing"]
SIGNS = ("positive", "negative")


@dataclass(frozen=True)
class Control:
    """An estimate of a difference, raw or length-controlled, beside the raw effect on the same scale."""

    name: str
    label: str  # the name with its number of rows or pairs, where it has any
    effect: float | None
    low: float | None
    high: float | None
    q: float | None  # p adjusted (BH)
    raw: float | None
    is_ratio: bool  # a difference of logs, shown as a factor
    extrapolates: bool = False  # no common support: the groups hardly overlap in length
    margin: float = math.log(MARGIN)
    rows: str = ""  # rows of both groups, or pairs, that it is of

    @property
    def found(self) -> Found:
        """Return what it finds, by the rule of this module."""
        if self.effect is None or self.low is None or self.high is None or self.q is None or self.raw is None:
            return "missing"
        if self.extrapolates:
            return "unclear"
        is_found = self.q < ALPHA and not self.holds_zero
        if self.is_little and (self.is_within_margin or not is_found):
            return "little"
        if is_found:
            return "positive" if self.effect > 0 else "negative"
        return "equal" if self.is_within_margin else "unclear"

    @property
    def is_little(self) -> bool:
        """True where the whole interval of a length control lies within half of the raw effect."""
        ends = (self.low, self.high)
        is_control = self.name not in ("raw", "paired")
        return is_control and all(end is not None and abs(end) <= LEFT * abs(self.raw or 0) for end in ends)

    @property
    def is_within_margin(self) -> bool:
        """True where the whole interval lies within the margin: a test of equivalence, for ratios alone."""
        ends = (self.low, self.high)
        return self.is_ratio and all(end is not None and abs(end) <= self.margin for end in ends)

    @property
    def has_support(self) -> bool:
        """True where it could be computed, and the groups have common support in length."""
        return self.found != "missing" and not self.extrapolates

    @property
    def holds_zero(self) -> bool:
        """True where no difference lies in the interval."""
        return self.low is not None and self.high is not None and self.low <= 0 <= self.high

    @property
    def estimate(self) -> str:
        """The estimate in words: a number, or a factor such as ×1.65."""
        return self._shown(self.effect)

    @property
    def interval(self) -> str:
        """The interval in words."""
        return "–" if self.low is None else f"[{self._shown(self.low)}, {self._shown(self.high)}]"

    @property
    def text(self) -> str:
        """Label, estimate, interval and p adjusted (BH), on one line."""
        doubt = ", no common support" if self.extrapolates else ""
        return f"{self.label} {self.estimate} {self.interval}, {ADJUSTED_P} {probability(self.q)}{doubt}"

    def _shown(self, value: float | None) -> str:
        if not self.is_ratio or value is None:
            return number(value)
        return f"×{ratio(math.exp(value))}"


def raw_difference(row: Row, margin: float = MARGIN) -> Control:
    """Return the raw effect of one row of the table EFFECTS."""
    effect, low, high = (row[f"raw_effect{end}"] for end in ("", "_low", "_high"))
    is_ratio, rows = row["regression_scale"] == "log", f"{row['n_first']:,} + {row['n_second']:,}"
    if is_paired(row):
        label = f"{row['paired_rows']:,} paired rows"
        return Control("paired", label, effect, low, high, row["q"], effect, is_ratio, margin=math.log(margin),
                       rows=f"{row['paired_rows']:,}")  # fmt: skip
    return Control("raw", "raw", effect, low, high, row["q"], effect, is_ratio, margin=math.log(margin), rows=rows)


def is_paired(row: Row) -> bool:
    """Return whether a row of EFFECTS is of the same rows on both sides, whose lengths are the same."""
    return row.get("paired_rows") is not None


def weighted_control(row: Row, margin: float = MARGIN) -> Control:
    """Return the control on which the verdict rests, overlap weights with regression, of a row of EFFECTS."""
    sizes = row["weighted_n_first"], row["weighted_n_second"]
    one, other = (number_of_rows(size) for size in sizes)
    label = "overlap weights" if None in sizes else f"overlap weights, {one} and {other} effective rows"
    supported = overlap_in_weights(*sizes, row["weighted_imbalance"])
    return _control(row, "weighted", "overlap weights", label, f"{one} + {other}", not supported, margin)


def controls(row: Row, margin: float = MARGIN) -> tuple[Control, ...]:
    """Return the length controls that a verdict is made of, of one row of the table EFFECTS; the first decides.

    Paired rows have the same lengths on both sides: the paired effect is its own control.
    """
    if is_paired(row):
        return (raw_difference(row, margin),)
    pairs = row["matched_pairs"] or 0
    found = [
        weighted_control(row, margin),
        _control(row, "matched", "matched pairs", f"{pairs:,} matched pairs", f"{pairs:,}", False, margin),
    ]
    if row.get("window_effect") is not None:
        label = f"first {row['window_tokens']:,} tokens, {row['window_n_first']:,} and {row['window_n_second']:,} rows"
        rows = f"{row['window_n_first']:,} + {row['window_n_second']:,}"
        found.append(_control(row, "window", "windows", label, rows, False, margin))
    return tuple(found)


def deciding_control(length_controls: Sequence[Control]) -> Control:
    """Return overlap weights; windows where the groups lack common support and windows were measured."""
    weighted, *others = length_controls
    windows = [each for each in others if each.name == "windows" and each.found != "missing"]
    return windows[0] if windows and not weighted.has_support else weighted


def further_controls(row: Row) -> tuple[Control, ...]:
    """Return regression on log lengths and partial rank correlation, which decide nothing; neither of paired rows."""
    if is_paired(row):
        return ()
    no_overlap = not overlap_in_length(row["matched_pairs"] or 0, row["n_first"], row["n_second"])
    ends = (row["partial_low"], row["partial_high"], row["partial_q"])
    return (
        _control(row, "regression", "regression", "regression", "", no_overlap, MARGIN),
        Control("partial Spearman", "partial Spearman", row["partial_spearman"], *ends, row["spearman"], False,
                no_overlap),
    )  # fmt: skip


def _control(row: Row, kind: str, name: str, label: str, rows: str, extrapolates: bool, margin: float) -> Control:
    effect, low, high, q = (row[f"{kind}_{end}"] for end in ("effect", "low", "high", "q"))
    is_ratio = row["regression_scale"] == "log"
    return Control(name, label, effect, low, high, q, row["raw_effect"], is_ratio, extrapolates, math.log(margin), rows)


def number_of_rows(effective: float | None) -> str:
    """Return an effective sample size as a whole number; below one it says so."""
    return "–" if effective is None else "<1" if effective < 1 else f"{effective:,.0f}"


def too_few(row: Row) -> bool:
    """Return whether the rows have so few relabellings that no permutation test could reach `ALPHA`."""
    if is_paired(row):
        return bool(2 ** row["paired_rows"] < 2 / ALPHA)
    return math.comb(row["n_first"] + row["n_second"], row["n_first"]) < 2 / ALPHA
