"""The interface of judges, which answer messages."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradprism.metrics.metric import Plan

Messages = Sequence[Mapping[str, str]]
"""A conversation for a judge: role and content of each turn."""

BYTES_PER_TOKEN = 4  # of English text, roughly


@dataclass(frozen=True)
class Answer:
    """The answer of a judge for one row, or the `problem` where there is none.

    A judge that computes a number, instead of writing text with one, sets `value` and `probability_mass`.
    """

    text: str | None = None
    finish_reason: str | None = None
    n_prompt_tokens: int | None = None
    n_answer_tokens: int | None = None
    problem: str | None = None
    value: float | None = None
    probability_mass: float | None = None
    known: bool = False  # True for a cached answer, which cost nothing

    @property
    def n_tokens(self) -> int:
        """Tokens that this row has cost."""
        if self.known:
            return 0
        written = self.n_answer_tokens
        if written is None:
            written = n_tokens_of(self.text or "")
        return (self.n_prompt_tokens or 0) + written


Answers = Generator[tuple[int, Answer] | None, None, None]
"""Yields each answer with the index of its question, as they arrive; None from time to time while it waits."""


class Judge(ABC):
    """A judge, which answers messages. Nothing is opened or loaded before the first question."""

    name: str
    """Name of the judge's model."""
    identity: Mapping[str, Any]
    """The settings that decide its answers."""

    @property
    @abstractmethod
    def note(self) -> str:
        """Retries so far, for a progress bar; empty if there are none."""

    @abstractmethod
    def answers(self, questions: Sequence[Messages]) -> Answers:
        """Yield the answer to each of the questions. Closing the generator stops the work.

        Raises `GradPrismError` where no further answer can be obtained.
        """

    @abstractmethod
    def plan(self, questions: Sequence[Messages]) -> Plan:
        """Count the work of `answers`, without doing it."""


def shortened(text: str, longest: int) -> str:
    """Return a text on one line, cut behind `longest` characters."""
    flat = " ".join(text[: 10 * longest].split())
    return flat if len(flat) <= longest else flat[:longest] + "…"


def n_tokens_of(text: str) -> int:
    """Estimate the number of tokens of a text, without a tokenizer."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def n_tokens_asked(messages: Messages) -> int:
    """Estimate the number of tokens of a conversation, without a tokenizer."""
    return sum(n_tokens_of(message["content"]) for message in messages)
