"""Judge a claim: what each comparison of a study shows of it, and the verdict over all comparisons.

A claim on a measure expects a sign of first - second. In each comparison it is *shown*, *opposite* or *not shown* raw,
by the interval and adjusted p of the difference of means; and length-controlled (column `held`), by
`comparison.findings`, by overlap weights: shown, opposite, *length* (little of it is left, or the groups are equal),
*not shown* (equal, as raw) or *undecided*. A text whose
gradients all have equally many tokens is a length control by itself: there `raw` is length-controlled too.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.findings import finding, margin_of
from gradprism.comparison.length_controls import (
    LEFT,
    SIGNS,
    Row,
    controls,
    deciding_control,
    raw_difference,
    weighted_control,
)
from gradprism.prism.measures import MEAN
from gradprism.study.settings import Claim, StudyRecipe, matching
from gradprism.study.steps import comparison_name

Shown = Literal["shown", "opposite", "not shown", "length", "undecided"]
Verdict = Literal[
    "holds", "fails", "fails, by length", "is not shown", "is explained by length",
    "turns around with length controlled", "does not hold with length controlled", "depends on the length control",
    "is not decided with length controlled", "was not tested",
]  # fmt: skip
Kind = Literal["effects", "separation", "cosines", "curves", "changes"]
_KINDS: dict[str, Kind] = {
    "regression_scale": "effects", "held_difference": "separation", "median_abs": "cosines",
    "below_same_model": "curves", "first_low": "changes",
}  # fmt: skip
"""Kinds of claim tables by a column that only they have."""
_HALF = 0.5


@dataclass(frozen=True)
class Compared:
    """A comparison, by the model, text and contrast of the study."""

    model: str
    text: str
    contrast: str
    comparison: Comparison

    @property
    def name(self) -> str:
        """Name of the step that made it."""
        return comparison_name(self.model, self.text, self.contrast)

    @property
    def keys(self) -> dict[str, str]:
        """First columns of every table with a row for this comparison."""
        return {"model": self.model, "text": self.text, "contrast": self.contrast}


def table_kind(table: pl.DataFrame) -> Kind | None:
    """Return the kind of a claim's table; None of one without rows."""
    return next((kind for column, kind in _KINDS.items() if column in table.columns), None)


def claim_table(claim: Claim, recipe: StudyRecipe, compared: Iterable[Compared]) -> pl.DataFrame:
    """Return a row for each model, text, contrast and projection, with what it shows of the claim, `raw` and `held`.

    `held` is length-controlled, and `support` whether the overlap weights have common support; the projection `mean` is
    the one that counts. The other columns are those of the table EFFECTS, means over layers; or of MAD.
    """
    names = {name for name, _ in matching(recipe.all_contrasts, claim.contrasts)}
    rows = [row for each in compared if each.contrast in names for row in _claim_rows(claim, each)]
    return pl.DataFrame(rows, infer_schema_length=None)


def _claim_rows(claim: Claim, each: Compared) -> list[dict[str, Any]]:
    if claim.measure.startswith("mad:"):
        return [each.keys | row for row in _mad_rows(claim, each.comparison)]
    found = each.comparison.effects.filter(pl.col("layer").is_null(), measure=claim.measure)
    margin = margin_of(each.comparison.about)
    return [each.keys | row | _judged_row(claim, row, margin) for row in found.iter_rows(named=True)]


def _judged_row(claim: Claim, row: Row, margin: float) -> dict[str, Any]:
    sign = "positive" if claim.expect == "higher" else "negative"
    raw = raw_difference(row).found
    kind = finding(row, margin=margin).kind
    held = "undecided"
    if kind in ("length", "equal"):
        held = "length" if raw in SIGNS else "not shown"
    if kind in ("survives", "reversed", "hidden"):
        held = "shown" if deciding_control(controls(row, margin)).found == sign else "opposite"
    said = "not shown" if raw not in SIGNS else "shown" if raw == sign else "opposite"
    return {"raw": said, "held": held, "support": weighted_control(row).has_support}


def is_of_ratios(effects: pl.DataFrame) -> bool:
    """Return whether the effects of a claim's table are ratios, as differences of logs; differences otherwise."""
    return bool((effects["regression_scale"] == "log").all())


def means(table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that count: the mean over projections, where there are several."""
    return table.filter(projection=MEAN) if "projection" in table.columns else table


def with_cuts_decided(table: pl.DataFrame, whole: str, cuts: Collection[str]) -> pl.DataFrame:
    """Replace *not shown* in `raw` of the texts `cuts`, which cut responses, by *length* or *undecided*.

    It is length where the whole interval lies within half of what the same contrast shows in the text `whole`: failing
    to show a difference says nothing by itself.
    """
    if "raw" not in table.columns:
        return table
    is_open = pl.col("text").is_in([*cuts]) & (pl.col("raw") == "not shown")
    effect = next((name for name in ("raw_effect", "difference") if name in table.columns), None)
    if effect is None:
        return table.with_columns(pl.when(is_open).then(pl.lit("undecided")).otherwise("raw").alias("raw"))
    keys = [name for name in ("model", "contrast", "projection") if name in table.columns]
    before = table.filter(text=whole).select(*keys, pl.col(effect).abs().fill_nan(None).alias("before"))
    reach = pl.max_horizontal(pl.col(f"{effect}_low").abs(), pl.col(f"{effect}_high").abs())
    little = (reach <= LEFT * pl.col("before")).fill_null(False)
    decided = pl.when(little).then(pl.lit("length")).otherwise(pl.lit("undecided"))
    joined = table.join(before, on=keys, how="left", maintain_order="left")
    return joined.with_columns(pl.when(is_open).then(decided).otherwise("raw").alias("raw")).drop("before")


def _mad_rows(claim: Claim, comparison: Comparison) -> list[dict[str, Any]]:
    """Return the rows of a claim on MAD: shown where the intervals of both groups do not meet; no length control."""
    measure = claim.measure.removeprefix("mad:")
    mads = {row["group"]: row for row in comparison.mad.filter(measure=measure, projection=MEAN).iter_rows(named=True)}
    rows = []
    for first, second in comparison.contrasts:
        if first not in mads or second not in mads:  # of one layer nothing changes
            continue
        one, other = mads[first], mads[second]
        ends = [one["mad_low"], one["mad_high"], other["mad_low"], other["mad_high"]]
        raw = "not shown"
        if None not in ends:
            below, above = ends[1] < ends[2], ends[0] > ends[3]
            raw = "shown" if (below if claim.expect == "lower" else above) else "opposite" if below or above else raw
        rows.append(
            {"first": first, "second": second, "measure": claim.measure, "projection": MEAN,
             "mean_first": one["mad"], "first_low": one["mad_low"], "first_high": one["mad_high"],
             "mean_second": other["mad"], "second_low": other["mad_low"], "second_high": other["mad_high"],
             "raw": raw, "held": "undecided"}
        )  # fmt: skip
    return rows


@dataclass(frozen=True)
class Count:
    """Number of comparisons by what they show."""

    shown: int = 0
    opposite: int = 0
    not_shown: int = 0
    length: int = 0
    undecided: int = 0

    @property
    def all(self) -> int:
        """Number of comparisons."""
        return self.decided + self.undecided

    @property
    def decided(self) -> int:
        """Number of comparisons that are not undecided."""
        return self.shown + self.opposite + self.not_shown + self.length


def count(values: Iterable[str]) -> Count:
    """Count the comparisons that show each thing."""
    found = [value.replace(" ", "_") for value in values]
    return Count(**{name: found.count(name) for name in ("shown", "opposite", "not_shown", "length", "undecided")})


def verdict(raw: Count, controls: Iterable[Count]) -> Verdict:
    """Return the verdict from the counts of the first text, and those of each length control on the same comparisons.

    Length controls are those within the first text, and each text whose gradients all have equally many tokens. What
    more than half of the comparisons show, the claim or its opposite, is *kept* by a control if more than half of all
    show it there too, and *lost* if at least half are decided otherwise: to length or to the other side, if more than
    half of what is decided is that, or to both. A control that does neither is left aside. The page of a study ends
    with the table of verdicts (`page._RULES`).
    """
    plain = raw_verdict(raw)
    if plain not in ("holds", "fails"):
        return plain
    shown = plain == "holds"
    left = {found for each in controls if (found := _left_by(each, shown))}
    if not left:
        return "is not decided with length controlled"
    if left == {"kept"}:
        return plain
    if left == {"length"}:
        return "is explained by length" if shown else "fails, by length"
    if left == {"other"}:
        return "turns around with length controlled"
    return "depends on the length control" if "kept" in left or not shown else "does not hold with length controlled"


def decides(control: Count, raw: Count) -> bool:
    """Return whether a control keeps or loses what is shown raw; what was not compared there is undecided."""
    return _left_by(control, majority(raw) != "opposite") is not None


def _left_by(control: Count, shown: bool) -> Literal["kept", "length", "other", "mixed"] | None:
    """Return what a control leaves of what is shown, or of its opposite; None where too little is decided to say."""
    side, other = (control.shown, control.opposite) if shown else (control.opposite, control.shown)
    if side > _HALF * control.all:
        return "kept"
    lost = control.decided - side
    if not lost or lost < _HALF * control.all:
        return None
    half = _HALF * control.decided
    return "length" if control.length > half else "other" if other > half else "mixed"


def majority(raw: Count) -> Shown | None:
    """Return what more than half of the comparisons show: the claim, its opposite, or neither (None)."""
    return "shown" if raw.shown > _HALF * raw.all else "opposite" if raw.opposite > _HALF * raw.all else None


def raw_verdict(raw: Count) -> Verdict:
    """Return the verdict on a claim without length controls."""
    if not raw.all:
        return "was not tested"
    found = majority(raw)
    return "holds" if found == "shown" else "fails" if found == "opposite" else "is not shown"


@dataclass(frozen=True)
class Pooled:
    """Mean over several contrasts of one model, each with the same weight.

    Its interval holds for these contrasts, not for others. Its standard error is the mean of theirs, the largest that
    it can be, since contrasts may share sets.
    """

    n: int  # contrasts
    value: float
    low: float
    high: float


def pooled_ratio(table: pl.DataFrame, effect: str, ends: str) -> Pooled | None:
    """Return the geometric mean of ratios whose logs are the column `effect`; its interval is `ends`_low, _high."""
    found = pooled(table, effect, ends)
    return found and Pooled(found.n, math.exp(found.value), math.exp(found.low), math.exp(found.high))


def pooled(table: pl.DataFrame, effect: str, ends: str) -> Pooled | None:
    """Return the mean over the rows that have the column `effect` and its interval; None where no row has."""
    low, high = f"{ends}_low", f"{ends}_high"
    found = table.select(effect, low, high).drop_nulls().drop_nans()
    if found.is_empty():
        return None
    mean, reach = float(found[effect].to_numpy().mean()), float((found[high] - found[low]).to_numpy().mean() / 2)
    return Pooled(found.height, mean, mean - reach, mean + reach)
