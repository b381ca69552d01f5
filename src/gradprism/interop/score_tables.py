"""A run's numbers as one table in a file: CSV or Parquet, or the scores as OpenDataArena's tools write them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.data.writing import JsonLinesWriter
from gradprism.files.csv_tables import csv_bytes
from gradprism.files.folder import written_file
from gradprism.files.parquet import parquet_bytes
from gradprism.files.paths import to_path
from gradprism.runs.run import Run, open_run

TableFormat = Literal["csv", "parquet", "oda"]
_ENDINGS: dict[TableFormat, str] = {"csv": ".csv", "parquet": ".parquet", "oda": ".jsonl"}
_NO_SCORES = ("row", "example_id", "status", "reason", "truncated")


def export_table(run: str | Path | Run, out: str | Path, format_: TableFormat | None = None) -> Path:
    """Write a row for each example with every number of a run, as `Run.table` has them; return the file.

    `format_`: csv, parquet, or oda (JSON Lines of `id` and `scores`, nested as in `pointwise_scores.jsonl` of
    OpenDataArena's tools; what has no value is left out). By itself it goes by the name of the file. Raises
    `GradPrismError`.
    """
    opened, target = run if isinstance(run, Run) else open_run(run), to_path(out)
    kind = format_ or next((name for name, ending in _ENDINGS.items() if ending == target.suffix), None)
    if kind is None or target.suffix != _ENDINGS[kind]:
        expected = _ENDINGS[kind] if kind else ", ".join(_ENDINGS.values())
        raise GradPrismError(f"Given --out {out}. Expected the name of a file that ends in {expected}.")
    table = opened.table()
    with written_file(target, "export") as file:
        if kind == "csv":
            file.write(csv_bytes(table))
        elif kind == "parquet":
            file.write(parquet_bytes(table))
        else:
            writer = JsonLinesWriter(file)
            for line in _scores_in(table):
                writer.write(line)
    return target


def _scores_in(table: pl.DataFrame) -> Iterator[dict[str, Any]]:
    numbers = [
        name
        for name, kind in table.schema.items()
        if kind.is_numeric() and name not in _NO_SCORES and not name.startswith("column:")
    ]
    for row in table.iter_rows(named=True):
        key = row["row"] if row["example_id"] == str(row["row"]) else row["example_id"]
        yield {"id": key, "scores": {name: {"score": row[name]} for name in numbers if row[name] is not None}}
