"""Encode conversations for a reward model, by its chat template and tokenizer."""

from dataclasses import dataclass, replace
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.data.answers import find_answers
from gradprism.data.chat_template import ChatTemplate
from gradprism.data.example import Example, RowProblemError, turns_to_judge


@dataclass(frozen=True)
class Conversation:
    """The token ids of one example for the reward model."""

    row: int
    ids: tuple[int, ...]
    truncated: bool


class ConversationEncoder:
    """Encodes examples by a reward model's chat template and tokenizer, truncated on the right."""

    def __init__(self, tokenizer: Any, template: str | None, max_length: int, today: str | None = None):
        """Prepare the template, Jinja text, which prints the day `today` (ISO; the present one where None).

        Raises `GradPrismError` where there is no template, or its date cannot be fixed.
        """
        self._tokenizer, self._max_length = tokenizer, max_length
        if not template:
            raise GradPrismError(
                "This reward model's tokenizer has no (default) chat template, so the format of its conversations is "
                "not known.\n"
                "Give the template that it was trained with as a Jinja file: --reward-template my_template.jinja"
            )
        special = tokenizer.special_tokens_map
        self._template = ChatTemplate(template, special, "The reward model's chat template", today)
        bos = tokenizer.bos_token_id
        adds_bos = bos is not None and list(tokenizer("a")["input_ids"])[:1] == [bos]
        self._own_bos = tokenizer.bos_token if adds_bos else ""

    def encode(self, example: Example) -> Conversation:
        """Return the tokens of the conversation up to its last answer in the loss.

        Raises `RowProblemError` where it cannot be rendered, or the template leaves out a part of that answer.
        """
        turns = turns_to_judge(example.answered)
        if not turns or turns[-1].is_empty:
            raise RowProblemError("empty response")
        text = find_answers(self._template, replace(example, turns=turns), [len(turns) - 1]).text
        text = text.removeprefix(self._own_bos)  # the tokenizer adds it
        ids = self._ids(text)
        if len(ids) <= self._max_length:
            return Conversation(example.row, tuple(ids), truncated=False)
        return Conversation(example.row, tuple(self._cut(text)), truncated=True)

    def _ids(self, text: str, **options: Any) -> list[int]:
        return list(self._tokenizer(text, verbose=False, **options)["input_ids"])

    def _cut(self, text: str) -> list[int]:
        """Return the tokens truncated on the right, whatever the tokenizer's setting, before its own end tokens."""
        side, self._tokenizer.truncation_side = self._tokenizer.truncation_side, "right"
        try:
            return self._ids(text, truncation=True, max_length=self._max_length)
        finally:
            self._tokenizer.truncation_side = side
