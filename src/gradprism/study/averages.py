"""By how much a claim holds: for each model, as it is and under each control of length."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from gradprism.core.markdown import with_interval
from gradprism.core.numbers import number
from gradprism.metrics.titles import title
from gradprism.study.claims import Pooled, means, pooled, pooled_ratio
from gradprism.study.outcome import HELD, RAW, Judged


@dataclass(frozen=True)
class Average:
    """A number with its 95% interval, in words."""

    model: str
    column: str
    """RAW, HELD, or a text that cuts responses."""
    value: str
    contrasts: int | None = None
    """Over how many it is the mean."""


def averages(each: Judged, whole: str) -> Iterator[Average]:
    """Of the means over projections. `whole` is the text that holds no length."""
    table = means(each.table)
    kinds = {"regression_scale": _ratios, "held_difference": _separations, "median_abs": _cosines,
             "below_same_model": _curves, "first_low": _changes}  # fmt: skip
    made = next((make for column, make in kinds.items() if column in table.columns), None)
    if made is None:
        return
    for (model, text), rows in table.group_by("model", "text", maintain_order=True):
        if text == whole or text in each.cut:
            yield from made(rows, str(model), RAW if text == whole else str(text))


def _ratios(rows: pl.DataFrame, model: str, column: str) -> Iterator[Average]:
    """Of geometric means; the controls over contrasts whose sets overlap in length."""
    if found := pooled_ratio(rows, "raw_effect", "raw_effect"):
        yield Average(model, column, f"×{_in_words(found)}", found.n)
    if column == RAW:
        for name, ends in (("pairs", "matched"), ("regression", "regression")):
            if found := pooled_ratio(rows.filter("overlap"), f"{ends}_effect", ends):
                yield Average(model, HELD, f"{name} ×{_in_words(found)}", found.n)


def _separations(rows: pl.DataFrame, model: str, column: str) -> Iterator[Average]:
    if found := pooled(rows, "difference", "difference"):
        yield Average(model, column, _in_words(found), found.n)
    held = rows.filter(~pl.col("held_extrapolates"))
    if column == RAW and (found := pooled(held, "held_difference", "held_difference")):
        yield Average(model, HELD, _in_words(found), found.n)


def _cosines(rows: pl.DataFrame, model: str, column: str) -> Iterator[Average]:
    """The set and pair with the largest median, and with the largest 95% point."""
    largest = (rows.sort(name).row(-1, named=True) for name in ("median_abs", "q95_abs"))
    median, point = (with_interval(row, name) for row, name in zip(largest, ("median_abs", "q95_abs"), strict=True))
    yield Average(model, column, f"at most {median}, 95% of sizes below {point}")


def _curves(rows: pl.DataFrame, model: str, column: str) -> Iterator[Average]:
    for row in rows.iter_rows(named=True):
        below = with_interval(row | {"below": row["below_same_model"]}, "below")
        said = f"{title(row['measure'])} {with_interval(row, 'median')}, below by {below}"
        yield Average(model, column, said)


def _changes(rows: pl.DataFrame, model: str, column: str) -> Iterator[Average]:
    for row in rows.iter_rows(named=True):
        first, second = (with_interval(row, f"mean_{one}", one) for one in ("first", "second"))
        yield Average(model, column, f"{row['contrast']}: {first} against {second}")


def _in_words(found: Pooled) -> str:
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"
