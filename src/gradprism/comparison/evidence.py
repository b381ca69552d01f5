"""What a difference is by itself, and what each control of length makes of it.

A control *finds* a difference where its interval excludes zero and its p, after Benjamini-Hochberg, is below 0.05. It
finds *little left* where the whole interval lies within half of the raw figure. Otherwise it *cannot say*: too few
rows; or it extrapolates, where the groups hardly overlap in length (fewer pairs match than a quarter of the smaller
group). There regression rests on its line and partial rank correlation leaves some of length itself (of length alone,
27-fold apart, 0.1 in nearly every simulation), so neither is evidence for or against.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gradprism.core.numbers import number, probability
from gradprism.stats.length_match import overlap_in_length

ALPHA = 0.05
LEFT = 0.5  # of the raw figure: an interval within it leaves little
Row = Mapping[str, Any]
Found = Literal["positive", "negative", "little", "unclear", "missing"]
SIGNS = ("positive", "negative")


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
    is_ratio: bool  # of logs: shown as a factor
    extrapolates: bool = False

    @property
    def found(self) -> Found:
        """Whether it finds a difference; if not, whether it leaves little of the raw one or cannot say."""
        if self.effect is None or self.low is None or self.high is None or self.q is None or self.raw is None:
            return "missing"
        if self.extrapolates:
            return "unclear"
        if self.q < ALPHA and not self.holds_zero:
            return "positive" if self.effect > 0 else "negative"
        return "little" if max(abs(self.low), abs(self.high)) <= LEFT * abs(self.raw) else "unclear"

    @property
    def holds_zero(self) -> bool:
        """Whether zero lies in the interval."""
        return self.low is not None and self.high is not None and self.low <= 0 <= self.high

    @property
    def estimate(self) -> str:
        """As people read it."""
        return self._shown(self.effect)

    @property
    def interval(self) -> str:
        """The same of its ends."""
        return "–" if self.low is None else f"[{self._shown(self.low)}, {self._shown(self.high)}]"

    @property
    def text(self) -> str:
        """Label, estimate, interval, q, and the raw figure."""
        doubt = ", extrapolates" if self.extrapolates else ""
        raw = self._shown(self.raw)
        return f"{self.label} {self.estimate} {self.interval}, q {probability(self.q)}{doubt} (raw {raw})"

    def _shown(self, value: float | None) -> str:
        if not self.is_ratio or value is None:
            return number(value)
        return f"×{number(math.exp(value))}"


def raw_difference(row: Row) -> Control:
    """The difference of means, whatever its reason, of one row of the table EFFECTS."""
    difference = row["difference"]
    ends = row["difference_low"], row["difference_high"]
    return Control("raw", "raw difference", difference, *ends, row["q"], difference, False)


def controls(row: Row) -> tuple[Control, ...]:
    """Three ways to look at it at equal length."""
    pairs, is_ratio = row["matched_pairs"] or 0, row["regression_scale"] == "log"
    outside = not overlap_in_length(pairs, row["n_first"], row["n_second"])

    def control(name: str, label: str, kind: str, effect: str, raw: str) -> Control:
        low, high, q = (row[f"{kind}_{end}"] for end in ("low", "high", "q"))
        far = outside and kind != "matched"
        return Control(name, label, row[effect], low, high, q, row[raw], is_ratio and kind != "partial", far)

    return (
        control("matched pairs", f"{pairs:,} matched pairs", "matched", "matched_effect", "raw_effect"),
        control("regression", "regression", "regression", "regression_effect", "raw_effect"),
        control("partial rank correlation", "partial Spearman", "partial", "partial_spearman", "spearman"),
    )


def too_few(row: Row) -> bool:
    """Whether there are so few relabellings of the rows that no permutation test could reach `ALPHA`."""
    return math.comb(row["n_first"] + row["n_second"], row["n_first"]) < 2 / ALPHA
