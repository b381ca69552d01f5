"""Tell by its first bytes what a file is whose name says something else."""

import codecs
from pathlib import Path

from gradprism.core.errors import GradPrismError

HEAD = 512  # bytes that are looked at

_RENAME = "rename it so that its name ends in {}, or unpack it"
_REWRITE = "write its rows as JSON Lines or Parquet"
_BINARY = (
    (b"\x1f\x8b", "gzip-compressed", _RENAME.format(".gz")),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", _RENAME.format(".zst")),
    (b"\xfd7zXZ\x00", "xz-compressed", _RENAME.format(".xz")),
    (b"BZh", "bzip2-compressed", _RENAME.format(".bz2")),
    (b"PK\x03\x04", "a zip archive (or an Excel file)", _RENAME.format(".zip")),
    (b"PAR1", "a Parquet file", "rename it so that its name ends in .parquet"),
    (b"ARROW1", "an Arrow file", f"give the saved `datasets` folder that it is of, or {_REWRITE}"),
    (b"\xff\xff\xff\xff", "an Arrow stream", f"give the saved `datasets` folder that it is of, or {_REWRITE}"),
    (b"\x93NUMPY", "a NumPy array", _REWRITE),
    (b"\x80\x02", "a Python pickle", _REWRITE),
    (b"\x80\x03", "a Python pickle", _REWRITE),
    (b"\x80\x04", "a Python pickle", _REWRITE),
    (b"\x80\x05", "a Python pickle", _REWRITE),
    (b"SQLite format 3\0", "an SQLite database", _REWRITE),
    (b"\x89HDF", "an HDF5 file", _REWRITE),
    (b"Obj\x01", "an Avro file", _REWRITE),
    (b"%PDF", "a PDF", _REWRITE),
)
_TEXT = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
    (b"<!doctype html", "an HTML page, perhaps an error in place of the download", "download the file again"),
    (b"<html", "an HTML page, perhaps an error in place of the download", "download the file again"),
    (b"<?xml", "XML, perhaps an error in place of the download", "download the file again"),
)


def what_it_is(head: bytes) -> str | None:
    """Return what a file is by its first bytes and what to do, where these are of none of the text formats."""
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "UTF-16 text; UTF-8 is expected. Convert it, e.g. with iconv."
    for start, name, remedy in _BINARY:
        if head.startswith(start):
            return f"{name}: {remedy}."
    text = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    for start, name, remedy in _TEXT:
        if text.startswith(start):
            return f"{name}: {remedy}."
    return None


def refuse_no_text(path: Path, head: bytes) -> None:
    """Raise `GradPrismError` that says what a file is where it begins as no text of rows does."""
    if found := what_it_is(head):
        raise GradPrismError(f"{path} is {found}")
