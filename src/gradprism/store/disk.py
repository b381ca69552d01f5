"""Files of a run written whole, on a disk or in an object store: one writer at a time, failures as one error."""

import errno
import io
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import polars as pl
from filelock import FileLock, Timeout

from gradprism.errors import GradPrismError
from gradprism.places import is_shared, names_in, remote
from gradprism.remote import RemotePath
from gradprism.storage_errors import StorageError
from gradprism.store.layout import LOCK_FILE, RUN_FILE, read_record
from gradprism.store.lease import Lease

PAUSES = (2.0, 8.0, 20.0)  # seconds before a part is uploaded once more; the client itself tries several times each


class Hold(Protocol):
    """What keeps other writers away from a run."""

    def release(self) -> object:
        """Give the run back."""


def unheard(text: str) -> None:
    """Nobody listens."""


def hold(path: Path, say: Callable[[str], None] = unheard) -> Hold:
    """Create a run's folder and take its lock, or its lease in an object store; the caller releases it.

    `say` hears of it where the lease of a dead process is taken over. Raises `GradPrismError` where the folder cannot
    be written, is something else than a run, or is being written.
    """
    if is_shared(path):
        remote(path).refuse_read_only()
        with disk_errors(path):
            _refuse_foreign(path)
            return Lease(remote(path), LOCK_FILE, say)
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(path)
        lock = FileLock(path / LOCK_FILE)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise GradPrismError(
                f"Another process is writing the run {path}. Wait for it, or choose another --out."
            ) from None
    return lock


def _refuse_foreign(path: Path) -> None:
    if (path / RUN_FILE).exists():
        read_record(path)
        return
    others = [name for name in names_in(path) if not name.startswith(".")]
    if others:
        raise GradPrismError(
            f"{path} is not empty and is not a run (it holds {', '.join(others[:3])}, no {RUN_FILE}). "
            "Choose another --out."
        )


def refuse_differences(path: Path, made: Mapping[str, Any], now: Mapping[str, Any], other: str = "--out") -> None:
    """Refuse to go on with other settings than those that were begun with; `other` is the option that avoids it."""
    different = [name for name in sorted({*made, *now}) if made.get(name) != now.get(name)]
    if different:
        lines = "\n".join(f"  {name}: the run has {made.get(name)!r}, now {now.get(name)!r}" for name in different)
        raise GradPrismError(
            f"The run {path} was made with other settings or data:\n{lines}\n{_on_digests(made, now, different)}"
            f"Repeat the command that made it (see its recipe.yaml), or choose another {other}."
        )


def _on_digests(made: Mapping[str, Any], now: Mapping[str, Any], different: Sequence[str]) -> str:
    """Say where a difference may be one of digests alone: they had 16 digits while they were of the files' ends."""
    short, whole = re.compile(r"(.*\+)?[0-9a-f]{16}"), re.compile(r"(.*\+)?[0-9a-f]{32}")
    if not any(short.fullmatch(str(made.get(name))) and whole.fullmatch(str(now.get(name))) for name in different):
        return ""
    return (
        "The way of telling models apart has changed since that run was begun: the whole of their weights is looked at "
        "now. The model may be the same, which the run cannot show.\n"
    )


def refuse_other_data(path: Path, made: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to put two data sets into one run; `made` and `now` are what run.json says of the data."""
    if made["fingerprint"] != now["fingerprint"]:
        raise GradPrismError(
            f"The run {path} holds other rows: {made['rows']:,} of {', '.join(made['sources'])}, "
            f"now {now['rows']:,} of {', '.join(now['sources'])}, or rows whose content has changed.\n"
            "Give the data and the --rows, --sample and --limit that made it, or choose another --out."
        )


def json_bytes(values: Mapping[str, Any]) -> bytes:
    """A record as people read it."""
    return json.dumps(values, indent=2, ensure_ascii=False).encode()


def clear_leftovers(folder: Path) -> None:
    """Make the folder of a table, or take out what a kill left half written; an object store never shows such."""
    if is_shared(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(".*.partial"):
        left_over.unlink()


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """A part in memory: written straight to a full disk, polars leaves a torn file without an error."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def replace(target: Path, content: bytes) -> None:
    """Write a file so that it is seen whole or not at all, whatever happens meanwhile."""
    if is_shared(target):
        _upload(remote(target), content)
    else:
        _rename(target, content)


def _rename(target: Path, content: bytes) -> None:
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


def _upload(target: RemotePath, content: bytes) -> None:
    """Put the object, which appears when all of it has arrived. A store that fails for a minute ends no long run."""
    for pause in PAUSES:
        try:
            return target.write_bytes(content)
        except StorageError as error:
            if not error.transient:
                raise
            time.sleep(pause)
    return target.write_bytes(content)


@contextmanager
def disk_errors(path: Path, what: str = "the run") -> Iterator[None]:
    """Failures of the disk or the store as the one error, with what to do."""
    safe = "what was already published is safe and will not be computed again."
    try:
        yield
    except StorageError as error:
        more = f"\nRepeat the same command once that is mended; {safe}" if what == "the run" else ""
        raise GradPrismError(f"Cannot write {what} {error}{more}") from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "The disk is full: free some space" if full else "Check the path and its permissions"
        raise GradPrismError(
            f"Cannot write {what} {path}: {error}.\n{advice} and repeat the command"
            + (f"; {safe}" if what == "the run" else ".")
        ) from error
