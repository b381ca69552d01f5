"""What a job tells whoever watches it."""

from typing import Protocol


class Observer(Protocol):
    """Watches a job. `batch` may raise `KeyboardInterrupt` to stop it after the current batch."""

    def say(self, text: str) -> None:
        """Hear that a stage begins."""

    def start(self, rows: int, done: int) -> None:
        """Hear how many rows there are, and how many are already done."""

    def batch(self, examples: int, tokens: int) -> None:
        """Hear that a batch is finished."""


class Silent:
    """Hears everything and says nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""

    def start(self, rows: int, done: int) -> None:
        """Do nothing."""

    def batch(self, examples: int, tokens: int) -> None:
        """Do nothing."""
