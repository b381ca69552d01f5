"""Read files of every format as records, one row at a time, in memory that does not grow with the file.

A row that cannot be read is a record with a `problem`; a file that cannot be read at all is a `GradPrismError`.
"""

import csv
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from gradprism.core.errors import GradPrismError
from gradprism.data.json_files import holds_json_objects, json_array, json_lines, json_objects
from gradprism.data.opening import first_bytes_of, kind_by_first_bytes, not_utf8, open_text, opened
from gradprism.data.record import Record

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst", ".zip")
SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet", ".pq", ".csv", ".tsv")


def data_suffix(path: Path) -> str:
    """Return `.jsonl` of `rows.jsonl.gz`: the suffix that names the format, compression put aside."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_file(path: Path) -> Iterator[Record]:
    """Yield the records of one file: a JSON array, JSON Lines, JSON objects, Parquet, CSV or TSV, compressed or not."""
    kind = file_format(path)
    if kind == "Parquet":
        yield from _parquet_records(path)
    elif kind == "JSON array":
        yield from json_array(path)
    elif kind == "JSON objects":
        yield from json_objects(path)
    elif kind == "JSON Lines":
        yield from json_lines(path)
    else:
        yield from _csv_records(path, delimiter="\t" if data_suffix(path) == ".tsv" else ",")


def file_format(path: Path) -> str:
    """Return the format of a file, told by its suffix, and for JSON by its beginning."""
    suffix = data_suffix(path)
    if suffix not in SUFFIXES:
        raise GradPrismError(
            f"Cannot tell the format of {path}: its name ends in {suffix or 'no suffix'!r}.\n"
            f"Expected one of {', '.join(SUFFIXES)}, each optionally followed by {', '.join(COMPRESSIONS)}."
        )
    if suffix in (".parquet", ".pq"):
        return "Parquet"
    first = _first_character(path)
    if not first:
        raise GradPrismError(f"{path} is empty: expected at least one row.")
    if suffix in (".csv", ".tsv"):
        return suffix[1:].upper()
    if first == "[":
        return "JSON array"
    return "JSON objects" if first == "{" and holds_json_objects(path) else "JSON Lines"


def _first_character(path: Path) -> str:
    with open_text(path) as file:
        while (text := file.read(256)) and not text.strip():
            pass
    return text.strip()[:1]


def _csv_records(path: Path, delimiter: str) -> Iterator[Record]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with open_text(path) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise GradPrismError(f"The header of {path} is not valid CSV: {error}") from error
        if problem := not_utf8("".join(header)):
            raise GradPrismError(f"The header of {path}: {problem}. Convert the file to UTF-8, e.g. with iconv.")
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Record(None, f"line {reader.line_num}: {error}")
                continue
            if not cells:
                continue
            yield _csv_record(header, cells, reader.line_num)


def _csv_record(header: list[str], cells: list[str], line: int) -> Record:
    if problem := not_utf8("".join(cells)):
        return Record(None, f"line {line}: {problem}")
    if len(cells) != len(header):
        return Record(None, f"line {line}: {len(cells)} cells, the header names {len(header)}")
    return Record(dict(zip(header, cells, strict=True)))


def _parquet_records(path: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with opened(path) as raw, tempfile.TemporaryFile() as spool:
        file: IO[bytes] = raw
        if path.suffix.lower() in COMPRESSIONS:  # Parquet is read from its end, an archive from its start
            shutil.copyfileobj(raw, spool)
            file = spool
        try:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=64):
                yield from (Record(fields) for fields in batch.to_pylist())
        except (pa.ArrowException, ValueError, OverflowError) as error:  # text or dates that Python refuses
            if isinstance(error, pa.ArrowInvalid) and (kind := kind_by_first_bytes(first_bytes_of(path))):
                raise GradPrismError(f"{path} is not a readable Parquet file: it is {kind}") from None
            raise GradPrismError(f"{path} is not a readable Parquet file: {error}") from error
