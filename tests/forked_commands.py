"""Commands in processes that are forked from one that has imported everything: each starts in milliseconds.

The server is a fresh interpreter that only imports: no thread of it works, so that a fork lacks nothing.
"""

import contextlib
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.command import SETTINGS

ROOT = Path(__file__).resolve().parents[1]
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")


class Ended(NamedTuple):
    """How a command has ended."""

    status: int  # negative: the signal that it died of
    errors: str
    seconds: float


class ForkServer:
    """A server of forks; a context manager that ends it."""

    def __init__(self, folder: Path):
        """Start the server; `folder` gets what the commands print."""
        self._errors = folder / "stderr.txt"
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.forked_commands"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, **SETTINGS, **THREADS},
        )  # fmt: skip
        assert self._answer() == "ready"

    def run(self, *words: object, during: Callable[[int], object] = lambda pid: None) -> Ended:
        """Run a command; `during` is called with its process number once it has begun."""
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps([str(self._errors), *map(str, words)]) + "\n")
        self._server.stdin.flush()
        pid, start = int(self._answer()), time.perf_counter()
        during(pid)
        status = os.waitstatus_to_exitcode(int(self._answer()))
        return Ended(status, self._errors.read_text(encoding="utf-8"), time.perf_counter() - start)

    def _answer(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()

    def __enter__(self) -> "ForkServer":
        """Return the server, which runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def serve() -> None:
    """Fork a command for each line, and print its process number and how it ended."""
    import_all()
    gc.freeze()
    tell("ready")
    for line in sys.stdin:
        errors, *words = json.loads(line)
        pid = os.fork()
        if pid == 0:
            run_and_exit(errors, words)
        tell(pid)
        tell(os.waitpid(pid, 0)[1])


def tell(answer: object) -> None:
    sys.stdout.write(f"{answer}\n")
    sys.stdout.flush()


def import_all() -> None:

    import gradprism.cli.app
    import gradprism.comparison.compare_groups
    import gradprism.comparison.render
    import gradprism.engine.local
    import gradprism.figures.catalogue
    import gradprism.interop.exporting
    import gradprism.interop.importing
    import gradprism.report.draft
    import gradprism.selection.api
    import gradprism.study.page
    import gradprism.study.result  # noqa: F401


def run_and_exit(errors: str, words: list[str]) -> None:
    from gradprism.cli.app import main

    status = 130
    with contextlib.suppress(KeyboardInterrupt), Path(errors).open("w") as file:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        os.dup2(file.fileno(), 2)
        try:
            main(words)
        except SystemExit as end:
            status = int(end.code or 0)
    os._exit(status)


if __name__ == "__main__":
    serve()
