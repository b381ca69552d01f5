"""Decay of singular values: each relative to the largest of its gradient, over the examples of a group.

A gradient of T tokens has at most T - 1 of them; those beyond its rank are 0 and count as such. Left out, the median at
a high index would be that of the longest examples alone. Where a run stores leading values only, the table ends with
the shortest such list: what follows is not known, and is not 0.
"""

import numpy as np
import polars as pl

from gradprism.comparison.comparison_tables import DECAY
from gradprism.comparison.group_matrix import GroupMatrix

MOST_EXAMPLES = 200  # of a group; quantiles of thousands of gradients each
MOST_POINTS = 48


def decay_table(group: GroupMatrix, rng: np.random.Generator) -> pl.DataFrame:
    """Make the table DECAY of one group, at indices spaced by ratio; empty where a run keeps no singular values."""
    rows = group.examples["row"].to_numpy()
    rows = np.sort(rng.choice(rows, MOST_EXAMPLES, replace=False)) if len(rows) > MOST_EXAMPLES else rows
    sigma = pl.col("singular_values")
    spectra = group.run.scan("spectra")
    is_cut = pl.col("tail_count").is_not_null() if "tail_count" in spectra.collect_schema().names() else pl.lit(False)
    values = (
        spectra.select("row", "projection", sigma, is_cut=is_cut)
        .filter(pl.col("row").is_in(rows.tolist()) & (sigma.list.len() > 0) & (sigma.list.first() > 0))
        .collect()
    )  # fmt: skip
    lengths = values.select(all=sigma.list.len().max(), cut=sigma.list.len().filter("is_cut").min()).row(0)
    longest = min((length for length in lengths if length is not None), default=None)
    if longest is None:
        return pl.DataFrame(schema=DECAY)
    points = np.unique(np.geomspace(1, longest, MOST_POINTS).round().astype(int))
    table = pl.concat(_quartiles_at(values, int(point)) for point in points)
    table = table.with_columns(pl.lit(group.name).alias("group"))
    return table.select(DECAY.names()).cast(DECAY).sort("projection", "index", maintain_order=True)


def _quartiles_at(values: pl.DataFrame, index: int) -> pl.DataFrame:
    """Compute quartiles over gradients of the singular value at one index, by projection."""
    sigma = pl.col("singular_values")
    share = (sigma.list.get(index - 1, null_on_oob=True).fill_null(0.0) / sigma.list.first()).cast(pl.Float64)
    found = values.select("projection", share=share)
    return found.group_by("projection", maintain_order=True).agg(
        pl.lit(index).alias("index"),
        pl.len().cast(pl.Int64).alias("n"),
        pl.col("share").median().alias("median"),
        pl.col("share").quantile(0.25, "linear").alias("q25"),
        pl.col("share").quantile(0.75, "linear").alias("q75"),
    )
