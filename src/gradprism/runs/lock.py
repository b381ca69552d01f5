"""Lock a run, on a disk or in an object store, so that one process at a time writes it."""

from collections.abc import Callable
from pathlib import Path

from gradprism.core.progress import say_nothing
from gradprism.files.atomic import write_errors
from gradprism.files.folder import FolderKind, FolderLock, lock_folder, refuse_other_files
from gradprism.files.lease import Lease
from gradprism.runs.layout import RUN_FILE

_RUN = FolderKind("run", (RUN_FILE,))


def lock_run(path: Path, say: Callable[[str], None] = say_nothing) -> FolderLock | Lease:
    """Create a run's folder and lock it: a file lock on a disk, a lease in an object store. The caller releases it.

    `say` reports when the lease of a dead process is taken over. Raises `GradPrismError` where the folder cannot be
    written, holds something other than a run, or is being written by another process.
    """
    with write_errors(path):
        refuse_other_files(path, _RUN)  # what run.json says is read once the run is locked
    return lock_folder(path, _RUN, say=say)
