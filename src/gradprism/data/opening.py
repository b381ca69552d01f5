"""Open a data file: decompressed, and as the text that its name promises."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gradprism.core.errors import GradPrismError
from gradprism.data.signatures import HEAD, refuse_no_text
from gradprism.files.places import is_shared

_BUFFER = max(HEAD, 1 << 16)  # bytes


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
def open_text(path: Path) -> Iterator[IO[str]]:
    """UTF-8 text, a byte-order mark dropped; bytes that are not UTF-8 come out as lone surrogates."""
    with opened(path) as raw, io.BufferedReader(raw, _BUFFER) as buffered:  # type: ignore[type-var]
        refuse_no_text(path, buffered.peek(HEAD)[:HEAD])
        with io.TextIOWrapper(buffered, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield file


def not_utf8(text: str) -> str | None:
    """Return a problem that names the first byte of `text` that is not UTF-8, if there is one."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        if 0xDC80 <= code <= 0xDCFF:
            return f"byte 0x{code - 0xDC00:02x} at character {error.start + 1} of the row is not UTF-8"
    return None
