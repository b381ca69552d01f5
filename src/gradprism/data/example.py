"""Examples: rows of post-training data, whatever file they came from."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from textwrap import shorten
from typing import Any, Literal

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
CONTEXT_ALONE = "every answer is context without loss (weight 0 or train false)"
Scalar = str | int | float | bool | None


class RowProblemError(Exception):
    """A row that cannot be used. The message becomes that row's `reason`; it never ends a run."""


@dataclass(frozen=True)
class Turn:
    """One message, with all that a chat template may show of it.

    `role` is system, developer, user, assistant or tool. `content` is text; parts of text are joined. `thinking` is
    the reasoning before an answer, whatever its data call it. `tool_calls` are in the form of OpenAI's API and of chat
    templates: {"function": {"name": ..., "arguments": ...}, ...}. A turn with `in_loss` False is context alone.
    """

    role: str
    content: str = ""
    thinking: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    name: str | None = None
    tool_call_id: str | None = None
    in_loss: bool = True

    def __repr__(self) -> str:
        """Show the role and the beginning of the text."""
        return f"Turn({self.role}: {shorten(self.text[:200], 60, placeholder='...')!r})"

    @property
    def is_empty(self) -> bool:
        """True where there is no content, thinking or tool call."""
        return not (self.content.strip() or self.thinking.strip() or self.tool_calls)

    @property
    def text(self) -> str:
        """Thinking, content and calls (as JSON) in one plain text, for people and judges."""
        calls = (json.dumps(call.get("function", call), ensure_ascii=False) for call in self.tool_calls)
        return "\n".join(piece for piece in (self.thinking, self.content, *calls) if piece)

    @property
    def _hash_content(self) -> list[Any]:
        """Role and content, and whatever else there is: an ordinary turn hashes as it always did."""
        more = {name: value for name, default in _BEYOND_CONTENT if (value := getattr(self, name)) != default}
        return [self.role, self.content, *([more] if more else [])]


_BEYOND_CONTENT = tuple((each.name, each.default) for each in fields(Turn)[2:])


def positions_of_scored_answers(turns: Sequence[Turn], which: Literal["all", "last"]) -> list[int]:
    """Return the positions of the answers in the loss: of all or the last, those that are not empty."""
    answers = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
    wanted = answers if which == "all" else answers[-1:]
    return [index for index in wanted if turns[index].in_loss and not turns[index].is_empty]


def turns_to_judge(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """Return the turns up to the last answer in the loss, which judges and reward models judge; all if none answers.

    Raises `RowProblemError` where every answer is context.
    """
    answers = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
    in_loss = [index for index in answers if turns[index].in_loss]
    if answers and not in_loss:
        raise RowProblemError(CONTEXT_ALONE)
    return turns[: in_loss[-1] + 1] if in_loss else turns


@dataclass(frozen=True)
class Example:
    """A prompt and a response, or a conversation; or a row that could not be read, with its `problem`.

    `tools`, `documents` and `template_options` are what a row brings for its chat template besides the turns.
    """

    row: int
    example_id: str
    turns: tuple[Turn, ...] = ()
    columns: Mapping[str, Scalar] = field(default_factory=dict)
    problem: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    documents: tuple[Mapping[str, Any], ...] = ()
    template_options: Mapping[str, Any] = field(default_factory=dict)
    rejected: tuple[Turn, ...] = ()
    """The turns with the rejected answer of a preference; none where the row has none."""
    is_conversation: bool = False
    """Whether the row is a list of turns, or has more than one prompt and one response."""

    def __repr__(self) -> str:
        """Name the row and its size, or its problem, without the texts."""
        size = f"{len(self.turns)} turns, {sum(len(turn.text) for turn in self.turns):,} characters"
        return f"Example(row {self.row}, {self.example_id!r}: {self.problem or size})"

    @cached_property
    def content_hash(self) -> str:
        """16 hexadecimal digits (64 bits of BLAKE2b) of all that a template sees, or of the problem in its place."""
        content: Any = [turn._hash_content for turn in self.turns] or self.problem
        if self.tools or self.documents or self.template_options:
            content = [content, self.tools, self.documents, dict(self.template_options)]
        if self.rejected:
            content = [content, "rejected", [turn._hash_content for turn in self.rejected]]
        text = json.dumps(content, ensure_ascii=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def answered(self) -> tuple[Turn, ...]:
        """The turns up to the last answer.

        Raises `RowProblemError` where the row could not be read, or its text is no Unicode.
        """
        if self.problem:
            raise RowProblemError(self.problem)
        if any(_LONE_SURROGATE.search(turn.text) for turn in self.turns):
            raise RowProblemError("the text holds half of a surrogate pair, which is no Unicode")
        answers = [index for index, turn in enumerate(self.turns) if turn.role == "assistant"]
        return self.turns[: answers[-1] + 1] if answers else ()

    @property
    def columns_json(self) -> str:
        """The other scalar columns as one JSON object, as the `examples` table stores them."""
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in self.columns.items()
        }
        return json.dumps(finite, ensure_ascii=False).encode("utf-8", "replace").decode()
