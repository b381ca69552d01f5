"""Which rows may be selected at all, and for the others why not."""

from dataclasses import dataclass, replace
from typing import Self

import polars as pl
from polars.exceptions import PolarsError

from gradprism.core.errors import GradPrismError
from gradprism.runs.values import is_ifd
from gradprism.selection.settings import SelectSettings

_QUOTING = (
    "Names with a colon or a dot go in double quotes, texts in single ones: \"effective_rank:q\" > 40 AND kind = 'math'"
)


@dataclass(frozen=True)
class Candidates:
    """What is selected from: frames and series of one length, a row each."""

    rows: pl.DataFrame  # row, example_id, problem (null where the row could be read)
    values: pl.DataFrame  # a Float64 column for each metric that --by or --where names; null where there is none
    reasons: pl.DataFrame  # for each of them why it is null
    columns: pl.DataFrame  # the data's own columns that --where or --stratify names
    length: pl.Series  # of the response, Float64
    length_unit: str = "tokens"

    def __len__(self) -> int:
        """Count the rows."""
        return self.rows.height

    def finite(self) -> Self:
        """The same with null in place of NaN and infinity: polars would rank NaN above every number."""
        values = self.values.select(pl.when(pl.all().is_finite()).then(pl.all()))
        length = pl.select(pl.when(self.length.is_finite()).then(self.length).alias("length")).to_series()
        return replace(self, values=values, length=length)


def where_expression(text: str) -> pl.Expr:
    """Parse --where. Raises `GradPrismError` where it is no SQL expression."""
    try:
        return pl.sql_expr(text)
    except PolarsError as error:
        raise GradPrismError(f"--where {text!r} is not an SQL expression: {error}.\n{_QUOTING}") from None


def where_names(text: str | None) -> list[str]:
    """The metrics and columns that a --where expression names, each once."""
    return list(dict.fromkeys(where_expression(text).meta.root_names())) if text else []


def obstacles(candidates: Candidates, settings: SelectSettings) -> pl.Series:
    """Why a row cannot be selected, whatever --where says; null where it can. The first reason counts."""
    frame = candidates.rows.select("problem").with_columns(candidates.length.alias("length"))
    found = [pl.col("problem")]
    for metric in candidates.values.columns:
        value, reason = candidates.values[metric], candidates.reasons[metric].fill_null("no value")
        if metric in settings.metrics:  # --where may do without a value, the ranking may not
            missing = pl.when(pl.lit(value.is_null())).then(pl.lit(reason))
            found.append(pl.format("{}: {}", pl.lit(metric), missing))
        if is_ifd(metric) and not settings.keep_ifd_above_1:
            found.append(pl.when(pl.lit(value > 1)).then(pl.lit(f"{metric} is above 1")))
    if settings.tokens or settings.match_length:
        none = pl.col("length").fill_null(0.0) <= 0
        found.append(pl.when(none).then(pl.lit(f"no response {candidates.length_unit}")))
    return frame.select(pl.coalesce(found).cast(pl.String).alias("reason")).to_series()


def where_obstacles(candidates: Candidates, text: str | None) -> pl.Series:
    """Why --where leaves a row out; null where it does not."""
    if text is None:
        return pl.Series("reason", [None] * len(candidates), dtype=pl.String)
    holds = _evaluated(candidates, text)
    untold = pl.lit("--where cannot be told: a value is missing")
    reason = pl.when(holds.is_null()).then(untold).when(~holds).then(pl.lit("--where does not hold"))
    return pl.select(reason.alias("reason")).to_series().cast(pl.String)


def _evaluated(candidates: Candidates, text: str) -> pl.Series:
    names = [name for name in candidates.columns.columns if name not in candidates.values.columns]
    frame = pl.DataFrame([*candidates.values, *(candidates.columns[name] for name in names)])
    expression = where_expression(text)
    if not expression.meta.root_names():
        raise GradPrismError(f"--where {text!r} names no metric and no column.\n{_QUOTING}")
    try:
        holds = frame.with_columns(expression.alias("holds"))["holds"]
    except PolarsError as error:
        raise GradPrismError(f"--where {text!r} cannot be evaluated: {error}\n{_QUOTING}") from None
    if holds.dtype != pl.Boolean:
        raise GradPrismError(f"--where {text!r} gives {holds.dtype}, expected true or false, such as reward > 2.")
    return holds
