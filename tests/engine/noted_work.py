"""Work that computes nothing: the rows it was given, and on the way whatever is to go wrong."""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gradprism.core.errors import DeviceError, GradPrismError
from gradprism.core.progress import OnBatch, Say
from gradprism.data.example import Example
from gradprism.engine.task import Task

Rows = list[tuple[int, str | None]]  # row, and why it has failed


def joined(parts: Sequence[Rows]) -> Rows:
    return sorted(row for part in parts for row in part)


@dataclass
class Listening:
    """Counts, and remembers what was said."""

    examples: int = 0
    tokens: int = 0
    said: list[str] = field(default_factory=list)
    on_batch: Callable[[], None] = lambda: None

    def say(self, text: str) -> None:
        self.said.append(text)

    def start(self, rows: int, done: int, what: str, unit: str = "rows") -> None:
        """A run of the engine alone is not told."""

    def begin(self, found: Mapping[str, Any]) -> None:
        self.said.append("begin")

    def note(self, text: str) -> None:
        if text:
            self.said.append(text)

    def batch(self, examples: int, tokens: int | None) -> None:
        self.examples += examples
        self.tokens += tokens or 0
        self.on_batch()


class Noting(Task[Example, Rows]):
    """Calls `loading` when it is loaded, and `before` for each example."""

    device = "here"

    def __init__(self, before: Callable[[Example], None], loading: Callable[[Say], None] | None = None):
        self.before, self.loading = before, loading

    def load(self, say: Say) -> None:
        if self.loading:
            self.loading(say)

    def run(self, examples: Sequence[Example], on_batch: OnBatch) -> Rows:
        for example in examples:
            self.before(example)
            on_batch(1, 10)
        return [(example.row, None) for example in examples]

    def failed(self, examples: Sequence[Example], reason: str) -> Rows:
        return [(example.row, reason) for example in examples]

    def join(self, parts: Sequence[Rows]) -> Rows:
        return joined(parts)


def work_with(before: Callable[[Example], None]) -> Noting:
    return Noting(before)


def noted_work(events: list[str]) -> Noting:
    """Local work that notes when it is loaded and called."""

    def note(example: Example) -> None:
        if example.row % 2 == 0:
            events.append(f"work {example.row // 2}")

    return Noting(note, lambda say: events.append("load"))


def nothing(example: Example) -> None:
    """Nothing goes wrong."""


def slowly(seconds: float, example: Example) -> None:
    time.sleep(seconds)


def _is_first(marks: Path, example: Example) -> bool:
    """Whether this row is worked on for the first time, in whatever process."""
    try:
        (marks / str(example.row)).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def killed_at(rows: frozenset[int], marks: Path | None, example: Example) -> None:
    """SIGKILL in the middle of a shard: once for each of the rows, or each time where there are no marks."""
    time.sleep(0.01)
    if example.row in rows and (marks is None or _is_first(marks, example)):
        os.kill(os.getpid(), signal.SIGKILL)


def device_lost_at(row: int, marks: Path, example: Example) -> None:
    if example.row == row and _is_first(marks, example):
        raise DeviceError("The device failed: CUDA error: unspecified launch failure\nRepeat the command.")


def refused_at(row: int, example: Example) -> None:
    if example.row == row:
        raise GradPrismError("this can never work")


def out_of_memory_at(row: int, marks: Path, example: Example) -> None:
    """As Python says it by itself: without a word."""
    if example.row == row and _is_first(marks, example):
        raise MemoryError


def devouring_at(row: int, marks: Path, gibibytes: int, example: Example) -> None:
    """Take memory, once, until somebody objects; wait for it to be noticed."""
    if example.row == row and _is_first(marks, example):
        eaten = [bytearray(1 << 30) for _ in range(gibibytes)]
        for block in eaten:
            block[::4096] = b"x" * len(block[::4096])
        time.sleep(30)


def _killed(say: Say) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def unloadable() -> Noting:
    """Its worker is killed while it loads the model."""
    return Noting(nothing, _killed)


def _refuse(say: Say) -> None:
    raise GradPrismError("No model at /nowhere.")


def refused() -> Noting:
    """Its worker cannot load the model, and says why."""
    return Noting(nothing, _refuse)


def _refuse_once(mark: Path, say: Say) -> None:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return
    raise GradPrismError("Cannot load the model: CUDA out of memory.")


def refused_once(mark: Path) -> Noting:
    """One of its workers cannot load the model."""
    return Noting(partial(slowly, 0.05), partial(_refuse_once, mark))
