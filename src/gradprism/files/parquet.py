"""Parquet files that say whose they are: written with a label and a checksum, on a disk or in an object store."""

import hashlib
import io
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import polars as pl

from gradprism.core.errors import first_line
from gradprism.files.digest_memory import recall_digest, remember_digest, state_of
from gradprism.files.paths import as_remote, is_remote
from gradprism.files.remote import ObjectState, RemotePath
from gradprism.files.remote_files import StoredFile
from gradprism.files.storage_errors import StorageError

_ENTRY = re.compile(rb'\{"run": [^{}]*"sha256": "([0-9a-f]{64})"\}')  # in the file's key-value metadata
_NO_CHECKSUM = "0" * 64
_MOST_ROWS = 2**24  # of a part
_SMALL, _END = 64 << 10, 8 << 10  # bytes of an object that is read whole, and of the end of another: most footers
_ENTRIES = dict[tuple[str, ObjectState], bytes | None]()  # of objects that were found to be whole


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


def read_label(path: Path, state: ObjectState | None = None) -> Label | None:
    """Read the label of a Parquet file from its end; None of a file of an earlier version, which has none.

    `state` is that of an object, where it was listed. Raises `DamagedFileError` where it is no whole Parquet file, an
    `OSError` or `GradPrismError` where it cannot be read.
    """
    if is_remote(path):
        found = _entry_of_object(as_remote(path), state)
    else:
        match = _find_entry(_footer(path))
        found = match[0] if match else None
    if not found:
        return None
    try:
        entry = json.loads(found)
        return Label(str(entry["run"]), str(entry["table"]), int(entry["part"]), _row_numbers(entry["rows"]))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        raise DamagedFileError("its label cannot be read") from None


def check_content(path: Path, *, again: bool = False) -> None:
    """Raise `DamagedFileError` where a file on a disk that has a label is not, to the byte, what was written.

    It is read once, and once more when it has changed, or with `again`. Of an object, which its store checks,
    `read_label` reads the end alone, and checks the content where that is all of it.
    """
    footer = _footer(path)
    found = _find_entry(footer)
    if found is None:
        return
    state, checksum = state_of(path), found[1].decode()
    if not again and recall_digest(path, state) == checksum:
        return
    _check_digest(path.read_bytes(), len(footer))
    remember_digest(path, state, checksum)


def read_rows(path: Path) -> list[int]:
    """Read the different row numbers of a file without a label, ascending, decoding all of the file once.

    Raises `DamagedFileError` where it cannot be decoded, or has no row numbers.
    """
    from pyarrow import ArrowException, parquet

    try:
        table = pl.from_arrow(parquet.read_table(_source(path)))
    except (ArrowException, OSError, ValueError) as error:
        raise DamagedFileError(f"it cannot be decoded ({first_line(error)})") from None
    if not isinstance(table, pl.DataFrame) or table.schema.get("row") != pl.Int64 or table["row"].null_count():
        raise DamagedFileError("it has no column of row numbers")
    return table["row"].unique().sort().to_list()


def _find_entry(content: bytes, start: int = 0) -> re.Match[bytes] | None:
    """Find the label and its checksum: the last text of that form, since statistics of columns come before it."""
    return next(reversed(list(_ENTRY.finditer(content, start))), None)


def _footer(path: Path) -> bytes:
    """Read the metadata at the end of a Parquet file, without interpreting them."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - 8, 0))
        length = _footer_length(file.read(8), size)
        file.seek(size - 8 - length)
        return file.read(length)


def _footer_length(end: bytes, size: int) -> int:
    length = int.from_bytes(end[-8:-4], "little")
    if size < 12 or end[-4:] != b"PAR1" or length > size - 12:
        raise DamagedFileError("it is empty" if size == 0 else "it is no whole Parquet file")
    return length


def _entry_of_object(path: RemotePath, state: ObjectState | None) -> bytes | None:
    """Read the entry of the label: by one request for an object whose state was listed, by none if it was read before.

    A listing may be of a moment ago. Where what it says does not fit, the object itself is asked.
    """
    if state is None:
        state = path.state()
    elif (path.url, state) not in _ENTRIES:
        with suppress(DamagedFileError, StorageError):
            return _entry_of_object_in(path, state)
        state = path.state()
    return _entry_of_object_in(path, state)


def _entry_of_object_in(path: RemotePath, state: ObjectState) -> bytes | None:
    key = path.url, state
    if key in _ENTRIES:
        return _ENTRIES[key]
    end = path.read_range(0 if state.size <= _SMALL else state.size - _END, state.size)
    length = _footer_length(end, state.size)
    if length + 8 > len(end):
        end = path.read_range(state.size - 8 - length, state.size)
    found = _find_entry(end, len(end) - 8 - length)
    if len(end) == state.size:
        _check_digest(end, length)
    entry = found[0] if found else None
    if state.etag:  # changes with the object
        _ENTRIES[key] = entry
    return entry


def _check_digest(content: bytes, footer: int) -> None:
    found = _find_entry(content, len(content) - 8 - footer)
    if not found:
        return
    view, place = memoryview(content), found.start(1)
    digest = hashlib.sha256(view[:place])
    digest.update(_NO_CHECKSUM.encode())
    digest.update(view[place + 64 :])
    if digest.hexdigest().encode() != found[1]:
        raise DamagedFileError("its content and its checksum differ")


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
    """Return what to read the file from; of an object its content, of the length that its store says."""
    return io.BytesIO(as_remote(path).read_range(0, as_remote(path).state().size)) if is_remote(path) else path


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
        self._states = dict[str, ObjectState]()
        with suppress(FileNotFoundError):  # one request, in place of one for each
            self._states = parts[0].parent.states()

    def isfile(self, url: str) -> bool:
        return url in self._parts

    def open(self, url: str, mode: str) -> StoredFile:
        part = self._parts[url]
        try:
            return StoredFile(part, (self._states.get(part.name) or part.state()).size)
        except FileNotFoundError:
            raise StorageError(
                f"{part} is no longer there, or the store does not show it.\nRepeat the command."
            ) from None
