"""Publish one part of a run, whole or not at all.

On a local disk a part gets its name once its bytes are on the disk. An object store shows an object when its upload is
complete, and never earlier: there a worker on any machine may publish, while one process has locked the run.
"""

from pathlib import Path

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.files.atomic import write_errors, write_whole
from gradprism.files.lease import check_lease_held
from gradprism.files.parquet import parquet_bytes, read_parquet
from gradprism.prism.tables import Tables
from gradprism.runs.layout import TABLES, part_path, score_table


def publish_part(run: Path, index: int, tables: Tables) -> None:
    """Write one part of the spectra, replacing an earlier one. Its `examples` file is written last and completes it.

    `run` is locked by a `RunWriter`, in this or another process. Raises `GradPrismError` where the part cannot be
    written, or where this process has lost the lock to another.
    """
    check_lease_held(run)
    with write_errors(run):
        for table in TABLES:
            write_whole(part_path(run, table, index), parquet_bytes(getattr(tables, table)))


def publish_scores(run: Path, metric: str, index: int, scores: pl.DataFrame) -> None:
    """Write one part of a metric's scores, as `publish_part` does; `metric` is its name in the run."""
    check_lease_held(run)
    with write_errors(run):
        write_whole(part_path(run, score_table(metric), index), parquet_bytes(scores))


def read_part(run: Path, table: str, index: int) -> pl.DataFrame:
    """Read one published part of a table. Raises `GradPrismError` where it is damaged."""
    part = part_path(run, table, index)
    try:
        return read_parquet(part)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise GradPrismError(
            f"Cannot read {part}: {error}.\nDelete it; the same command computes its rows again."
        ) from error
