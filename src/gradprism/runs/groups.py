"""Groups of examples side by side: raw means, and means at equal length.

Effective rank is bounded by the token count, and good answers tend to be long, so a raw difference between
groups may be length alone. Each raw mean therefore has its length-controlled twin beside it.
"""

import numpy as np
import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.runs.run import Run

MOST_GROUPS = 24
_LENGTHS = ("n_prompt_tokens", "n_response_tokens")


def example_means(run: Run, measure: str) -> pl.DataFrame:
    """One row an example: the measure of each projection (a column each), averaged over layers.

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
    """One row a `group` (value of the data's column `by`): size, median response tokens, each projection's mean.

    For projection p the columns are `p` (raw mean) and `p at equal length`: the group's mean after ordinary
    least squares of the log measure on group, log prompt tokens and log response tokens, taken at the mean
    lengths of all rows (analysis of covariance, adjusted means), exponentiated. Null where lengths and
    groups cannot be told apart.
    """
    groups = _group_column(run, by)
    table = example_means(run, measure).join(groups, on="row").drop_nulls("group")
    projections = [name for name in run.projections if name in table.columns]
    names = table["group"].unique(maintain_order=True).to_list()
    raw = table.group_by("group", maintain_order=True).agg(
        pl.len().alias("rows"),
        pl.col("n_response_tokens").median().alias("response tokens"),
        pl.col("loss").mean(),
        *(pl.col(name).mean() for name in projections),
    )
    adjusted = [pl.Series(f"{name} at equal length", _adjusted_means(table, names, name)) for name in projections]
    return raw.with_columns(adjusted).sort("group")


def _group_column(run: Run, by: str) -> pl.DataFrame:
    columns = run.columns
    if by not in columns.columns or by == "row":
        known = [name for name in columns.columns if name not in ("row", "example_id")]
        raise GradPrismError(f"--by {by}: the data has no such column; it has {', '.join(known) or '(none)'}.")
    if (found := columns[by].n_unique()) > MOST_GROUPS:
        raise GradPrismError(f"--by {by}: {found} different values; expected at most {MOST_GROUPS} groups.")
    return columns.select("row", group=by)


def _adjusted_means(table: pl.DataFrame, names: list[object], projection: str) -> list[float | None]:
    used = table.filter(pl.col(projection) > 0)
    lengths = np.log(used.select(_LENGTHS).to_numpy().astype(float).clip(min=1.0))
    if not np.isfinite(lengths).all():  # of an imported run
        return [None] * len(names)
    lengths -= lengths.mean(axis=0)
    dummies = np.column_stack([(used["group"] == name).to_numpy().astype(float) for name in names])
    design = np.column_stack([dummies, lengths])
    if np.linalg.matrix_rank(design) < design.shape[1] or len(design) <= design.shape[1]:
        return [None] * len(names)
    solution = np.linalg.lstsq(design, np.log(used[projection].to_numpy()), rcond=None)[0]
    return [float(value) for value in np.exp(solution[: len(names)])]
