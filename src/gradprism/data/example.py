"""`Example`: one row of post-training data, whatever file it came from."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

_HALF_OF_A_PAIR = re.compile("[\ud800-\udfff]")
Scalar = str | int | float | bool | None


class RowProblemError(Exception):
    """Why one row cannot be used. It becomes that row's `reason`; it never ends a run."""


@dataclass(frozen=True)
class Turn:
    """One message. `role` is system, user, assistant or tool."""

    role: str
    content: str


@dataclass(frozen=True)
class Example:
    """A prompt and a response, or a conversation; or a row that could not be read, with its `problem`."""

    row: int
    example_id: str
    turns: tuple[Turn, ...] = ()
    columns: Mapping[str, Scalar] = field(default_factory=dict)
    problem: str | None = None

    @cached_property
    def content_hash(self) -> str:
        """16 hexadecimal digits (64 bits of BLAKE2b) of the turns, or of the problem where there are none."""
        content = [[turn.role, turn.content] for turn in self.turns] or self.problem
        text = json.dumps(content, ensure_ascii=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def answered(self) -> tuple[Turn, ...]:
        """The turns up to the last answer.

        Raises `RowProblemError` where the row could not be read, or its text is no Unicode.
        """
        if self.problem:
            raise RowProblemError(self.problem)
        if any(_HALF_OF_A_PAIR.search(turn.content) for turn in self.turns):
            raise RowProblemError("the text holds half of a surrogate pair, which is no Unicode")
        answers = [place for place, turn in enumerate(self.turns) if turn.role == "assistant"]
        return self.turns[: answers[-1] + 1] if answers else ()

    @property
    def columns_json(self) -> str:
        """The other scalar columns as one JSON object, as the `examples` table stores them."""
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in self.columns.items()
        }
        return json.dumps(finite, ensure_ascii=False).encode("utf-8", "replace").decode()
