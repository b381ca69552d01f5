"""What each comparison of a study shows of a claim, and the verdict over all of them.

A claim on a measure expects a sign of first - second. Of each comparison it is *shown*, *opposite* or *not shown* raw,
by the interval and q of the difference of means; and again at equal length, by `analysis.findings`: shown, opposite,
*length* (all controls leave little of it) or *undecided*. A text whose gradients are all of equally many tokens is a
control of length by itself: there `raw` says what is shown at equal length.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from gradprism.comparison.cohort import MEAN
from gradprism.comparison.comparison import Comparison
from gradprism.comparison.evidence import LEFT, SIGNS, Row, controls, raw_difference
from gradprism.comparison.findings import finding
from gradprism.stats.length_match import overlap_in_length
from gradprism.study.settings import Claim, StudyRecipe, chosen
from gradprism.study.steps import comparison_name

Shown = Literal["shown", "opposite", "not shown", "length", "undecided"]
Verdict = Literal[
    "holds", "fails", "fails, by length", "is not shown", "is explained by length", "turns around at equal length",
    "does not hold at equal length", "depends on the control of length", "is not decided at equal length",
    "was not tested",
]  # fmt: skip
_MOST = 0.5


@dataclass(frozen=True)
class Compared:
    """A comparison, and where in the study it stands."""

    model: str
    text: str
    contrast: str
    comparison: Comparison

    @property
    def name(self) -> str:
        """Of the step that made it."""
        return comparison_name(self.model, self.text, self.contrast)


def claim_table(claim: Claim, recipe: StudyRecipe, compared: Iterable[Compared]) -> pl.DataFrame:
    """A row a model, text, contrast and projection (`mean` is what counts), and what it shows of the claim: `raw`, and
    `held` at equal length.

    The other columns are those of EFFECTS, of means over layers; or of MAD.
    """
    names = {name for name, _ in chosen(recipe.all_contrasts, claim.contrasts)}
    rows = [row for each in compared if each.contrast in names for row in _rows(claim, each)]
    return pl.DataFrame(rows, infer_schema_length=None)


def _rows(claim: Claim, each: Compared) -> list[dict[str, Any]]:
    where = {"model": each.model, "text": each.text, "contrast": each.contrast}
    if claim.measure.startswith("mad:"):
        return [where | row for row in _mad_rows(claim, each.comparison)]
    found = each.comparison.effects.filter(pl.col("layer").is_null(), measure=claim.measure)
    return [where | row | _judged(claim, row) for row in found.iter_rows(named=True)]


def _judged(claim: Claim, row: Row) -> dict[str, Any]:
    sign = "positive" if claim.expect == "higher" else "negative"
    raw = raw_difference(row).found
    kind = finding(row).kind
    found = {control.found for control in controls(row)} & {*SIGNS}
    held = "length" if kind == "length" else "undecided"
    if kind in ("survives", "partly", "reversed", "hidden"):
        held = "shown" if found == {sign} else "opposite"
    overlap = overlap_in_length(row["matched_pairs"] or 0, row["n_first"], row["n_second"])
    said = "not shown" if raw not in SIGNS else "shown" if raw == sign else "opposite"
    return {"raw": said, "held": held, "overlap": overlap}


def means(table: pl.DataFrame) -> pl.DataFrame:
    """What counts of a claim: the mean over projections, where there are several."""
    return table.filter(projection=MEAN) if "projection" in table.columns else table


def with_cuts_decided(table: pl.DataFrame, whole: str, cuts: Collection[str]) -> pl.DataFrame:
    """`raw` of the texts `cuts`, which cut responses: what is not shown there is *length* or *undecided*.

    It is length where the whole interval lies within half of what the same contrast shows in the text `whole`: that no
    difference can be shown says nothing by itself.
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
    """MAD has an interval for each group: shown where the two do not meet. Nothing holds its length."""
    measure = claim.measure.removeprefix("mad:")
    mads = {
        row["group"]: row for row in comparison.mad.filter(measure=measure, projection="mean").iter_rows(named=True)
    }
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
            {"first": first, "second": second, "measure": claim.measure, "projection": "mean",
             "mean_first": one["mad"], "first_low": one["mad_low"], "first_high": one["mad_high"],
             "mean_second": other["mad"], "second_low": other["mad_low"], "second_high": other["mad_high"],
             "raw": raw, "held": "undecided"}
        )  # fmt: skip
    return rows


@dataclass(frozen=True)
class Count:
    """Of how many comparisons something is shown."""

    shown: int = 0
    opposite: int = 0
    not_shown: int = 0
    length: int = 0
    undecided: int = 0

    @property
    def all(self) -> int:
        """How many there are."""
        return self.decided + self.undecided

    @property
    def decided(self) -> int:
        """How many of them say anything."""
        return self.shown + self.opposite + self.not_shown + self.length


def count(values: Iterable[str]) -> Count:
    """Count each word."""
    found = [value.replace(" ", "_") for value in values]
    return Count(**{name: found.count(name) for name in ("shown", "opposite", "not_shown", "length", "undecided")})


def verdict(raw: Count, controls: Iterable[Count]) -> Verdict:
    """Of the counts of the first text, and of each control on the same comparisons.

    Controls are equal length within the first text, and each text whose gradients are all of equally many tokens. What
    more than half of the comparisons show, the claim or its opposite, is *kept* by a control if more than half of all
    show it there too, and *lost* if at least half are decided otherwise: to length or to the other side, if more than
    half of what is decided is that, or to both. A control that does neither does not decide, and is left aside.

    ========================================  =============================  ================================
    the controls                              of a claim that is shown       of one whose opposite is shown
    ========================================  =============================  ================================
    none decides                              is not decided                 is not decided
    all keep it                               holds                          fails
    some keep it                              depends on the control         depends on the control
    all lose it to length                     is explained by length         fails, by length
    all lose it to the other side             turns around                   turns around
    all lose it, in one way and another       does not hold                  depends on the control
    ========================================  =============================  ================================
    """
    plain = verdict_as_it_is(raw)
    if plain not in ("holds", "fails"):
        return plain
    shown = plain == "holds"
    left = {found for each in controls if (found := _left(each, shown))}
    if not left:
        return "is not decided at equal length"
    if left == {"kept"}:
        return plain
    if left == {"length"}:
        return "is explained by length" if shown else "fails, by length"
    if left == {"other"}:
        return "turns around at equal length"
    return "depends on the control of length" if "kept" in left or not shown else "does not hold at equal length"


def decides(control: Count, raw: Count) -> bool:
    """Whether a control keeps or loses what is shown as it is; what was not compared there is undecided."""
    return _left(control, majority(raw) != "opposite") is not None


def _left(control: Count, shown: bool) -> Literal["kept", "length", "other", "mixed"] | None:
    """What a control leaves of what is shown, or of its opposite; None where too little is decided to say."""
    side, other = (control.shown, control.opposite) if shown else (control.opposite, control.shown)
    if side > _MOST * control.all:
        return "kept"
    lost = control.decided - side
    if not lost or lost < _MOST * control.all:
        return None
    half = _MOST * control.decided
    return "length" if control.length > half else "other" if other > half else "mixed"


def majority(raw: Count) -> Shown | None:
    """What more than half of the comparisons show: the claim, its opposite, or neither."""
    return "shown" if raw.shown > _MOST * raw.all else "opposite" if raw.opposite > _MOST * raw.all else None


def verdict_as_it_is(raw: Count) -> Verdict:
    """Of a claim that no length stands behind."""
    if not raw.all:
        return "was not tested"
    found = majority(raw)
    return "holds" if found == "shown" else "fails" if found == "opposite" else "is not shown"


@dataclass(frozen=True)
class Pooled:
    """Mean over several contrasts of one model, each with the same weight.

    Its interval is of these contrasts, not of others. Its standard error is the mean of theirs, which is as large as it
    can be, since contrasts may share sets.
    """

    n: int  # contrasts
    value: float
    low: float
    high: float


def pooled_ratio(table: pl.DataFrame, effect: str, ends: str) -> Pooled | None:
    """Geometric mean of the ratios whose logs are EFFECTS' column `effect`, with the interval `ends`_low and _high."""
    if effect not in table.columns:
        return None
    found = pooled(table.filter(regression_scale="log"), effect, ends)
    if found is None:
        return None
    return Pooled(found.n, math.exp(found.value), math.exp(found.low), math.exp(found.high))


def pooled(table: pl.DataFrame, effect: str, ends: str) -> Pooled | None:
    """Of the rows that have the column `effect` and its interval; None where no row has."""
    low, high = f"{ends}_low", f"{ends}_high"
    found = table.select(effect, low, high).drop_nulls().drop_nans()
    if found.is_empty():
        return None
    mean, reach = float(found[effect].to_numpy().mean()), float((found[high] - found[low]).to_numpy().mean() / 2)
    return Pooled(found.height, mean, mean - reach, mean + reach)
