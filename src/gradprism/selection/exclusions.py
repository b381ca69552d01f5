"""Exclusion rules of a selection: which candidates cannot be selected, and why."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from gradprism.core.errors import GradPrismError
from gradprism.runs.values import is_ifd
from gradprism.selection.settings import SelectSettings

_QUOTING = (
    "Names with a colon or a dot go in double quotes, texts in single ones: \"effective_rank:q\" > 40 AND kind = 'math'"
)


PERPLEXITY = "perplexity"  # the metric of --max-perplexity


@dataclass(frozen=True)
class RowSketches:
    """Sketches of gradients, and which of them each candidate has."""

    values: np.ndarray  # (sketches, dim), may be mapped from a file
    at: np.ndarray  # of every candidate; -1 where it has none


@dataclass(frozen=True)
class Candidates:
    """Rows to select from: frames and series of one length, a row each."""

    rows: pl.DataFrame  # row, example_id, problem (null where the row could be read)
    values: pl.DataFrame  # a Float64 column for each metric that the settings name; null where there is none
    reasons: pl.DataFrame  # why each of them is null
    columns: pl.DataFrame  # the data's own columns that --where or --stratify names
    length: pl.Series  # of the response, Float64
    length_unit: str = "tokens"
    prompt_length: pl.Series | None = None  # as `length`; None where nothing has counted it
    sketches: RowSketches | None = None  # of the gradients, where the settings need them

    def __len__(self) -> int:
        """Count the rows."""
        return self.rows.height

    def sketches_of(self, candidates: np.ndarray) -> np.ndarray:
        """Return the sketches of some candidates, (n, dim)."""
        assert self.sketches is not None
        return np.asarray(self.sketches.values[self.sketches.at[candidates]])

    def finite(self) -> Self:
        """Replace NaN and infinity by null: polars would rank NaN above every number."""
        values = self.values.select(pl.when(pl.all().is_finite()).then(pl.all()))
        prompt = None if self.prompt_length is None else _finite(self.prompt_length)
        return replace(self, values=values, length=_finite(self.length), prompt_length=prompt)


def _finite(lengths: pl.Series) -> pl.Series:
    return pl.select(pl.when(lengths.is_finite()).then(lengths).alias("length")).to_series()


def where_expression(text: str) -> pl.Expr:
    """Parse --where. Raises `GradPrismError` where it is no SQL expression."""
    try:
        return pl.sql_expr(text)
    except PolarsError as error:
        raise GradPrismError(f"--where {text!r} is not an SQL expression: {error}.\n{_QUOTING}") from None


def where_names(text: str | None) -> list[str]:
    """List the metrics and columns that a --where expression names, each once."""
    return list(dict.fromkeys(where_expression(text).meta.root_names())) if text else []


def exclusion_reasons(candidates: Candidates, settings: SelectSettings) -> pl.Series:
    """Give the first reason why each row cannot be selected, whatever --where says; null where it can."""
    frame = candidates.rows.select("problem").with_columns(candidates.length.alias("length"))
    found = [pl.col("problem")]
    for metric in candidates.values.columns:
        value, reason = candidates.values[metric], candidates.reasons[metric].fill_null("no value")
        most = settings.max_perplexity if metric == PERPLEXITY else None
        if metric in settings.metrics or most is not None:  # --where may do without a value, rankings and cuts may not
            missing = pl.when(pl.lit(value.is_null())).then(pl.lit(reason))
            found.append(pl.format("{}: {}", pl.lit(metric), missing))
        if is_ifd(metric) and not settings.keep_ifd_above_1:
            found.append(pl.when(pl.lit(value > 1)).then(pl.lit(f"{metric} is above 1")))
        if most is not None:
            found.append(pl.when(pl.lit(value > most)).then(pl.lit(f"{metric} is above {most:g}")))
    if settings.tokens or settings.match_length:
        none = pl.col("length").fill_null(0.0) <= 0
        found.append(pl.when(none).then(pl.lit(f"no response {candidates.length_unit}")))
    if settings.given:
        for part, each in (("response", candidates.length), ("prompt", candidates.prompt_length)):
            unknown = pl.lit(f"the {candidates.length_unit} of the {part} are not known, which --given length needs")
            found.append(pl.when(pl.lit(each).is_null()).then(unknown))
    if settings.needs_sketches and candidates.sketches is not None:
        found.append(pl.when(pl.lit(pl.Series(candidates.sketches.at < 0))).then(pl.lit("no sketch of its gradient")))
    return frame.select(pl.coalesce(found).cast(pl.String).alias("reason")).to_series()


def where_exclusion_reasons(candidates: Candidates, text: str | None) -> pl.Series:
    """Give the reason why --where leaves each row out; null where it does not."""
    if text is None:
        return pl.Series("reason", [None] * len(candidates), dtype=pl.String)
    holds = _evaluate(candidates, text)
    unknown = pl.lit("--where cannot be told: a value is missing")
    reason = pl.when(holds.is_null()).then(unknown).when(~holds).then(pl.lit("--where does not hold"))
    return pl.select(reason.alias("reason")).to_series().cast(pl.String)


def _evaluate(candidates: Candidates, text: str) -> pl.Series:
    """Evaluate --where for each row. Raises `GradPrismError` where it gives no truth value."""
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
