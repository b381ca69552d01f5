"""Open a data file: decompressed, and refused where its first bytes are not those of its kind."""

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from gradprism.core.errors import GradPrismError

_BUFFER = 1 << 16  # bytes
_HEAD = 512  # bytes by which a file is recognised

_RENAME = "rename it so that its name ends in {}, or unpack it"
_REWRITE = "write its rows as JSON Lines or Parquet"
_DATASETS = f"give the saved `datasets` folder that it is of, or {_REWRITE}"
_DOWNLOAD = "download the file again"
_SIGNATURES = (
    (b"\x1f\x8b", "gzip-compressed", _RENAME.format(".gz")),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", _RENAME.format(".zst")),
    (b"\xfd7zXZ\x00", "xz-compressed", _RENAME.format(".xz")),
    (b"BZh", "bzip2-compressed", _RENAME.format(".bz2")),
    (b"PK\x03\x04", "a zip archive (or an Excel file)", _RENAME.format(".zip")),
    (b"PAR1", "a Parquet file", "rename it so that its name ends in .parquet"),
    (b"ARROW1", "an Arrow file", _DATASETS),
    (b"\xff\xff\xff\xff", "an Arrow stream", _DATASETS),
    (b"\x93NUMPY", "a NumPy array", _REWRITE),
    ((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a Python pickle", _REWRITE),
    (b"SQLite format 3\0", "an SQLite database", _REWRITE),
    (b"\x89HDF", "an HDF5 file", _REWRITE),
    (b"Obj\x01", "an Avro file", _REWRITE),
    (b"%PDF", "a PDF", _REWRITE),
)
_TEXT_SIGNATURES = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
    ((b"<!doctype html", b"<html"), "an HTML page, perhaps an error in place of the download", _DOWNLOAD),
    (b"<?xml", "XML, perhaps an error in place of the download", _DOWNLOAD),
)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open and decompress. Raises `GradPrismError` for whatever fails, a damaged archive too."""
    try:
        with _decompressed(path) as file:
            yield file
    except FileNotFoundError:
        raise GradPrismError(f"No such file: {path}") from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile) as error:
        raise GradPrismError(f"Cannot read {path}: {error}") from error


@contextmanager
def _decompressed(path: Path) -> Iterator[IO[bytes]]:
    openers: dict[str, Callable[..., Any]] = {
        ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": _unzstd, ".zip": _unzipped
    }  # fmt: skip
    with path.open("rb") as packed, openers.get(path.suffix.lower(), nullcontext)(packed) as file:
        yield file


def _unzstd(packed: IO[bytes]) -> Any:
    import pyarrow as pa  # unlike zstandard's reader it notices where an archive was cut short

    return pa.input_stream(packed, compression="zstd")


@contextmanager
def _unzipped(packed: IO[bytes]) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(packed) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
        if len(names) != 1:
            raise zipfile.BadZipFile(f"it holds {len(names)} files; expected one. Unpack it and give the folder.")
        try:
            file = archive.open(names[0])
        except RuntimeError as error:  # encrypted, or packed by a method that Python does not know
            raise zipfile.BadZipFile(f"{error}. Unpack it and give the file.") from None
        with file:
            yield file


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Open as UTF-8 text, a byte-order mark dropped; bytes that are not UTF-8 come out as lone surrogates.

    Raises `GradPrismError` that says what the file is where it begins as no text of rows does.
    """
    with opened(path) as raw, io.BufferedReader(raw, _BUFFER) as buffered:  # type: ignore[type-var]
        if kind := kind_by_first_bytes(buffered.peek(_HEAD)):
            raise GradPrismError(f"{path} is {kind}")
        with io.TextIOWrapper(buffered, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield file


def first_bytes_of(path: Path) -> bytes:
    """Return as many bytes of a file, decompressed, as `kind_by_first_bytes` looks at."""
    with opened(path) as file:
        return file.read(_HEAD)


def kind_by_first_bytes(head: bytes) -> str | None:
    """Say what a file is by its first bytes, and what to do; None where it may be text of rows."""
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "UTF-16 text; UTF-8 is expected. Convert it, e.g. with iconv."
    text = head[:_HEAD].removeprefix(codecs.BOM_UTF8).lstrip().lower()
    for content, signatures in ((head, _SIGNATURES), (text, _TEXT_SIGNATURES)):
        for start, kind, advice in signatures:
            if content.startswith(start):
                return f"{kind}: {advice}."
    return None


def not_utf8(text: str) -> str | None:
    """Return a problem that names the first byte of `text` that is not UTF-8, if there is one."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        if 0xDC80 <= code <= 0xDCFF:
            return f"byte 0x{code - 0xDC00:02x} at character {error.start + 1} of the row is not UTF-8"
    return None
