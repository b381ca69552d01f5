"""Write rows to JSON Lines or Parquet, one at a time; the file gets its name once it is whole."""

import base64
import datetime
import decimal
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradprism.core.errors import GradPrismError
from gradprism.data.record import Row
from gradprism.data.sources import Source
from gradprism.files.atomic import whole_file
from gradprism.files.paths import to_path

WRITTEN_SUFFIXES = (".jsonl", ".parquet")
_BATCH = 256  # rows held at a time


def refuse_replacing(targets: Iterable[Path], sources: Iterable[Source]) -> None:
    """Raise `GradPrismError` where a file that is to be written is one that is read."""
    read = {to_path(source.name).resolve() for source in sources}
    for target in targets:
        if target.resolve() in read:
            raise GradPrismError(f"{target} holds the data that is read. Choose another --out.")


class RowWriter(ABC):
    """A writer that takes rows one by one."""

    @abstractmethod
    def write(self, row: Row) -> None:
        """Add a row."""

    @abstractmethod
    def finish(self) -> None:
        """Write what is still held."""


class JsonLinesWriter(RowWriter):
    """JSON Lines in UTF-8. What JSON has no form for: dates become ISO 8601 text, bytes base64, decimals text."""

    def __init__(self, file: IO[bytes]):
        """Write to `file`, which is open, and stays so."""
        self._file = file

    def write(self, row: Row) -> None:
        """Write a line."""
        try:
            content = json.dumps(dict(row), ensure_ascii=False, default=_json_value).encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can only hold as an escape
            content = json.dumps(dict(row), default=_json_value).encode()
        self._file.write(content + b"\n")

    def finish(self) -> None:
        """Do nothing: every row is written at once."""


class ParquetWriter(RowWriter):
    """Parquet in row groups of some hundred rows, all of one schema; a column that a row lacks is null."""

    def __init__(self, file: IO[bytes], schema: pa.Schema):
        """Write to `file`, which is open, and stays so."""
        self._schema, self._rows = schema, list[Row]()
        with _arrow_errors():
            self._writer = pq.ParquetWriter(file, schema, compression="zstd")

    def write(self, row: Row) -> None:
        """Hold the row until there are enough for a row group."""
        self._rows.append(row)
        if len(self._rows) == _BATCH:
            self._flush()

    def finish(self) -> None:
        """Write the last rows and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        with _arrow_errors():
            self._writer.write_table(pa.Table.from_pylist([dict(row) for row in self._rows], schema=self._schema))
        self._rows.clear()


@contextmanager
def written_whole(target: Path, schema: pa.Schema | None) -> Iterator[RowWriter]:
    """Open a writer of rows into `target`, which gets its name only when all has gone well.

    `schema` is what a Parquet file needs. Raises `GradPrismError` where the disk, the store or the format refuses.
    """
    try:
        with whole_file(target) as file:
            writer = JsonLinesWriter(file) if schema is None else ParquetWriter(file, schema)
            yield writer
            writer.finish()
    except OSError as error:
        raise GradPrismError(
            f"Cannot write {target}: {error}. Check the path, its permissions and the free space."
        ) from error


def arrow_schema(sources: Sequence[Source], rows: Iterable[Row]) -> pa.Schema:
    """Return the columns of some rows: as Parquet files declare them, or as found by reading all rows.

    Raises `GradPrismError` where a column holds kinds of values that no one Parquet type has room for.
    """
    with _arrow_errors():
        if all(source.format == "Parquet" and Path(source.name).suffix in (".parquet", ".pq") for source in sources):
            declared = [_declared_schema(to_path(source.name)) for source in sources]
            return pa.unify_schemas(declared, promote_options="permissive")
        return pa.unify_schemas([*_inferred_schemas(rows)], promote_options="permissive")


def _declared_schema(path: Path) -> pa.Schema:
    with path.open("rb") as file:
        return pq.read_schema(file).remove_metadata()


def _inferred_schemas(rows: Iterable[Row]) -> Iterator[pa.Schema]:
    batch = list[Row]()
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield _schema_of(batch)
            batch.clear()
    yield _schema_of(batch)


def _schema_of(batch: Sequence[Row]) -> pa.Schema:
    names = dict.fromkeys(name for row in batch for name in row)
    return pa.schema([(name, pa.array([row.get(name) for row in batch]).type) for name in names])


@contextmanager
def _arrow_errors() -> Iterator[None]:
    """Raise what Arrow says of values that fit into no column as `GradPrismError`."""
    try:
        yield
    except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
        raise GradPrismError(
            f"These rows do not fit into a Parquet file: {error}.\n"
            "JSON Lines holds rows of any form: give --out a name that ends in .jsonl."
        ) from error


def _json_value(value: Any) -> Any:
    """Convert a value of a Parquet file or a Python object that JSON has no form for."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.timedelta | decimal.Decimal):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy arrays and numbers
        return value.tolist()
    raise GradPrismError(f"A value of type {type(value).__name__} has no form in JSON: {value!r:.80}")
