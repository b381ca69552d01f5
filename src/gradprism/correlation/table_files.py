"""Folders of tables: each table whole as Parquet, to compute with, and as CSV, to look at."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from gradprism.files.atomic import write_whole
from gradprism.files.parquet import parquet_bytes


def write_tables(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    """Write NAME.parquet and NAME.csv for each table, each file whole or not at all; lists are text in CSV."""
    for name, table in tables.items():
        write_whole(folder / f"{name}.parquet", parquet_bytes(table))
        write_csv(folder, name, table)


def write_csv(folder: Path, name: str, table: pl.DataFrame) -> None:
    """Write NAME.csv, whole or not at all, with lists as text."""
    lists = [column for column, kind in table.schema.items() if isinstance(kind, pl.List)]
    flat = table.with_columns(pl.col(column).cast(pl.List(pl.String)).list.join(" ") for column in lists)
    write_whole(folder / f"{name}.csv", flat.write_csv().encode())


def with_missing_columns(table: pl.DataFrame, schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
    """Add the columns of a schema that a table of an earlier version lacks, null throughout, after its own."""
    return table.with_columns(
        pl.lit(None, dtype=kind).alias(name) for name, kind in schema.items() if name not in table.columns
    )
