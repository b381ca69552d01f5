"""File formats -> records, one row at a time, in memory that does not grow with the file.

A row that cannot be read is a record with a `problem`; a file that cannot be read at all is a `GradPrismError`.
"""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gradprism.errors import GradPrismError
from gradprism.places import is_shared

Row = Mapping[str, Any]

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst", ".zip")
SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet", ".pq", ".csv", ".tsv")
_CHUNK = 1 << 16  # characters read at a time from a JSON array
_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Record:
    """One row as the file holds it, or why it cannot be read."""

    fields: Row | None
    problem: str | None = None
    where: str = ""  # line or element of a JSON file, as people count them


def data_suffix(path: Path) -> str:
    """`.jsonl` of `rows.jsonl.gz`: the suffix that names the format, compression put aside."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_file(path: Path) -> Iterator[Record]:
    """Yield the records of one JSON array, JSON Lines, Parquet, CSV or TSV file, compressed or not."""
    kind = file_format(path)
    if kind == "Parquet":
        yield from _parquet(path)
    elif kind == "JSON array":
        yield from _json_array(path)
    elif kind == "JSON Lines":
        yield from _json_lines(path)
    else:
        yield from _csv(path, delimiter="\t" if data_suffix(path) == ".tsv" else ",")


def file_format(path: Path) -> str:
    """Name the format of a file: by its suffix, and for JSON by its first character."""
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
    return "JSON array" if first == "[" else "JSON Lines"


def _first_character(path: Path) -> str:
    with _open_text(path) as file:
        while (text := file.read(256)) and not text.strip():
            pass
    return text.strip()[:1]


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open and decompress; what fails, a damaged archive too, is one kind of error."""
    try:
        with _decompressed(path) as file:
            yield file
    except FileNotFoundError:
        raise GradPrismError(f"No such file: {path}") from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile) as error:
        raise GradPrismError(f"Cannot read {path}: {error}") from error


@contextmanager
def _decompressed(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as packed, _unpacked(path, packed) as file:
        yield file


def _unpacked(path: Path, packed: IO[bytes]) -> Any:
    match path.suffix.lower():
        case ".gz":
            return gzip.open(packed)
        case ".bz2":
            return bz2.open(packed)
        case ".xz":
            return lzma.open(packed)
        case ".zst":
            import pyarrow as pa  # unlike zstandard's reader it notices where an archive was cut short

            return pa.input_stream(packed if is_shared(path) else str(path), compression="zstd")
        case ".zip":
            return _unzipped(path, packed)
        case _:
            return packed


@contextmanager
def _unzipped(path: Path, packed: IO[bytes]) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(packed) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
        if len(names) != 1:
            raise GradPrismError(f"{path} holds {len(names)} files; expected one. Unpack it and give the folder.")
        with archive.open(names[0]) as file:
            yield file


@contextmanager
def _open_text(path: Path) -> Iterator[IO[str]]:
    """UTF-8 text, a byte-order mark dropped; bytes that are not UTF-8 come out as lone surrogates."""
    with _opened(path) as raw:
        start = raw.read(2)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise GradPrismError(f"{path} is UTF-16 text; UTF-8 is expected. Convert it, e.g. with iconv.")
    with (
        _opened(path) as raw,
        io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="") as file,
    ):
        yield file


def _not_utf8(text: str) -> str | None:
    """A problem naming the first byte of `text` that is not UTF-8, if there is one."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        if 0xDC80 <= code <= 0xDCFF:
            return f"byte 0x{code - 0xDC00:02x} at character {error.start + 1} of the row is not UTF-8"
    return None


def _json_record(fields: object, where: str, source: str) -> Record:
    if problem := _not_utf8(source):
        return Record(None, f"{where}: {problem}")
    if not isinstance(fields, dict):
        return Record(None, f"{where}: a JSON {type(fields).__name__}, expected an object with named columns")
    return Record(fields, where=where)


def _json_lines(path: Path) -> Iterator[Record]:
    with _open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:  # ValueError: an integer of thousands of digits
                yield Record(None, f"line {number} is not valid JSON: {error}")
                continue
            yield _json_record(fields, f"line {number}", line)


def _json_array(path: Path) -> Iterator[Record]:
    """One element at a time. Python's own decoder, because data written by Python holds NaN and Infinity.

    A syntax error hides where the next element starts, so it ends the file: a `GradPrismError`.
    """
    with _open_text(path) as file:
        buffer, at, chunk, index = _after_bracket(file), 0, _CHUNK, 0
        while True:
            at = _after_space(buffer, at)
            if buffer.startswith("]", at):
                return _expect_end(path, buffer[at + 1 :], file)
            try:
                fields, end = _DECODER.raw_decode(buffer, at)
                # an element may be a prefix of a longer one until the separator after it has been seen
                separator = _after_space(buffer, end)
                if buffer[separator : separator + 1] not in (",", "]"):
                    raise json.JSONDecodeError("Expecting ',' or ']' after the element", buffer, end)
            except json.JSONDecodeError as error:
                if _cut_short(error, buffer) and (more := file.read(chunk)):
                    buffer, at, chunk = buffer[at:] + more, 0, chunk * 2
                    continue
                raise _broken_element(path, index, error.msg) from None
            except (ValueError, RecursionError) as error:  # an integer of thousands of digits, or deep nesting
                raise _broken_element(path, index, str(error)) from None
            yield _json_record(fields, f"element {index}", buffer[at:end])
            at, chunk, index = separator + (buffer[separator] == ","), _CHUNK, index + 1


def _after_bracket(file: IO[str]) -> str:
    text = ""
    while not text.lstrip():
        text = file.read(_CHUNK)
    return text.lstrip()[1:]


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect_end(path: Path, rest: str, file: IO[str]) -> None:
    while not rest.strip():
        if not (rest := file.read(_CHUNK)):
            return
    raise GradPrismError(f"{path} goes on after the end of its JSON array: {rest.strip()[:40]!r}.")


def _broken_element(path: Path, index: int, problem: str) -> GradPrismError:
    return GradPrismError(
        f"{path} is not a valid JSON array: element {index} (counted from 0): {problem}.\n"
        "The rows before it were readable. Repair the file, or write it as JSON Lines, "
        "where one bad row does not hide the others."
    )


def _cut_short(error: json.JSONDecodeError, buffer: str) -> bool:
    """Whether the element may only lack the text that has not been read yet."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(buffer.rstrip()) - len("-Infinity")


def _csv(path: Path, delimiter: str) -> Iterator[Record]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with _open_text(path) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise GradPrismError(f"The header of {path} is not valid CSV: {error}") from error
        if problem := _not_utf8("".join(header)):
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
    if problem := _not_utf8("".join(cells)):
        return Record(None, f"line {line}: {problem}")
    if len(cells) != len(header):
        return Record(None, f"line {line}: {len(cells)} cells, the header names {len(header)}")
    return Record(dict(zip(header, cells, strict=True)))


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _opened(path) as raw, tempfile.TemporaryFile() as spool:
        file: IO[bytes] = raw
        if path.suffix.lower() in COMPRESSIONS:  # Parquet is read from its end, an archive from its start
            shutil.copyfileobj(raw, spool)
            file = spool
        try:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=64):
                yield from (Record(fields) for fields in batch.to_pylist())
        except (pa.ArrowException, ValueError, OverflowError) as error:  # text or dates that Python refuses
            raise GradPrismError(f"{path} is not a readable Parquet file: {error}") from error
