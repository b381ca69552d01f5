"""What every judge is: messages in, answers out as they come."""

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
    """What a judge said to one row; or its `problem`, where that is no answer.

    A judge that gives its number itself, instead of text that states it, fills `value` and `probability_mass`.
    """

    text: str | None = None
    finish_reason: str | None = None
    n_prompt_tokens: int | None = None
    n_answer_tokens: int | None = None
    problem: str | None = None
    value: float | None = None
    probability_mass: float | None = None
    known: bool = False  # it cost nothing: it was given before

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
"""Each answer with the place of its question, as they come; None now and then while there is none yet."""


class Judge(ABC):
    """Answers messages. Nothing is opened or loaded before the first of them."""

    name: str
    """What to call it."""
    identity: Mapping[str, Any]
    """The settings that decide its answers."""

    @property
    @abstractmethod
    def note(self) -> str:
        """What went wrong so far and was tried again; empty if nothing."""

    @abstractmethod
    def answers(self, asked: Sequence[Messages]) -> Answers:
        """Answer each of the questions. Closing the generator stops the work.

        Raises `GradPrismError` where no further answer is to be had.
        """

    @abstractmethod
    def plan(self, asked: Sequence[Messages]) -> Plan:
        """What `answers` would take."""


def n_tokens_of(text: str) -> int:
    """A guess, without a tokenizer."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def n_tokens_asked(messages: Messages) -> int:
    """A guess at the tokens of a conversation, without a tokenizer."""
    return sum(n_tokens_of(message["content"]) for message in messages)
