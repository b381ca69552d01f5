"""Join a run into one wide table: a row for each example, a column for each number that it has."""

from typing import TYPE_CHECKING

import polars as pl

from gradprism.prism.measures import LAYER, MEAN

if TYPE_CHECKING:
    from gradprism.runs.run import Run

_COUNTED = ("status", "reason", "n_tokens", "n_prompt_tokens", "n_response_tokens", "truncated", "loss")


def wide_table(run: "Run") -> pl.DataFrame:
    """Return a row for each example that was measured or scored, by row; see `Run.table`."""
    scores = [run.scan_scores(name).select("row", "example_id", pl.col("value").alias(name)) for name in run.metrics]
    examples = run.scan("examples")
    rows = pl.concat([part.select("row", "example_id") for part in (examples, *scores)]).unique("row")
    parts = [score.drop("example_id") for score in scores]
    if run.has_spectra:
        counted = [name for name in _COUNTED if name not in run.metrics]  # scores of a loss stand for it
        parts = [examples.select("row", *counted), *_means(run), *parts, _own_columns(run)]
    for part in parts:
        rows = rows.join(part, on="row", how="left")
    return rows.sort("row").collect()


def _means(run: "Run") -> list[pl.LazyFrame]:
    """Average the measures of each example over projections and layers, and those of whole layers over layers."""
    names = [name for name, measure in run.measures.items() if not measure.of_layer]
    each = run.scan_measures(names).group_by("row").agg(pl.col(name).mean().alias(f"{name}:{MEAN}") for name in names)
    whole = [
        run.scan_layer_measure(name).group_by("row").agg(pl.col(name).mean().alias(f"{name}:{LAYER}"))
        for name, measure in run.measures.items()
        if measure.of_layer
    ]
    return [each, *whole]


def _own_columns(run: "Run") -> pl.LazyFrame:
    return run.columns.drop("example_id").rename(lambda name: name if name == "row" else f"column:{name}").lazy()
