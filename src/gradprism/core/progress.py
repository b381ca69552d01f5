"""Tell the progress of a job: one protocol, and the object that does nothing."""

from collections.abc import Callable
from typing import Protocol

Say = Callable[[str], None]
"""Takes the name of a stage that begins, as `Observer.say` does."""
OnBatch = Callable[[int, int], None]
"""Takes the examples and tokens that are done, as `Observer.batch` does; may raise to stop."""


class Observer(Protocol):
    """Watches a job. `batch` may raise `KeyboardInterrupt` to stop it after the current batch."""

    def say(self, text: str) -> None:
        """Hear that a stage begins."""

    def start(self, rows: int, done: int, what: str) -> None:
        """Hear what is computed, for how many rows, and how many of them are already done."""

    def batch(self, examples: int, tokens: int | None) -> None:
        """Hear that a batch is finished; of work that counts no tokens these are None."""

    def note(self, text: str) -> None:
        """Hear something to be shown beside the counts, such as what had to be tried again; may be empty."""


class Silent:
    """Hears everything and says nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""

    def start(self, rows: int, done: int, what: str) -> None:
        """Do nothing."""

    def batch(self, examples: int, tokens: int | None) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


def unheard(text: str) -> None:
    """Say nothing."""


def uncounted(examples: int, tokens: int) -> None:
    """Count nothing."""
