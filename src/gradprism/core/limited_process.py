"""Answer requests of strangers in a process of its own, which the system stops at a limit of time or memory.

Nothing within a process can stop one long operation, such as a text repeated 10**11 times. Requests and answers are
lines of JSON.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import IO, Any

from gradprism.core.errors import GradPrismError

MEMORY = 2**30
"""The most memory for one request, in bytes, where the system can limit it (Linux)."""
Answers = Callable[[dict[str, Any]], dict[str, Any]]
"""A function that answers a request. It may raise `MemoryError`, which ends the process."""
_READY = b"ready\n"


class LimitedProcess:
    """A process that answers for this one; started when it is needed, and again where it was stopped."""

    def __init__(self, maker: str, seconds: float):
        """Name the function that makes the one that answers, as MODULE:NAME, and the processor time of a request."""
        self.owner, self._lock = os.getpid(), threading.Lock()
        self._maker, self._seconds = maker, seconds
        self._started: subprocess.Popen[bytes] | None = None
        self._pipes: tuple[IO[bytes], IO[bytes]] | None = None  # to it, and from it
        atexit.register(self.stop)

    @property
    def pid(self) -> int | None:
        """The number of the process; None while there is none."""
        return self._started.pid if self._started else None

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the answer to a request; None where the process ends over it. Any thread may ask.

        Where it was not its time that ended it, but somebody's signal or its memory, it is asked once more.
        """
        line = json.dumps(request, default=_json_value).encode() + b"\n"
        with self._lock:
            answer, status = self._ask_once(line)
            if not answer and status != -getattr(signal, "SIGPROF", 0):
                answer, status = self._ask_once(line)
        found: dict[str, Any] | None = json.loads(answer) if answer else None
        return found

    def stop(self, seconds: float = 0) -> int | None:
        """Return the status with which the process ends by itself within so many seconds, or by being killed."""
        process, self._started, self._pipes = self._started, None, None
        if process is None or self.owner != os.getpid():
            return None
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        process.communicate()
        return process.returncode

    def _ask_once(self, line: bytes) -> tuple[bytes, int | None]:
        requests, answers = self._pipes or self._start()
        with suppress(BrokenPipeError):
            requests.write(line)
            requests.flush()
        answer = answers.readline()
        return answer, None if answer else self.stop(seconds=1)

    def _start(self) -> tuple[IO[bytes], IO[bytes]]:
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._started = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__} import serve; serve({self._maker!r}, {self._seconds})"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ | one_thread | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is for the process that asks
        )  # fmt: skip
        assert self._started.stdin is not None
        assert self._started.stdout is not None
        self._pipes = self._started.stdin, self._started.stdout
        if self._pipes[1].readline() != _READY:
            self.stop()
            raise GradPrismError(f"Cannot start {sys.executable} for {self._maker}. Is the machine out of memory?")
        return self._pipes


_processes = dict[tuple[str, float], LimitedProcess]()
_processes_lock = threading.Lock()


def limited_process(maker: str, seconds: float) -> LimitedProcess:
    """Return the process of a kind that answers for this one; a fork gets its own."""
    with _processes_lock:
        found = _processes.get((maker, seconds))
        if found is None or found.owner != os.getpid():
            found = _processes[maker, seconds] = LimitedProcess(maker, seconds)
        return found


def serve(maker: str, seconds: float) -> None:
    """Answer the requests on stdin, one by one, until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    module, _, name = maker.partition(":")
    answer: Answers = getattr(import_module(module), name)()
    _limit_memory()
    answers.write(_READY)
    answers.flush()
    for request in iter(sys.stdin.buffer.readline, b""):
        _limit_time(seconds)
        line = json.dumps(answer(json.loads(request))).encode()
        _limit_time(0)
        answers.write(line + b"\n")
        answers.flush()


def _json_value(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


def _limit_time(seconds: float) -> None:
    """Have the system end this process after so much processor time; 0 takes that back."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory() -> None:
    """Let every allocation fail that goes beyond the limit."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        import psutil

        most = psutil.Process().memory_info().vms + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
