"""Publishing one part of a run: whole or not at all, by whoever has measured it.

On a local disk a part gets its name once its bytes are on the disk. An object store shows an object when its upload is
complete, and never earlier: there a worker on any machine may publish, while one process holds the run.
"""

from pathlib import Path

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.files.atomic import disk_errors, parquet_bytes, replace
from gradprism.files.lease import check_lease
from gradprism.files.reading import read_parquet
from gradprism.prism.tables import Tables
from gradprism.runs.layout import TABLES, part_path, score_table


def publish_part(run: Path, index: int, tables: Tables) -> None:
    """Write one part of the spectra. It counts once its `examples` file is there, which is written last of all.

    `run` is held by a `RunWriter`, here or in another process; written again, a part is replaced. Raises
    `GradPrismError` where it cannot be written, or where this process has lost the run to another.
    """
    check_lease(run)
    with disk_errors(run):
        for table in TABLES:
            replace(part_path(run, table, index), parquet_bytes(getattr(tables, table)))


def publish_scores(run: Path, metric: str, index: int, scores: pl.DataFrame) -> None:
    """Write one part of a metric's scores, under the name that the metric has in the run. As `publish_part`."""
    check_lease(run)
    with disk_errors(run):
        replace(part_path(run, score_table(metric), index), parquet_bytes(scores))


def read_part(run: Path, table: str, index: int) -> pl.DataFrame:
    """Read one part of a table that was published. Raises `GradPrismError` where it is damaged."""
    part = part_path(run, table, index)
    try:
        return read_parquet(part)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise GradPrismError(
            f"Cannot read {part}: {error}.\nDelete it; the same command does its rows again."
        ) from error
