"""What a job tells whoever watches it."""

from typing import Protocol


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
    """Nobody listens."""
