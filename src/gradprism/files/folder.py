"""Folders written by one process at a time, and whole: new files take their places once all of them are there.

New files are written into a hidden folder, `.writing`. Its renaming to `.written` publishes them: from then on
`published_path` finds them there, until each has been moved to its place, which the next writer does where a killed
one did not. So at any moment a reader finds all files from before, or all new ones.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, NamedTuple

from filelock import FileLock, Timeout

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import say_nothing
from gradprism.files.atomic import copy_whole, target_file, whole_file, write_errors
from gradprism.files.lease import Lease
from gradprism.files.paths import as_remote, is_remote, list_names

WAIT_SECONDS = 10.0  # for another writer, which may be moving the last files to their places


class FolderKind(NamedTuple):
    """A kind of folder: its name in messages, and the files that tell it; without any, every folder may be written."""

    name: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class FolderLock:
    """A lock on a folder of a disk, or on one name in it."""

    _lock: FileLock

    def release(self) -> None:
        """Let other processes write."""
        with suppress(OSError):  # while it is locked, so that nobody's new lock is deleted
            Path(self._lock.lock_file).unlink()
        self._lock.release()


def lock_folder(
    folder: Path, kind: FolderKind, *, name: str = "", wait: float = 0.0, say: Callable[[str], None] = say_nothing
) -> FolderLock | Lease:
    """Create a folder and lock it, or one `name` in it: a file lock on a disk, a lease in an object store.

    The caller releases it. `say` reports when the lease of a dead process is taken over. Raises `GradPrismError` where
    the folder cannot be written, or is still being written by another process after `wait` seconds.
    """
    with write_errors(folder / name if name else folder, f"the {kind.name}"):
        if not name:
            refuse_file(folder)
        if is_remote(folder):
            return Lease(as_remote(folder), _hidden(name, "lock"), say, kind.name)
        Path(os.path.realpath(folder)).mkdir(parents=True, exist_ok=True)  # where a link leads, too
        lock = FileLock(folder / _hidden(name, "lock"))
        try:
            lock.acquire(timeout=wait, poll_interval=0.02)
        except Timeout:
            raise GradPrismError(
                f"Another process is writing the {kind.name} {folder / name}. Wait for it, or choose another --out."
            ) from None
    return FolderLock(lock)


@contextmanager
def locked_folder(folder: Path, kind: FolderKind, *, name: str = "", wait: float | None = None) -> Iterator[None]:
    """Hold the lock of a folder, or of one `name` in it; see `lock_folder`. The wait is short unless it is given."""
    lock = lock_folder(folder, kind, name=name, wait=WAIT_SECONDS if wait is None else wait)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def written_folder(folder: Path, kind: FolderKind, *, name: str = "") -> Iterator[Path]:
    """Lock a folder, and yield one to write its new files into, as `staged_files` does; other files in it stay.

    With a `name` other writers in the folder are let in, and those of this name kept out. Raises `GradPrismError`
    where the folder holds something other than its kind, or cannot be written.
    """
    with locked_folder(folder, kind, name=name), write_errors(folder, f"the {kind.name}"):
        refuse_other_files(folder, kind)
        with staged_files(folder, name) as new:
            yield new


@contextmanager
def written_file(target: Path, kind: str) -> Iterator[IO[bytes]]:
    """Lock the name of a file, and open it for writing as `whole_file` does, in a folder that is made for it.

    Objects of a store appear whole without a lock, the last one written stays. Raises `GradPrismError`.
    """
    with write_errors(target, f"the {kind}"), ExitStack() as stack:
        if not is_remote(target):
            target = target_file(target)
            stack.enter_context(locked_folder(target.parent, FolderKind(kind), name=target.name))
        yield stack.enter_context(whole_file(target))


@contextmanager
def staged_files(folder: Path, name: str = "") -> Iterator[Path]:
    """Yield a folder to write new files into. At the end they take their places in `folder`, or none where it failed.

    Into an object store they are uploaded then, in the order in which they were written. The caller holds the lock.
    """
    if is_remote(folder):
        with TemporaryDirectory() as local:
            yield Path(local)
            for file in _files_below(Path(local)):
                as_remote(folder / file.relative_to(local).as_posix()).upload(file)
        return
    writing, written = folder / _hidden(name, "writing"), folder / _hidden(name, "written")
    _move_files(written, folder)  # of a writer that was killed while it did
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir()
    try:
        yield writing
        for file in _files_below(writing):
            target_file(folder / file.relative_to(writing))
        writing.rename(written)
        _move_files(written, folder)
    finally:
        _move_files(written, folder)  # those that are left where Ctrl-C came between two
        shutil.rmtree(writing, ignore_errors=True)


def published_path(folder: Path, name: str) -> Path:
    """Return where a file of a folder is, be it on its way to its place."""
    moving = folder / _hidden("", "written") / name
    return folder / name if is_remote(folder) or not moving.exists() else moving


def refuse_file(folder: Path) -> None:
    """Raise `GradPrismError` where a folder is to be written and something else is there, or it can only be read."""
    if is_remote(folder):
        as_remote(folder).refuse_read_only()
    elif folder.exists() and not folder.is_dir():
        raise GradPrismError(f"{folder} is no folder. Expected --out to be a folder, or a name that is free.")


def refuse_other_files(folder: Path, kind: FolderKind) -> None:
    """Raise `GradPrismError` where a folder holds files, and none of those that tell its kind."""
    refuse_file(folder)
    others = [name for name in list_names(folder) if not name.startswith(".")]
    if others and kind.files and not any(published_path(folder, file).exists() for file in kind.files):
        raise GradPrismError(
            f"{folder} is not empty and is not a {kind.name} (it holds {', '.join(others[:3])}, no {kind.files[0]}). "
            "Choose another --out."
        )


def _hidden(name: str, what: str) -> str:
    return f".{name}.{what}" if name else f".{what}"


def _files_below(folder: Path) -> list[Path]:
    """Return the files in a folder and its folders, in the order in which they were written."""
    return sorted((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_mtime_ns)


def _move_files(written: Path, folder: Path) -> None:
    """Move all files of a folder to their places, and remove it; nothing where there is no such folder."""
    if not written.is_dir():
        return
    for file in _files_below(written):
        target = target_file(folder / file.relative_to(written))
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.parent.stat().st_dev == written.stat().st_dev:
            file.replace(target)
        else:  # a link leads to another disk
            copy_whole(file, target)
            file.unlink()
    shutil.rmtree(written)
