"""Parquet files that say whose they are: written with a label and a checksum, on a disk or in an object store."""

import hashlib
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import polars as pl

from gradprism.files.digest_memory import recall_digest, remember_digest, state_of
from gradprism.files.paths import as_remote, is_remote
from gradprism.files.remote import RemotePath
from gradprism.files.remote_files import StoredFile

_ENTRY = re.compile(rb'\{"run": [^{}]*"sha256": "([0-9a-f]{64})"\}')  # in the file's key-value metadata
_NO_CHECKSUM = "0" * 64
_MOST_ROWS = 2**24  # of a part


@dataclass(frozen=True)
class Label:
    """The place of a Parquet file in its run, as the file itself names it."""

    run: str  # digest of the settings and the data
    table: str
    part: int
    rows: tuple[int, ...]  # row numbers, ascending, each once


class DamagedFileError(ValueError):
    """A Parquet file whose content is not what was written."""


def parquet_bytes(frame: pl.DataFrame, label: Label | None = None) -> bytes:
    """Return a table as a Parquet file in memory: polars leaves a torn file on a full disk without an error.

    With a label, the file's metadata holds it together with the SHA-256 of the file, taken while its own digits are 0.
    """
    buffer = io.BytesIO()
    if label is None:
        frame.write_parquet(buffer, compression="zstd")
        return buffer.getvalue()
    entry = {**asdict(label), "rows": _ranges(label.rows), "sha256": _NO_CHECKSUM}
    frame.write_parquet(buffer, compression="zstd", metadata={"gradprism": json.dumps(entry)})
    content = buffer.getvalue()
    place = content.rindex(_NO_CHECKSUM.encode())
    return b"".join((content[:place], hashlib.sha256(content).hexdigest().encode(), content[place + 64 :]))


def read_label(path: Path) -> Label | None:
    """Read the label of a Parquet file from its end; None of a file of an earlier version, which has none.

    Raises `DamagedFileError` where it is no whole Parquet file, an `OSError` or `GradPrismError` where it cannot be
    read.
    """
    found = _ENTRY.search(_footer(path))
    if not found:
        return None
    try:
        entry = json.loads(found[0])
        return Label(str(entry["run"]), str(entry["table"]), int(entry["part"]), _row_numbers(entry["rows"]))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        raise DamagedFileError("its label cannot be read") from None


def check_content(path: Path, *, again: bool = False) -> None:
    """Raise `DamagedFileError` where a file with a label is not, to the byte, what was written.

    A file on a disk is read once, and once more when it has changed, or with `again`; of an object, which its store
    checks, the end alone.
    """
    footer = _footer(path)
    found = _ENTRY.search(footer)
    if found is None or is_remote(path):
        return
    state, checksum = state_of(path), found[1].decode()
    if not again and recall_digest(path, state) == checksum:
        return
    content = memoryview(path.read_bytes())
    place = len(content) - 8 - len(footer) + found.start(1)
    digest = hashlib.sha256(content[:place])
    digest.update(_NO_CHECKSUM.encode())
    digest.update(content[place + 64 :])
    if digest.hexdigest() != checksum:
        raise DamagedFileError("its content and its checksum differ")
    remember_digest(path, state, checksum)


def read_rows(path: Path) -> list[int]:
    """Read the different row numbers of a file without a label, ascending, decoding all of the file once.

    Raises `DamagedFileError` where it cannot be decoded, or has no row numbers.
    """
    from pyarrow import ArrowException, parquet

    try:
        table = pl.from_arrow(parquet.read_table(_source(path)))
    except (ArrowException, OSError, ValueError) as error:
        raise DamagedFileError(f"it cannot be decoded ({str(error).splitlines()[0]})") from None
    if not isinstance(table, pl.DataFrame) or table.schema.get("row") != pl.Int64 or table["row"].null_count():
        raise DamagedFileError("it has no column of row numbers")
    return table["row"].unique().sort().to_list()


def _footer(path: Path) -> bytes:
    """Read the metadata at the end of a Parquet file, without interpreting them."""
    size = as_remote(path).size() if is_remote(path) else path.stat().st_size
    end = _read_range(path, size - 8, size) if size >= 12 else b""
    length = int.from_bytes(end[:4], "little")
    if end[4:] != b"PAR1" or length > size - 12:
        raise DamagedFileError("it is empty" if size == 0 else "it is no whole Parquet file")
    return _read_range(path, size - 8 - length, size - 8)


def _read_range(path: Path, start: int, end: int) -> bytes:
    if is_remote(path):
        return as_remote(path).read_range(start, end)
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def _ranges(rows: Iterable[int]) -> str:
    """Return ascending numbers as text: 0-255 300."""
    runs = (list(run) for _, run in groupby(enumerate(rows), lambda item: item[1] - item[0]))
    return " ".join(f"{run[0][1]}-{run[-1][1]}" if len(run) > 1 else str(run[0][1]) for run in runs)


def _row_numbers(ranges: str) -> tuple[int, ...]:
    bounds = [(int(first), int(last or first)) for first, _, last in (part.partition("-") for part in ranges.split())]
    if sum(last - first + 1 for first, last in bounds) > _MOST_ROWS:
        raise ValueError("more rows than a part has")
    return tuple(row for first, last in bounds for row in range(first, last + 1))


def scan_parts(parts: Sequence[Path]) -> pl.LazyFrame:
    """Return Parquet files of one schema as a lazy frame, of which only the columns that are used get read.

    Objects of a store are read through fsspec and not by polars itself, which is about two and a half times as fast but
    takes credentials and endpoint from settings of its own.
    """
    return _scan_objects([as_remote(part) for part in parts]) if is_remote(parts[0]) else pl.scan_parquet(list(parts))


def read_parquet(path: Path) -> pl.DataFrame:
    """Read one file whole. Raises an error of polars, an `OSError` or a `GradPrismError`."""
    return pl.read_parquet(_source(path))


def _source(path: Path) -> Path | io.BytesIO:
    return io.BytesIO(path.read_bytes()) if is_remote(path) else path


def _scan_objects(parts: Sequence[RemotePath]) -> pl.LazyFrame:
    from pyarrow import dataset
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    files = PyFileSystem(FSSpecHandler(_Objects(parts)))
    return pl.scan_pyarrow_dataset(dataset.dataset([str(part) for part in parts], filesystem=files, format="parquet"))


class _Objects:
    """Parts in one folder of a store, as the file system that pyarrow asks for files by their URLs."""

    protocol = "parts"

    def __init__(self, parts: Sequence[RemotePath]):
        self._parts = {str(part): part for part in parts}
        self._sizes = parts[0].parent.sizes()  # one request, in place of one for each

    def isfile(self, url: str) -> bool:
        return url in self._parts

    def open(self, url: str, mode: str) -> StoredFile:
        part = self._parts[url]
        return StoredFile(part, self._sizes.get(part.name) or part.size())
