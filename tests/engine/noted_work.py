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
from gradprism.data.example import Example
from gradprism.engine.work import OnBatch, Say, Work

Rows = list[tuple[int, str | None]]  # row, and why it has failed


def failed(examples: Sequence[Example], reason: str) -> Rows:
    return [(example.row, reason) for example in examples]


def joined(parts: Sequence[Rows]) -> Rows:
    return sorted(row for part in parts for row in part)


@dataclass
class Listening:
    """An engine's watch: counts, and remembers what was said."""

    examples: int = 0
    tokens: int = 0
    said: list[str] = field(default_factory=list)
    on_batch: Callable[[], None] = lambda: None

    def say(self, text: str) -> None:
        self.said.append(text)

    def begin(self, found: Mapping[str, Any]) -> None:
        self.said.append("begin")

    def note(self, text: str) -> None:
        if text:
            self.said.append(text)

    def batch(self, examples: int, tokens: int) -> None:
        self.examples += examples
        self.tokens += tokens
        self.on_batch()


@dataclass
class Noting:
    """A worker that calls `before` for each example."""

    before: Callable[[Example], None]
    device: str = "here"
    note: str = ""
    found: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, examples: Sequence[Example], on_batch: OnBatch) -> Rows:
        for example in examples:
            self.before(example)
            on_batch(1, 10)
        return [(example.row, None) for example in examples]


def _loaded(before: Callable[[Example], None], say: Say) -> Noting:
    return Noting(before)


def work_with(before: Callable[[Example], None]) -> Work[Rows]:
    return Work(partial(_loaded, before), failed, joined)


def noted_work(events: list[str]) -> Work[Rows]:
    """Local work that notes when it is loaded and called."""

    def load(say: Say) -> Noting:
        events.append("load")
        return Noting(lambda example: events.append(f"work {example.row // 2}") if example.row % 2 == 0 else None)

    return Work(load, failed, joined)


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


def _unloadable(say: Say) -> Noting:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def unloadable() -> Work[Rows]:
    """Its worker is killed while it loads the model."""
    return Work(_unloadable, failed, joined)


def _refused(say: Say) -> Noting:
    raise GradPrismError("No model at /nowhere.")


def refused() -> Work[Rows]:
    """Its worker cannot load the model, and says why."""
    return Work(_refused, failed, joined)


def _refused_once(mark: Path, say: Say) -> Noting:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return Noting(partial(slowly, 0.05))
    raise GradPrismError("Cannot load the model: CUDA out of memory.")


def refused_once(mark: Path) -> Work[Rows]:
    """One of its workers cannot load the model."""
    return Work(partial(_refused_once, mark), failed, joined)
