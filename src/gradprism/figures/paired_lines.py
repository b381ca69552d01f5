"""Lines of paired rows from one side to the other, as figures and the report draw them. This module draws nothing."""

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.prism.measures import MEAN

_SCHEMA = pl.Schema(
    {
        "measure": pl.String, "mark": pl.String, "group": pl.String, "example_id": pl.String, "n": pl.Int64,
        "first": pl.Float64, "second": pl.Float64,
    }
)  # fmt: skip
MOST_LINES = 200  # rows; more would be one grey area
ALL, OTHERS = "all rows", "other rows"


def paired_lines(comparison: Comparison, measure: str) -> pl.DataFrame:
    """Return the layer means of a measure on both sides: of rows (`mark` row) and their geometric means (`mean`).

    Columns: measure, mark, group (of --by, other rows, or all rows), example_id (null of a mean), n, first, second. Of
    many rows some are taken, evenly spaced in the order of the data; the means are of all. Rows without a value above 0
    on both sides are left out. Empty where the comparison is not paired.
    """
    column = f"{measure}:{MEAN}"
    if comparison.paired is None or column not in comparison.examples.columns:
        return pl.DataFrame(schema=_SCHEMA)
    pairs = comparison.paired.pairs.select("example_id", "row_first", "row_second", "group")
    pairs = pairs.with_columns(pl.col("group").fill_null(OTHERS if pairs["group"].count() else ALL))
    for name, group in zip(("first", "second"), comparison.contrasts[0], strict=True):
        side = comparison.examples.filter(group=group).select(
            pl.col("row").alias(f"row_{name}"), pl.col(column).alias(name)
        )
        pairs = pairs.join(side, on=f"row_{name}", maintain_order="left")
    pairs = pairs.filter(pl.col("first") > 0, pl.col("second") > 0)
    means = pairs.group_by("group", maintain_order=True).agg(
        *(pl.col(name).log().mean().exp() for name in ("first", "second")), n=pl.len()
    )
    step = max(1, -(-pairs.height // MOST_LINES))
    rows = pairs.gather_every(step).with_columns(mark=pl.lit("row"), n=pl.lit(1))
    marked = pl.concat([rows, means.with_columns(mark=pl.lit("mean"))], how="diagonal_relaxed")
    return marked.with_columns(measure=pl.lit(measure)).select(_SCHEMA.names()).cast(_SCHEMA)
