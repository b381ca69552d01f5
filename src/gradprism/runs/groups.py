"""Groups of examples of a run side by side: raw means and length-controlled means.

Effective rank is bounded by the token count, and good answers tend to be long, so a raw difference between
groups may be length alone. Each raw mean therefore has its length-controlled twin beside it.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.numbers import number
from gradprism.runs.run import Run
from gradprism.runs.values import find_metric
from gradprism.stats.least_squares import adjusted_means, log_lengths

MOST_GROUPS = 24
_QUARTERS = 4
_LENGTHS = ("n_prompt_tokens", "n_response_tokens")


def example_means(run: Run, measure: str) -> pl.DataFrame:
    """Return the measure of each projection (a column each) averaged over layers, one row an example.

    Beside it `row`, `example_id`, the token counts and the loss; only rows that are ok.
    """
    wide = (
        run.scan("spectra")
        .group_by("row", "projection")
        .agg(pl.col(measure).mean())
        .collect()
        .pivot(on="projection", index="row", values=measure, sort_columns=False)
    )
    kept = (
        run.scan("examples").filter(pl.col("status") == "ok").select("row", "example_id", *_LENGTHS, "loss").collect()
    )
    order = [name for name in run.projections if name in wide.columns]
    return kept.join(wide.select("row", *order), on="row", how="left").sort("row")


def group_table(run: Run, by: str, measure: str) -> pl.DataFrame:
    """Return size, median response tokens and the means of each `group` by `by`.

    A group is a value of the data's column of this name, else a quarter of the values of this metric or measure.

    For projection p the columns are `p` (raw mean) and `p at equal length`, the length-controlled mean: that of the
    group at the mean log lengths of all rows (`gradprism.stats.least_squares.adjusted_means`), exponentiated. Null
    where lengths and groups cannot be told apart.
    """
    groups = group_column(run, by)
    table = example_means(run, measure).join(groups, on="row").drop_nulls("group")
    projections = [name for name in run.projections if name in table.columns]
    names = table["group"].unique(maintain_order=True).to_list()
    raw = table.group_by("group", maintain_order=True).agg(
        pl.len().alias("rows"),
        pl.col("n_response_tokens").median().alias("response tokens"),
        pl.col("loss").mean(),
        *(pl.col(name).mean() for name in projections),
    )
    controlled = [
        pl.Series(f"{name} at equal length", _length_controlled_means(table, names, name)) for name in projections
    ]
    return raw.with_columns(controlled).sort("group")


def group_column(run: Run, by: str) -> pl.DataFrame:
    """Return `row` and `group` for a column of the data, or for the quarters of a metric.

    Raises `GradPrismError` where it makes no groups.
    """
    columns = run.columns
    by = by.removeprefix("column:")
    if by not in columns.columns or by == "row":
        if (metric := find_metric(run, by)) is not None:
            return _quarters(metric.select("row", "value").drop_nulls(), by)
        known = [name for name in columns.columns if name not in ("row", "example_id")]
        raise GradPrismError(
            f"--by {by}: the data has no such column; it has {', '.join(known) or '(none)'}. Expected one of these, or "
            f"a metric or measure of the run such as length or effective_rank."
        )
    if (found := columns[by].n_unique()) > MOST_GROUPS:
        raise GradPrismError(f"--by {by}: {found} different values; expected at most {MOST_GROUPS} groups.")
    return columns.select("row", group=by)


def _quarters(values: pl.DataFrame, by: str) -> pl.DataFrame:
    """Return `row` and `group`: the quarter of the rows, by `value`, with its lowest and highest value."""
    if values["value"].n_unique() < _QUARTERS:
        raise GradPrismError(
            f"--by {by}: expected at least {_QUARTERS} different values, for a quarter of the rows each."
        )
    quarter = (pl.col("value").rank("ordinal") - 1) * _QUARTERS // pl.len()
    ends = [pl.col("value").min().alias("low"), pl.col("value").max().alias("high")]
    ranked = values.sort("value", "row").with_columns(quarter=quarter)
    names = {
        row["quarter"]: f"{row['quarter'] + 1}: {number(row['low'])} to {number(row['high'])}"
        for row in ranked.group_by("quarter").agg(ends).iter_rows(named=True)
    }
    return ranked.select("row", group=pl.col("quarter").replace_strict(names, return_dtype=pl.String))


def _length_controlled_means(table: pl.DataFrame, groups: Sequence[object], projection: str) -> list[float | None]:
    """Return the geometric mean of each group at the mean log lengths of all rows; None where there is none."""
    used = table.filter(pl.col(projection) > 0)
    membership = np.column_stack([(used["group"] == group).to_numpy() for group in groups])
    lengths = log_lengths(used.select(_LENGTHS).to_numpy().astype(float))
    means = adjusted_means(np.log(used[projection].to_numpy()), membership, lengths)
    return [None if np.isnan(mean) else float(np.exp(mean)) for mean in means]
