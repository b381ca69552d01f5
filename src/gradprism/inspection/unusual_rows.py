"""Find the rows of a data set that are unlike the others: a wrong reading shows there first."""

from collections.abc import Iterator
from itertools import islice

from gradprism.data.encode import Encoded
from gradprism.data.example import Example

_ORDINARY = {"system", "user", "assistant"}


class UnusualRows:
    """A search over rows, seen one after the other, for the first of each unusual kind and the shortest answer."""

    def __init__(self, most: int):
        """Begin with no rows; `most` are found in the end."""
        self._most = most
        self._first = dict[str, Example]()
        self._shortest: tuple[int, Example] | None = None
        self._unit = "characters"

    def add(self, example: Example, encoded: Encoded | None, problem: str | None) -> None:
        """Take a row into account: `encoded` where there is a tokenizer, `problem` where it would be skipped."""
        if problem:
            self._first.setdefault(f"skipped: {problem}", example)
            return
        left_out = (f"the template leaves out the {what}" for what in (encoded.left_out if encoded else ()))
        for why in (*left_out, *_unusual_kinds(example)):
            self._first.setdefault(why, example)
        length = encoded.n_response_tokens if encoded else _answer_characters(example)
        self._unit = "tokens" if encoded else "characters"
        if self._shortest is None or length < self._shortest[0]:
            self._shortest = length, example

    def found(self) -> list[tuple[str, Example]]:
        """Return the rows, each once, with what is strange about it: the shortest, unusual turns, then problems."""
        return [*islice(self._each_once(), self._most)]

    def _each_once(self) -> Iterator[tuple[str, Example]]:
        reasons = dict[int, list[str]]()
        rows = dict[int, Example]()
        if self._shortest:
            length, example = self._shortest
            self._first = {f"shortest answer: {length:,} {self._unit}": example, **self._first}
        for why, example in sorted(self._first.items(), key=lambda item: item[0].startswith("skipped")):
            rows[example.row] = example
            reasons.setdefault(example.row, []).append(why)
        return ((", ".join(reasons[row]), example) for row, example in rows.items())


def _unusual_kinds(example: Example) -> Iterator[str]:
    """Yield what few rows have: unusual roles, tool calls, thinking, an answer that is context, tools, documents."""
    yield from (f"a {turn.role} turn" for turn in example.turns if turn.role not in _ORDINARY)
    if any(turn.tool_calls for turn in example.turns):
        yield "tool calls"
    if any(turn.thinking for turn in example.turns):
        yield "thinking beside the answer"
    if any(not turn.in_loss for turn in example.turns):
        yield "an answer that is not in the loss"
    if example.tools:
        yield "tools"
    if example.documents:
        yield "documents"
    if not example.turns or example.turns[-1].role != "assistant":
        yield "no answer at its end"


def _answer_characters(example: Example) -> int:
    return sum(len(turn.text) for turn in example.turns if turn.role == "assistant" and turn.in_loss)
