"""A run in DuckDB: a view of each table, which reads the run's files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.files.paths import is_remote
from gradprism.runs.layout import part_path, published_parts, score_table, tables_of

if TYPE_CHECKING:
    from gradprism.runs.run import Run


def connect(run: "Run", connection: Any = None) -> Any:
    """Return a DuckDB connection with the views of `Run.to_duckdb`. Raises `GradPrismError`."""
    if is_remote(run.path):
        raise GradPrismError(f"{run.path} lies in an object store. Expected a run on a disk: copy it, or use Run.scan.")
    duckdb = need("duckdb", "sql")
    connection = duckdb.connect() if connection is None else connection
    for name, files in _tables(run):
        if not files:
            continue
        listed = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)
        connection.execute(f'CREATE OR REPLACE VIEW "{name}" AS SELECT * FROM read_parquet([{listed}])')
    connection.register("wide", run.table().to_arrow())
    return connection


def _tables(run: "Run") -> Iterator[tuple[str, list[Path]]]:
    """Yield the tables that hold rows, by the names of their views, with their files; whole ones alone."""
    names = [name for name in tables_of(run.record) if not name.startswith("scores/")] if run.has_spectra else []
    for name in names:
        run.scan(name)
        yield name, _parts(run, name)
    for metric in run.metrics:
        run.scan_scores(metric)
        yield "scores_" + re.sub(r"[^A-Za-z0-9_]+", "_", metric), _parts(run, score_table(metric))


def _parts(run: "Run", table: str) -> list[Path]:
    return [part_path(run.path, table, index) for index in published_parts(run.path, table)]
