"""Lock a run, on a disk or in an object store, so that one process at a time writes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import say_nothing
from gradprism.files.atomic import write_errors
from gradprism.files.lease import Lease
from gradprism.files.paths import as_remote, is_remote, list_names
from gradprism.runs.layout import LOCK_FILE, RUN_FILE


class RunLock(Protocol):
    """A lock that keeps other processes from writing a run."""

    def release(self) -> object:
        """Let other processes write the run."""


def lock_run(path: Path, say: Callable[[str], None] = say_nothing) -> RunLock:
    """Create a run's folder and lock it: a file lock on a disk, a lease in an object store. The caller releases it.

    `say` reports when the lease of a dead process is taken over. Raises `GradPrismError` where the folder cannot be
    written, holds something other than a run, or is being written by another process.
    """
    if is_remote(path):
        as_remote(path).refuse_read_only()
        with write_errors(path):
            _refuse_other_files(path)
            return Lease(as_remote(path), LOCK_FILE, say)
    with write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        _refuse_other_files(path)
        lock = FileLock(path / LOCK_FILE)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise GradPrismError(
                f"Another process is writing the run {path}. Wait for it, or choose another --out."
            ) from None
    return lock


def _refuse_other_files(path: Path) -> None:
    if (path / RUN_FILE).exists():
        return  # what it says is read once the run is locked
    others = [name for name in list_names(path) if not name.startswith(".")]
    if others:
        raise GradPrismError(
            f"{path} is not empty and is not a run (it holds {', '.join(others[:3])}, no {RUN_FILE}). "
            "Choose another --out."
        )
