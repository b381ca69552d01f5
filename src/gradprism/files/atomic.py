"""Write files whole or not at all, on a disk or in an object store, with failures as one error."""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from gradprism.core.errors import GradPrismError
from gradprism.files.paths import as_remote, is_remote
from gradprism.files.remote import RemotePath
from gradprism.files.storage_errors import StorageError

PAUSES = (2.0, 8.0, 20.0)  # seconds before a part is uploaded once more; the client itself tries several times each
_NO_FILES = {
    Path.is_symlink: "a link that leads to itself", Path.is_dir: "a folder", Path.is_fifo: "a named pipe",
    Path.is_socket: "a socket", Path.is_char_device: "a device", Path.is_block_device: "a device",
}  # fmt: skip


def prepare_folder(folder: Path) -> None:
    """Make the folder of a table, and delete half-written files of a killed process; an object store has none."""
    if is_remote(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(".*.partial"):
        left_over.unlink()


def write_whole(target: Path, content: bytes, *, private: bool = False) -> None:
    """Write a file so that it is seen whole or not at all; on a disk, a private one is readable by its owner alone."""
    if is_remote(target):
        _put(as_remote(target), content)
    else:
        with whole_file(target, private=private) as file:
            file.write(content)


@contextmanager
def whole_file(target: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """Open a file for writing that appears under its name only once the block has ended without an error.

    On a disk it is renamed into place when its bytes are there, so that no crash leaves a torn file; what goes to an
    object store is written to a local file first, and uploaded from there. Where the name is a link, the file that it
    leads to is replaced. Raises `GradPrismError` where something other than a file has this name.
    """
    if is_remote(target):
        with NamedTemporaryFile() as file:
            yield file
            file.flush()
            as_remote(target).upload(Path(file.name))
        return
    target = target_file(target)
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.unlink(missing_ok=True)  # one that a killed process left has its own permissions
        with open(partial, "wb", opener=_open_private if private else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def copy_whole(file: Path, target: Path) -> None:
    """Copy a file, as `whole_file` writes it."""
    with file.open("rb") as source, whole_file(target) as copy:
        shutil.copyfileobj(source, copy)


def target_file(named: Path) -> Path:
    """Return the file to write under a name: where it is a link, the one that it leads to, there or not.

    Raises `GradPrismError` where something other than a file has the name: a device would be replaced by a file.
    """
    if is_remote(named):
        return named
    with write_errors(named, "the file"):
        target = Path(os.path.realpath(named))
        kind = next((words for holds, words in _NO_FILES.items() if holds(target)), None)
    if kind is not None:
        raise GradPrismError(f"{named} is {kind}. Expected a file to write, or a name that is free.")
    return target


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def _put(target: RemotePath, content: bytes) -> None:
    """Upload the object, which appears once all of it has arrived; retry where the store fails for a moment."""
    for pause in PAUSES:
        try:
            return target.write_bytes(content)
        except StorageError as error:
            if not error.transient:
                raise
            time.sleep(pause)
    return target.write_bytes(content)


@contextmanager
def write_errors(path: Path, what: str = "the run") -> Iterator[None]:
    """Raise failures of the disk or the store as `GradPrismError`, with what to do."""
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
