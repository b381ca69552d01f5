"""Average a claim's numbers for each model: raw, and under each length control."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from gradprism.core.markdown import with_interval
from gradprism.core.numbers import number
from gradprism.metrics.titles import title
from gradprism.study.claims import Pooled, is_of_ratios, means, pooled, pooled_ratio, table_kind
from gradprism.study.result import CONTROLLED, RAW, JudgedClaim


@dataclass(frozen=True)
class Average:
    """A number with its 95% interval, in words."""

    model: str
    column: str
    """RAW, CONTROLLED, or a text that cuts responses."""
    value: str
    contrasts: int | None = None
    """Number of contrasts that it is the mean of."""


def averages(each: JudgedClaim, whole: str) -> Iterator[Average]:
    """Yield the averages of a claim, means over projections; `whole` is the text that controls no length."""
    table = means(each.table)
    kind = table_kind(table)
    if kind is None:
        return
    for (model, text), rows in table.group_by("model", "text", maintain_order=True):
        if text == whole or text in each.cut:
            yield from _KINDS[kind](rows, str(model), RAW if text == whole else str(text))


def _effects(rows: pl.DataFrame, model: str, column: str) -> Iterator[Average]:
    """Yield ratios of geometric means; those of controls over the contrasts that have common support in length.

    Of a measure that is compared by differences they are differences.
    """
    pool, sign = (pooled_ratio, "×") if is_of_ratios(rows) else (pooled, "")
    if found := pool(rows, "raw_effect", "raw_effect"):
        yield Average(model, column, f"{sign}{_pooled_in_words(found)}", found.n)
    if column == RAW:
        for name, ends in (("weights", "weighted"), ("pairs", "matched")):
            if found := pool(rows.filter("support"), f"{ends}_effect", ends):
                yield Average(model, CONTROLLED, f"{name} {sign}{_pooled_in_words(found)}", found.n)


def _separations(rows: pl.DataFrame, model: str, column: str) -> Iterator[Average]:
    if found := pooled(rows, "difference", "difference"):
        yield Average(model, column, _pooled_in_words(found), found.n)
    held = rows.filter(~pl.col("held_extrapolates"))
    if column == RAW and (found := pooled(held, "held_difference", "held_difference")):
        yield Average(model, CONTROLLED, _pooled_in_words(found), found.n)


def _cosines(rows: pl.DataFrame, model: str, column: str) -> Iterator[Average]:
    """Yield the largest median and the largest 95% point over sets and pairs."""
    largest = (rows.sort(name).row(-1, named=True) for name in ("median_abs", "q95_abs"))
    median, point = (with_interval(row, name) for row, name in zip(largest, ("median_abs", "q95_abs"), strict=True))
    yield Average(model, column, f"at most {median}, 95% of sizes below {point}")


def _curves(rows: pl.DataFrame, model: str, column: str) -> Iterator[Average]:
    for row in rows.iter_rows(named=True):
        below = with_interval(row, "below_same_model", "below")
        yield Average(model, column, f"{title(row['measure'])} {with_interval(row, 'median')}, below by {below}")


def _changes(rows: pl.DataFrame, model: str, column: str) -> Iterator[Average]:
    for row in rows.iter_rows(named=True):
        first, second = (with_interval(row, f"mean_{one}", one) for one in ("first", "second"))
        yield Average(model, column, f"{row['contrast']}: {first} against {second}")


_KINDS = {"effects": _effects, "separation": _separations, "cosines": _cosines, "curves": _curves, "changes": _changes}


def _pooled_in_words(found: Pooled) -> str:
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"
