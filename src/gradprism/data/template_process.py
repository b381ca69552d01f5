"""Render chat templates in a process of their own, which a template of a stranger can exhaust without harm.

The process runs transformers' renderer. The system stops it at so much processor time for one text, and gives it no
more than so much memory, whatever the template does. Requests and answers are lines of JSON.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

import jinja2

from gradprism.core.errors import GradPrismError
from gradprism.data.example import RowProblemError

SECONDS = 3
"""The most processor time for one text, compiling its template included."""
MEMORY = 2**30
"""The most memory for one text, in bytes, where the system can limit it (Linux)."""
CHARACTERS = 2**24
"""The most characters of one text."""
_MOST_OF_A_PROBLEM = 300  # characters
_READY = b"ready\n"


class TemplateLimitError(RowProblemError):
    """A template that needs more time, memory or characters than one text may have."""

    def __init__(self) -> None:
        """State the limits."""
        super().__init__(
            f"the chat template needs more than one text may have: {SECONDS} s of processor time, "
            f"{MEMORY // 2**20:,} MB of memory, {CHARACTERS:,} characters"
        )


def render_apart(options: Mapping[str, Any]) -> tuple[str, list[list[int]]]:
    """Return the text that a template makes of one conversation, and the spans that the template marks.

    `options` are those of transformers' `render_jinja_template`. Any thread may call. Raises
    `jinja2.TemplateSyntaxError`, `TemplateLimitError`, and `RowProblemError` where the template fails.
    """
    answer = _process_of_here().ask(json.dumps(options, default=_json_value))
    if "line" in answer:
        raise jinja2.TemplateSyntaxError(answer["problem"], answer["line"])
    if "problem" in answer:
        raise RowProblemError(f"the chat template refuses this conversation: {answer['problem']}")
    if answer["text"] is None:
        raise TemplateLimitError
    return answer["text"], answer["marks"]


def _json_value(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


class _Process:
    """The process that renders for this one; started when it is needed, and again where it was stopped."""

    def __init__(self) -> None:
        self.owner, self._lock = os.getpid(), threading.Lock()
        self._started: subprocess.Popen[bytes] | None = None
        self._pipes: tuple[IO[bytes], IO[bytes]] | None = None  # to it, and from it
        atexit.register(self._stop)

    def ask(self, request: str) -> Any:
        """Return the answer to a request. Raises `TemplateLimitError` where the process ends over it.

        Where it was not its time that ended it, but a signal of somebody else, it is asked once more.
        """
        with self._lock:
            answer, status = self._ask_once(request)
            if not answer and status != -signal.SIGPROF:
                answer, status = self._ask_once(request)
        if not answer:
            raise TemplateLimitError
        return json.loads(answer)

    def _ask_once(self, request: str) -> tuple[bytes, int | None]:
        requests, answers = self._pipes or self._start()
        with suppress(BrokenPipeError):
            requests.write(request.encode() + b"\n")
            requests.flush()
        answer = answers.readline()
        return answer, None if answer else self._stop(seconds=1)

    def _start(self) -> tuple[IO[bytes], IO[bytes]]:
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._started = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ | one_thread | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is for the process that asks
        )  # fmt: skip
        assert self._started.stdin is not None
        assert self._started.stdout is not None
        self._pipes = self._started.stdin, self._started.stdout
        if self._pipes[1].readline() != _READY:
            self._stop()
            raise GradPrismError(f"Cannot start {sys.executable} to render chat templates. Use --template paper.")
        return self._pipes

    def _stop(self, seconds: float = 0) -> int | None:
        """Return the status with which the process ends by itself within so many seconds, or by being killed."""
        process, self._started, self._pipes = self._started, None, None
        if process is None or self.owner != os.getpid():
            return None
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        process.communicate()
        return process.returncode


_here: _Process | None = None
_here_lock = threading.Lock()


def _process_of_here() -> _Process:
    """Return the process that renders for this one; a fork gets its own."""
    global _here  # noqa: PLW0603
    with _here_lock:
        if _here is None or _here.owner != os.getpid():
            _here = _Process()
        return _here


def serve() -> None:
    """Answer the requests on stdin, one by one, until there are no more."""
    from transformers.utils.chat_template_utils import render_jinja_template

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    _limit_memory()
    answers.write(_READY)
    answers.flush()
    for request in iter(sys.stdin.buffer.readline, b""):
        _limit_time(SECONDS)
        answer = json.dumps(_answer(render_jinja_template, request)).encode()
        _limit_time(0)
        answers.write(answer + b"\n")
        answers.flush()


def _answer(render: Any, request: bytes) -> dict[str, Any]:
    try:
        texts, marks = render(**json.loads(request))
    except MemoryError:
        return {"text": None}
    except jinja2.TemplateSyntaxError as error:
        return {"problem": str(error.message)[:_MOST_OF_A_PROBLEM], "line": error.lineno}
    except Exception as error:
        return {"problem": str(error)[:_MOST_OF_A_PROBLEM] or type(error).__name__}
    return {"text": texts[0] if len(texts[0]) <= CHARACTERS else None, "marks": marks[0] if marks else []}


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
