"""A raw difference, its three length controls, and the rule for what each control finds.

A control *finds* a difference where its interval excludes zero and its p adjusted (BH) is below 0.05. It finds *little
left* where the whole interval lies within half of the raw figure. Otherwise it *cannot say*: too few rows, or no common
support, where the groups hardly overlap in length (fewer pairs match than a quarter of the smaller group). There
regression extrapolates and partial rank correlation leaves some of length itself (of length alone, 27-fold apart, 0.1
in nearly every simulation), so neither speaks for or against a difference.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gradprism.core.numbers import number, probability
from gradprism.stats.length_match import overlap_in_length

ALPHA = 0.05
ADJUSTED_P = "p adjusted (BH)"  # the columns `q` of the tables, in words
LEFT = 0.5  # of the raw figure: a control whose interval lies within it leaves little
Row = Mapping[str, Any]
Found = Literal["positive", "negative", "little", "unclear", "missing"]
SIGNS = ("positive", "negative")


@dataclass(frozen=True)
class Control:
    """An estimate of a difference, raw or length-controlled, beside the raw figure on the same scale."""

    name: str
    label: str  # the name with its number of pairs, where it has any
    effect: float | None
    low: float | None
    high: float | None
    q: float | None  # p adjusted (BH)
    raw: float | None
    is_ratio: bool  # a difference of logs, shown as a factor
    extrapolates: bool = False  # no common support: the groups hardly overlap in length

    @property
    def found(self) -> Found:
        """The sign of the difference that it finds; else that it leaves little of the raw one, or cannot say."""
        if self.effect is None or self.low is None or self.high is None or self.q is None or self.raw is None:
            return "missing"
        if self.extrapolates:
            return "unclear"
        if self.q < ALPHA and not self.holds_zero:
            return "positive" if self.effect > 0 else "negative"
        return "little" if max(abs(self.low), abs(self.high)) <= LEFT * abs(self.raw) else "unclear"

    @property
    def holds_zero(self) -> bool:
        """True where zero lies in the interval."""
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
        """Label, estimate, interval, p adjusted (BH), and the raw figure, on one line."""
        doubt = ", no common support" if self.extrapolates else ""
        raw = self._shown(self.raw)
        return f"{self.label} {self.estimate} {self.interval}, {ADJUSTED_P} {probability(self.q)}{doubt} (raw {raw})"

    def _shown(self, value: float | None) -> str:
        if not self.is_ratio or value is None:
            return number(value)
        return f"×{number(math.exp(value))}"


def raw_difference(row: Row) -> Control:
    """Return the difference of means of one row of the table EFFECTS, whatever its reason."""
    difference = row["difference"]
    ends = row["difference_low"], row["difference_high"]
    return Control("raw", "raw difference", difference, *ends, row["q"], difference, False)


def controls(row: Row) -> tuple[Control, ...]:
    """Return the three length controls of one row of the table EFFECTS."""
    pairs, is_ratio = row["matched_pairs"] or 0, row["regression_scale"] == "log"
    no_overlap = not overlap_in_length(pairs, row["n_first"], row["n_second"])

    def control(name: str, label: str, kind: str, effect: str, raw: str) -> Control:
        low, high, q = (row[f"{kind}_{end}"] for end in ("low", "high", "q"))
        extrapolates = no_overlap and kind != "matched"
        return Control(name, label, row[effect], low, high, q, row[raw], is_ratio and kind != "partial", extrapolates)

    return (
        control("matched pairs", f"{pairs:,} matched pairs", "matched", "matched_effect", "raw_effect"),
        control("regression", "regression", "regression", "regression_effect", "raw_effect"),
        control("partial rank correlation", "partial Spearman", "partial", "partial_spearman", "spearman"),
    )


def too_few(row: Row) -> bool:
    """Return whether the rows have so few relabellings that no permutation test could reach `ALPHA`."""
    return math.comb(row["n_first"] + row["n_second"], row["n_first"]) < 2 / ALPHA
