"""Report the progress of a job: one protocol, and the object that reports nothing."""

from collections.abc import Callable
from typing import Protocol

Say = Callable[[str], None]
"""Reports that a stage begins, by its name, as `Progress.say` does."""
OnBatch = Callable[[int, int], None]
"""Reports the examples and tokens of a finished batch, as `Progress.batch` does; may raise to stop."""


class Progress(Protocol):
    """Reports how far a job is. `batch` may raise `KeyboardInterrupt` to stop it after the current batch."""

    def say(self, text: str) -> None:
        """Report that a stage begins, by its name."""

    def start(self, rows: int, done: int, what: str, unit: str = "rows") -> None:
        """Report that `what` is computed for so many rows (or other units), of which `done` are finished already."""

    def batch(self, examples: int, tokens: int | None) -> None:
        """Report a finished batch; `tokens` is None where the work counts none."""

    def note(self, text: str) -> None:
        """Report what to show beside the counts, such as the number of retries; empty to show nothing."""


class NoProgress:
    """A `Progress` that reports nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""

    def start(self, rows: int, done: int, what: str, unit: str = "rows") -> None:
        """Do nothing."""

    def batch(self, examples: int, tokens: int | None) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


def say_nothing(text: str) -> None:
    """Ignore the name of a stage."""


def count_nothing(examples: int, tokens: int) -> None:
    """Ignore the counts of a batch."""
