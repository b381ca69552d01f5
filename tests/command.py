"""The command, started in this process, or as a user starts it: as a process of its own."""

import contextlib
import io
import os
import subprocess
import sys
from typing import Any
from unittest import mock

COMMAND = [sys.executable, "-m", "gradprism"]
SETTINGS = {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONWARNINGS": "error:::gradprism"}


def run(*arguments: Any) -> "subprocess.CompletedProcess[str]":
    """The command in this process, where torch is loaded already; what it prints and its exit status."""
    from gradprism.cli import main

    words, out, err = [str(word) for word in arguments], io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, SETTINGS),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main(words)
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


def start(*arguments: Any) -> "subprocess.Popen[str]":
    """The command as a process of its own, to be killed."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **SETTINGS},
    )
