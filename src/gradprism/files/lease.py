"""One writer at a time in an object store, which has no locks: an object that says who writes, renewed while it does.

It is put there by a conditional request, so that of two writers one gets it; a store that knows no conditions is asked
once more whose it is. What a dead writer leaves is taken over: at once where it was a process of this machine that is
no more, otherwise once it has not been renewed for a minute. A writer that was away for longer finds its lease gone,
and stops before it publishes anything else.
"""

import json
import os
import platform
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psutil

from gradprism.core.errors import GradPrismError
from gradprism.files.remote import RemotePath
from gradprism.files.storage_errors import ConflictError, StorageError

RENEW_SECONDS, STALE_SECONDS = 20.0, 60.0
_LEASES: dict[str, "Lease"] = {}  # by this process
_TOKENS = set[str]()  # of the leases that this process holds, or is about to take


@dataclass(frozen=True)
class Holder:
    """The process that a lease names as the writer."""

    token: str
    host: str
    pid: int
    born: float  # when the process began: another one may get the same number
    namespace: int  # of process numbers: containers on one machine have their own, and may share its name
    since: str
    renewed: float  # seconds since 1970

    @classmethod
    def here(cls) -> "Holder":
        """Return this process as a holder."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        born = psutil.Process().create_time()
        return cls(uuid4().hex, platform.node(), os.getpid(), born, _process_namespace(), now, time.time())

    @property
    def is_gone(self) -> bool:
        """True of a process of this machine that has ended, or one that has not renewed its lease for too long.

        Also of a lease that this very process has given up, where the store failed as it was to be deleted.
        """
        if (self.host, self.namespace) == (platform.node(), _process_namespace()):
            if not _is_alive(self.pid, self.born):
                return True
            if self.pid == os.getpid():
                return self.token not in _TOKENS
        return time.time() - self.renewed > STALE_SECONDS

    def __str__(self) -> str:
        """Return process, host and time in words."""
        return f"process {self.pid} on {self.host}, since {self.since}"


class Lease:
    """A lease, held from when it is made until `release`, and renewed by a thread."""

    def __init__(self, run: RemotePath, file: str, say: Callable[[str], None], kind: str = "run"):
        """Take the lease on a folder, a `kind`; a takeover is told to `say`.

        Raises `GradPrismError` where another process holds it.
        """
        self._run, self._object, self._me, self._kind = run, run / file, Holder.here(), kind
        self._lost: Holder | str | None = None
        _TOKENS.add(self._me.token)
        try:
            self._take(say)
        except BaseException:
            _TOKENS.discard(self._me.token)
            raise
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_released, name="gradprism-lease", daemon=True)
        self._thread.start()
        _LEASES[str(run)] = self

    @property
    def pass_for_workers(self) -> "LeasePass":
        """The pass by which a worker in another process finds out whether this lease is still held."""
        return LeasePass(self._run, self._object, self._me.token)

    def check(self) -> None:
        """Raise `GradPrismError` where the lease has been lost; asks the store after a time without a renewal."""
        for _ in range(2):  # the first answer may be that the object has just changed
            if self._lost is None and time.time() - self._me.renewed > STALE_SECONDS:
                self._renew()
        if self._lost is not None:
            raise _lost_error(self._kind, self._run, self._lost)

    def release(self) -> None:
        """Give the lease up: others may write."""
        _LEASES.pop(str(self._run), None)
        _TOKENS.discard(self._me.token)
        self._ended.set()
        self._thread.join(timeout=RENEW_SECONDS)
        with suppress(StorageError, FileNotFoundError):  # it goes stale by itself
            holder = read_holder(self._object)
            if holder is not None and holder.token == self._me.token:
                self._object.unlink(missing_ok=True)

    def _take(self, say: Callable[[str], None]) -> None:
        version, there = self._object.version(), self._object.exists()
        holder = read_holder(self._object) if there else None
        if holder is not None and not holder.is_gone:
            raise self._held_error(holder)
        if there:
            say(f"Taking over the {self._kind} {self._run} from {holder or 'an unreadable lease'}: it was left behind")
        with suppress(ConflictError):  # of another writer, or of an answer that was lost on its way here
            if there:
                self._object.exchange(_lease_bytes(self._me), version)
            else:
                self._object.create(_lease_bytes(self._me))
        found = read_holder(self._object)
        if found is None or found.token != self._me.token:
            raise self._held_error(found)

    def _held_error(self, holder: Holder | None) -> GradPrismError:
        return GradPrismError(
            f"Another process is writing the {self._kind} {self._run}: {holder or 'it began just now'}. "
            "Wait for it, or choose another --out."
        )

    def _renew_until_released(self) -> None:
        while not self._ended.wait(RENEW_SECONDS) and self._lost is None:
            with suppress(StorageError):  # the next time may go better
                self._renew()

    def _renew(self) -> None:
        """Renew the lease, or note that another process has taken it."""
        with suppress(ConflictError, FileNotFoundError):  # it changed meanwhile: the next look tells who has it
            version, found = self._object.version(), read_holder(self._object)
            if found is None or found.token != self._me.token:
                self._lost = found or "its lease was deleted"
            else:
                renewed = replace(self._me, renewed=time.time())
                self._object.exchange(_lease_bytes(renewed), version)
                self._me = renewed  # only now: a store that has not taken it will let others take over


@dataclass(frozen=True)
class LeasePass:
    """The lease of a run as a worker in another process knows it."""

    run: RemotePath
    object: RemotePath
    token: str

    def check(self) -> None:
        """Raise `GradPrismError` where the lease has been lost; a store that fails for a moment does not say so."""
        try:
            holder = read_holder(self.object)
        except StorageError as error:
            if not error.transient:
                raise
            return  # the writing that follows is tried several times
        if holder is None or holder.token != self.token:
            raise _lost_error("run", self.run, holder or "its lease was deleted")


def pass_for_workers(run: Path) -> LeasePass | None:
    """Return the pass of the lease that this process holds of a run; None where it holds none."""
    lease = _LEASES.get(str(run))
    return lease.pass_for_workers if lease else None


def check_lease_held(run: Path, worker: LeasePass | None = None) -> None:
    """Raise `GradPrismError` where a run in an object store was held by this process and another has taken it over.

    `worker` is the pass that a worker was given by the process that holds the run for it.
    """
    if lease := _LEASES.get(str(run), worker):
        lease.check()


def read_holder(lease: RemotePath) -> Holder | None:
    """Return the holder of a lease; None where there is none, or it cannot be understood."""
    try:
        return Holder(**json.loads(lease.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _lost_error(kind: str, run: RemotePath, now: Holder | str) -> GradPrismError:
    return GradPrismError(
        f"This process was away for so long that the {kind} {run} is now written by another: {now}.\n"
        "What was published before is safe. Let the other one finish."
    )


def _lease_bytes(holder: Holder) -> bytes:
    return json.dumps(asdict(holder), indent=2).encode()


def _is_alive(pid: int, born: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - born) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # there is one, of somebody else
        return True


def _process_namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
