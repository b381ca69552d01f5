"""Files of a run written whole, on a disk or in an object store: one writer at a time, failures as one error."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import unheard
from gradprism.files.atomic import disk_errors
from gradprism.files.lease import Lease
from gradprism.files.places import is_shared, names_in, remote
from gradprism.runs.layout import LOCK_FILE, RUN_FILE, read_record


class Hold(Protocol):
    """What keeps other writers away from a run."""

    def release(self) -> object:
        """Give the run back."""


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
