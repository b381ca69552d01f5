"""Read Parquet files of a run as polars frames, from a local disk or an object store."""

import io
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from gradprism.files.paths import as_remote, is_remote
from gradprism.files.remote import RemotePath
from gradprism.files.remote_files import StoredFile


def scan_parts(parts: Sequence[Path]) -> pl.LazyFrame:
    """Return Parquet files of one schema as a lazy frame, of which only the columns that are used get read.

    Objects of a store are read through fsspec and not by polars itself, which is about two and a half times as fast but
    takes credentials and endpoint from settings of its own.
    """
    return _scan_objects([as_remote(part) for part in parts]) if is_remote(parts[0]) else pl.scan_parquet(list(parts))


def read_parquet(path: Path) -> pl.DataFrame:
    """Read one file whole. Raises an error of polars, an `OSError` or a `GradPrismError`."""
    return pl.read_parquet(io.BytesIO(path.read_bytes()) if is_remote(path) else path)


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
