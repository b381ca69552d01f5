"""Render the templates of users for a judge within limits of time, memory and length."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from weakref import finalize

from gradprism.metrics.judge import template_worker


class TemplateError(Exception):
    """A template that cannot be rendered; `line` is where, if it is known."""

    def __init__(self, problem: str, line: int | str | None):
        """Make the error."""
        super().__init__(problem)
        self.line = line


class BoundedTemplate:
    """A template that is rendered by a process of its own (`template_worker`).

    A process that the template ends is replaced for the next text.
    """

    def __init__(self, text: str, variables: Sequence[str]):
        """Start the process. Raises `TemplateError` where the template is not valid, or uses other variables."""
        self._given = {"template": text, "variables": variables}
        self._process = self._start()

    def render(self, **variables: Any) -> str:
        """Return the text for these variables. Raises `TemplateError`."""
        if self._process.poll() is not None:
            self._process = self._start()
        return str(_ask(self._process, variables)["text"])

    def _start(self) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-P", template_worker.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
        )  # fmt: skip
        finalize(self, _stop, process)
        for name, line in _ask(process, self._given)["unknown"]:
            raise TemplateError(
                f"{name!r} is not defined. Expected some of {', '.join(self._given['variables'])}.", line
            )
        return process


def _ask(process: "subprocess.Popen[str]", request: Any) -> Mapping[str, Any]:
    """Return the reply of the process. Raises `TemplateError` where that is a problem, or the process has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):  # it has ended, which the reply shows
        process.stdin.write(json.dumps(request, default=_plain) + "\n")
        process.stdin.flush()
    reply = process.stdout.readline()
    if not reply.endswith("\n"):
        _stop(process)
        slow = process.returncode == -getattr(signal, "SIGPROF", 0)
        ended = f"takes more than {template_worker.SECONDS:g} s" if slow else f"ends its process ({process.returncode})"
        raise TemplateError(ended, None)
    answer: Mapping[str, Any] = json.loads(reply)
    if "problem" in answer:
        raise TemplateError(answer["problem"], answer["line"])
    return answer


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


def _stop(process: "subprocess.Popen[str]") -> None:
    """Close the pipes of the process, at which it ends, and wait for that."""
    with suppress(BrokenPipeError), process:
        pass
