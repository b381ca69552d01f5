"""Writing a run: parts published by rename, resumed only with the same settings and data."""

import errno
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout

from gradprism.errors import GradPrismError
from gradprism.store.layout import (
    FORMAT_VERSION,
    LOCK_FILE,
    RUN_FILE,
    TABLES,
    part_path,
    published_parts,
    read_record,
)
from gradprism.tables import Tables


class RunWriter:
    """One process's hold on a run directory. Use as a context manager: it holds the run's lock."""

    def __init__(self, path: Path, description: Mapping[str, Any]):
        """Create the run, or join it if `description["identity"]` agrees with what made it.

        Raises `GradPrismError` where the folder cannot be written, is something else than a run, or was made
        with other settings or data.
        """
        self.path = path
        self._lock = FileLock(path / LOCK_FILE)
        with _disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            _refuse_foreign(path)
            self._take_lock()
            try:
                self.record = self._join(description)
                self._write_record()  # first: a folder with tables and no record is no run, and would be refused
                for table in TABLES:
                    (path / table).mkdir(exist_ok=True)
                    for left_over in (path / table).glob(".*.partial"):
                        left_over.unlink()
            except BaseException:
                self._lock.release()
                raise

    def __enter__(self) -> "RunWriter":
        """Return the writer; the lock is already held."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the run back."""
        self._lock.release()

    @property
    def done(self) -> frozenset[int]:
        """Indices of the parts already published."""
        return frozenset(published_parts(self.path))

    def publish(self, index: int, tables: Tables) -> None:
        """Write one part. It counts once its `examples` file has been renamed into place, last of all."""
        with _disk_errors(self.path):
            for table in TABLES:
                _replace(part_path(self.path, table, index), _parquet_bytes(getattr(tables, table)))

    def update(self, **changes: Any) -> None:
        """Change entries of run.json."""
        self.record.update(changes)
        with _disk_errors(self.path):
            self._write_record()

    def add_session(self, entry: Mapping[str, Any]) -> None:
        """Append what one session did to run.json."""
        self.update(sessions=[*self.record["sessions"], entry])

    def write_text(self, name: str, text: str) -> None:
        """Write a small text file into the run, whole."""
        with _disk_errors(self.path):
            _replace(self.path / name, text.encode())

    def _take_lock(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise GradPrismError(
                f"Another process is writing the run {self.path}. Wait for it, or choose another --out."
            ) from None

    def _join(self, description: Mapping[str, Any]) -> dict[str, Any]:
        if not self.done:  # nothing has been computed yet, so nothing can disagree
            return {"format_version": FORMAT_VERSION, **description}
        record = read_record(self.path)
        _refuse_differences(self.path, record["identity"], description["identity"])
        return record

    def _write_record(self) -> None:
        text = json.dumps(self.record, indent=2, ensure_ascii=False)
        _replace(self.path / RUN_FILE, text.encode())


def _refuse_foreign(path: Path) -> None:
    if (path / RUN_FILE).exists():
        read_record(path)
        return
    others = [item.name for item in path.iterdir() if not item.name.startswith(".")]
    if others:
        raise GradPrismError(
            f"{path} is not empty and is not a run (it holds {', '.join(sorted(others)[:3])}, no {RUN_FILE}). "
            "Choose another --out."
        )


def _refuse_differences(path: Path, made: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    different = [name for name in sorted({*made, *now}) if made.get(name) != now.get(name)]
    if different:
        lines = "\n".join(f"  {name}: the run has {made.get(name)!r}, now {now.get(name)!r}" for name in different)
        raise GradPrismError(
            f"The run {path} was made with other settings or data:\n{lines}\n"
            "Repeat the command that made it (see its recipe.yaml), or choose another --out."
        )


def _parquet_bytes(frame: pl.DataFrame) -> bytes:
    """A part in memory: written straight to a full disk, polars leaves a torn file without an error."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def _replace(target: Path, content: bytes) -> None:
    """Rename into place once the bytes are on the disk, so that no crash leaves a torn file under its name."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "The disk is full: free some space" if full else "Check the path and its permissions"
        raise GradPrismError(
            f"Cannot write the run {path}: {error}.\n{advice} and repeat the command; "
            "what was already published is safe and will not be computed again."
        ) from error
