"""Read files of every format as records, one row at a time, in memory that does not grow with the file.

A row that cannot be read is a record with a `problem`; a file that cannot be read at all is a `GradPrismError`.
"""

import csv
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gradprism.core.errors import GradPrismError
from gradprism.data.json_files import holds_json_objects, json_array, json_lines, json_objects
from gradprism.data.opening import first_bytes_of, kind_by_first_bytes, not_utf8, open_text, opened
from gradprism.data.record import Record
from gradprism.data.row_size import DEFAULT_ROW_BYTES, BoundedLines, RowTooLargeError, records_of_batch, too_large

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst", ".zip")
_CHUNK = 1 << 16
_MOST_UNPACKED = 2**30  # bytes of a Parquet file in an archive, unless the archive has a hundredth of them
_BATCH_ROWS, _BATCH_BYTES = 64, 2**30  # of a Parquet file, at most, are decoded at a time
SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet", ".pq", ".csv", ".tsv")


def data_suffix(path: Path) -> str:
    """Return `.jsonl` of `rows.jsonl.gz`: the suffix that names the format, compression put aside."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_file(path: Path, most: int = DEFAULT_ROW_BYTES) -> Iterator[Record]:
    """Yield the records of one file: a JSON array, JSON Lines, JSON objects, Parquet, CSV or TSV, compressed or not.

    Rows of more than `most` bytes are not read.
    """
    kind = file_format(path, most)
    if kind == "Parquet":
        yield from _parquet_records(path, most)
    elif kind == "JSON array":
        yield from json_array(path, most)
    elif kind == "JSON objects":
        yield from json_objects(path, most)
    elif kind == "JSON Lines":
        yield from json_lines(path, most)
    else:
        yield from _csv_records(path, "\t" if data_suffix(path) == ".tsv" else ",", most)


def file_format(path: Path, most: int = DEFAULT_ROW_BYTES) -> str:
    """Return the format of a file, told by its suffix, and for JSON by its beginning."""
    suffix = data_suffix(path)
    if suffix not in SUFFIXES:
        raise GradPrismError(
            f"Cannot tell the format of {path}: its name ends in {suffix or 'no suffix'!r}.\n"
            f"Expected one of {', '.join(SUFFIXES)}, each optionally followed by {', '.join(COMPRESSIONS)}."
        )
    if suffix in (".parquet", ".pq"):
        return "Parquet"
    first = _first_character(path, most)
    if not first:
        raise GradPrismError(f"{path} is empty: expected at least one row.")
    if suffix in (".csv", ".tsv"):
        return suffix[1:].upper()
    if first == "[":
        return "JSON array"
    return "JSON objects" if first == "{" and holds_json_objects(path, most) else "JSON Lines"


def _first_character(path: Path, most: int) -> str:
    with open_text(path) as file:
        n_read = 0
        while (text := file.read(_CHUNK)) and not text.strip():
            n_read += len(text)
            if n_read > most:
                raise GradPrismError(f"{path} begins with more than {most:,} bytes of white space, expected rows.")
    return text.strip()[:1]


def _csv_records(path: Path, delimiter: str, most: int) -> Iterator[Record]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # rows are limited as a whole
    with open_text(path) as file:
        lines = BoundedLines(path, file, most)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
        except (csv.Error, RowTooLargeError) as error:
            raise GradPrismError(f"The header of {path} is not valid CSV: {error}") from error
        if problem := not_utf8("".join(header)):
            raise GradPrismError(f"The header of {path}: {problem}. Convert the file to UTF-8, e.g. with iconv.")
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except RowTooLargeError as error:
                lines.begin_row()
                yield Record(None, f"line {reader.line_num + 1}: {error}")
                continue
            except csv.Error as error:
                lines.begin_row()
                yield Record(None, f"line {reader.line_num}: {error}")
                continue
            if not cells:
                continue
            lines.begin_row()
            yield _csv_record(header, cells, reader.line_num)


def _csv_record(header: list[str], cells: list[str], line: int) -> Record:
    if problem := not_utf8("".join(cells)):
        return Record(None, f"line {line}: {problem}")
    if len(cells) != len(header):
        return Record(None, f"line {line}: {len(cells)} cells, the header names {len(header)}")
    return Record(dict(zip(header, cells, strict=True)))


def _parquet_records(path: Path, most: int) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with opened(path) as raw, tempfile.TemporaryFile() as spool:
        file: IO[bytes] = raw
        if path.suffix.lower() in COMPRESSIONS:  # Parquet is read from its end, an archive from its start
            _unpack(path, raw, spool)
            file = spool
        try:
            parquet, first = pq.ParquetFile(file), 0
            for batch in parquet.iter_batches(batch_size=_batch_rows(path, parquet.metadata, most)):
                yield from records_of_batch(batch, first, most)
                first += batch.num_rows
        except (pa.ArrowException, ValueError, OverflowError) as error:  # text or dates that Python refuses
            if isinstance(error, pa.ArrowInvalid) and (kind := kind_by_first_bytes(first_bytes_of(path))):
                raise GradPrismError(f"{path} is not a readable Parquet file: it is {kind}") from None
            raise GradPrismError(f"{path} is not a readable Parquet file: {error}") from error


def _unpack(path: Path, packed: IO[bytes], target: IO[bytes]) -> None:
    """Unpack an archive. Raises `GradPrismError` where it holds far more than an archive of Parquet does."""
    most, n_bytes = max(_MOST_UNPACKED, 100 * path.stat().st_size), 0
    while chunk := packed.read(_CHUNK):
        n_bytes += len(chunk)
        if n_bytes > most:
            raise GradPrismError(f"{path} unpacks to more than {most:,} bytes, a hundred times its size. Unpack it.")
        target.write(chunk)


def _batch_rows(path: Path, metadata: Any, most: int) -> int:
    """Return how many rows to decode at a time, so many that no cell of a chunk in all of them exhausts the memory.

    Raises `GradPrismError` where the rows of a group are on average larger than a row may be.
    """
    largest = 1
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        if group.num_rows and group.total_byte_size / group.num_rows > most:
            average = group.total_byte_size // group.num_rows
            raise GradPrismError(f"{path}: rows of {average:,} bytes on average, {too_large(most)}.")
        largest = max([largest, *(group.column(i).total_uncompressed_size for i in range(group.num_columns))])
    return min(_BATCH_ROWS, max(1, _BATCH_BYTES // largest))
