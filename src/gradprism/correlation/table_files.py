"""Folders of tables: each table whole as Parquet, to compute with, and as CSV, to look at."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from gradprism.files.atomic import write_whole
from gradprism.files.csv_tables import csv_bytes
from gradprism.files.parquet import parquet_bytes


def write_tables(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    """Write NAME.parquet and NAME.csv for each table, each file whole or not at all; lists are text in CSV."""
    for name, table in tables.items():
        write_whole(folder / f"{name}.parquet", parquet_bytes(table))
        write_csv(folder, name, table)


def write_csv(folder: Path, name: str, table: pl.DataFrame) -> None:
    """Write NAME.csv, whole or not at all; see `gradprism.files.csv_tables`."""
    write_whole(folder / f"{name}.csv", csv_bytes(table))


def with_missing_columns(table: pl.DataFrame, schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
    """Add the columns of a schema that a table of an earlier version lacks, null throughout, after its own."""
    return table.with_columns(
        pl.lit(None, dtype=kind).alias(name) for name, kind in schema.items() if name not in table.columns
    )
