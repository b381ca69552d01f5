"""Read a row, once it is known which of its columns is what: turns, and what it brings for its chat template."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gradprism.data.cells import objects_of, pairs_of, text_of
from gradprism.data.columns import REJECTED_COLUMNS
from gradprism.data.example import RowProblemError, Scalar, Turn
from gradprism.data.preferences import after_prompt, is_system, transcript, without_loss
from gradprism.data.record import Row
from gradprism.data.turn_lists import turns_or_value
from gradprism.data.turns import read_turns

PAIR_ROLES = ("system", "history", "prompt", "input", "response")
"""Roles whose columns name a pair's schema, in this order."""
COLUMN_USES = (*PAIR_ROLES, "messages", "chosen", "tools", "documents", "chat_template_kwargs")
_LONGEST_SCALAR = 256  # characters; longer strings are content, not columns to group by


@dataclass
class Content:
    """What a row says, and the names of its messages' fields that are not read."""

    turns: tuple[Turn, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    documents: tuple[Mapping[str, Any], ...] = ()
    template_options: Mapping[str, Any] = field(default_factory=dict)
    is_conversation: bool = False
    unused: set[str] = field(default_factory=set)

    @property
    def not_unicode(self) -> str | None:
        """Return the problem of halves of surrogate pairs, which no table, tokenizer or terminal takes."""
        texts = (text for turn in self.turns for text in (turn.content, turn.thinking, turn.name, turn.tool_call_id))
        objects = [turn.tool_calls for turn in self.turns if turn.tool_calls]
        more = [*objects, self.tools, self.documents, self.template_options]
        text = "".join(filter(None, texts)) + (json.dumps(more, ensure_ascii=False) if any(more) else "")
        try:
            text.encode()
        except UnicodeEncodeError:
            return "the text holds half of a surrogate pair, which is no Unicode"
        return None


@dataclass(frozen=True)
class Schema:
    """How one row is read: its columns by their roles. A response may be several columns, in their order."""

    by_role: tuple[tuple[str, tuple[str, ...]], ...]
    title: str | None = None  # None for pairs, which are called by their columns
    kept_apart: frozenset[str] = frozenset()  # text for such rows, whether this one uses them or not

    @classmethod
    def of(
        cls, columns: Mapping[str, tuple[str, ...]], title: str | None, kept_apart: frozenset[str] = frozenset()
    ) -> "Schema":
        """Make a schema of its columns by role; roles without a column are left out."""
        return cls(tuple((role, columns[role]) for role in COLUMN_USES if columns.get(role)), title, kept_apart)

    @cached_property
    def columns(self) -> Mapping[str, tuple[str, ...]]:
        """Return the columns of each role that has any."""
        return dict(self.by_role)

    @property
    def kind(self) -> str:
        """Return what rows share that differ in optional columns alone."""
        return self.title or " / ".join((*self._of("prompt"), *self._of("response")))

    @cached_property
    def uses(self) -> tuple[str, ...]:
        """Return the columns that become part of the example."""
        return tuple(name for _, names in self.by_role for name in names)

    def scalars(self, row: Row) -> dict[str, Scalar]:
        """Return the row's other columns that hold one number, flag or short string, to group and select by."""
        return scalars(row, self.kept_apart | {*self.uses})

    def read(self, row: Row) -> Content:
        """Return what the row says. Raises `RowProblemError` that names what is not understood of it."""
        found = Content()
        if self._of("chosen"):
            turns = self._preferred(row, found)
        elif self._of("messages"):
            turns = self._said(row, self._of("messages")[0], found)
        else:
            turns = self._asked(row, found) + self._answered(row, found)
        found.turns = self._with_system(row, turns)
        for name in self._of("tools"):
            found.tools = tuple(_tool(each, name) for each in objects_of(row[name], f"column {name!r}"))
        for name in self._of("documents"):
            found.documents = tuple(objects_of(row[name], f"column {name!r}"))
        for name in self._of("chat_template_kwargs"):
            found.template_options = _one_object(row[name], name)
        return found

    def _of(self, role: str) -> tuple[str, ...]:
        return self.columns.get(role, ())

    def _said(self, row: Row, column: str, found: Content) -> tuple[Turn, ...]:
        conversation = read_turns(row[column], column)
        found.is_conversation = True
        found.unused |= {f"{column}[].{name}" for name in conversation.unused}
        return conversation.turns

    def _asked(self, row: Row, found: Content) -> tuple[Turn, ...]:
        """Return history, prompt and input. Answers in a prompt are context; those of a history are answers."""
        turns = tuple(turn for name in self._of("history") for turn in self._earlier(row, name, found))
        for name in self._of("prompt"):
            if not isinstance(turns_or_value(row[name], name), list):
                pieces = [text for column in (name, *self._of("input")) if (text := text_of(row, column))]
                return (*turns, Turn("user", "\n".join(pieces)))
            if extra := self._of("input"):
                raise RowProblemError(f"column {extra[0]!r} stands beside a {name!r} that is a list of turns")
            return turns + without_loss(self._said(row, name, found))
        return turns

    def _earlier(self, row: Row, column: str, found: Content) -> tuple[Turn, ...]:
        """Return the turns of a history: a list of turns, or of pairs of a question and its answer."""
        pairs = pairs_of(row[column])
        if pairs is None:
            return self._said(row, column, found)
        found.is_conversation = True
        if not all(len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in pairs):
            raise RowProblemError(f"column {column!r} holds a pair that is not of two texts")
        return tuple(turn for asked, said in pairs for turn in (Turn("user", asked), Turn("assistant", said)))

    def _answered(self, row: Row, found: Content) -> tuple[Turn, ...]:
        columns = self._of("response")
        if len(columns) == 1 and isinstance(turns_or_value(row[columns[0]], columns[0]), list):
            return self._said(row, columns[0], found)
        texts = [text for name in columns if (text := text_of(row, name))]
        return (Turn("assistant", "\n".join(texts)),)

    def _preferred(self, row: Row, found: Content) -> tuple[Turn, ...]:
        """Return the prompt and the chosen answer, the prompt once wherever it stands."""
        chosen = self._chosen(row, self._of("chosen")[0], found)
        prompts = [self._prompt_of_preference(row, found)] if {"prompt", "history"} & {*self.columns} else []
        for name in self._of("messages"):
            turns = self._said(row, name, found)
            if turns == chosen:
                continue
            if turns[-1].role == "assistant":
                raise RowProblemError(f"column {name!r} ends with an answer that is not the chosen one")
            prompts.append(turns)
        if not prompts:
            if chosen[0].role == "assistant":
                raise RowProblemError("there is a chosen answer and no 'prompt' column that it answers")
            return chosen
        read = [after_prompt(prompt, chosen) for prompt in prompts]
        if read[0] != read[-1]:
            raise RowProblemError(f"columns {self._of('prompt')[0]!r} and {self._of('messages')[0]!r} differ")
        return read[0]

    def _chosen(self, row: Row, column: str, found: Content) -> tuple[Turn, ...]:
        """Return turns, those of HH-RLHF's text, or one answer, without a prompt that both answers repeat."""
        if isinstance(turns_or_value(row[column], column), list):
            return self._said(row, column, found)
        text = text_of(row, column)
        if turns := transcript(text):
            found.is_conversation = True
            return turns
        prompt = next((row[name] for name in self._of("prompt") if isinstance(row[name], str)), "")
        others = [row[name] for name in REJECTED_COLUMNS if isinstance(row.get(name), str)]
        if prompt and others and all(each.startswith(prompt) and each != prompt for each in (text, *others)):
            text = text.removeprefix(prompt).lstrip()
        return (Turn("assistant", text),)

    def _prompt_of_preference(self, row: Row, found: Content) -> tuple[Turn, ...]:
        turns = self._asked(row, found)
        if len(turns) == 1 and (spoken := transcript(turns[0].content)):  # HH-RLHF, cut before the last answer
            found.is_conversation = True
            return spoken[:-1] if spoken[-1].role == "assistant" and spoken[-1].is_empty else spoken
        return turns

    def _with_system(self, row: Row, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        text = "".join(text_of(row, name) for name in self._of("system"))
        own = [turn for turn in turns if is_system(turn)]
        if not text or [turn.content.strip() for turn in own] == [text.strip()]:
            return turns
        if own:
            raise RowProblemError(
                f"column {self._of('system')[0]!r} and the turns have different system prompts "
                "(to read the turns alone, name their column: --columns messages=NAME)"
            )
        return (Turn("system", text), *turns)


def scalars(row: Row, apart: frozenset[str]) -> dict[str, Scalar]:
    """Return the columns of one number, flag or short string that are not among those kept apart."""
    return {
        name: value
        for name, value in row.items()
        if name not in apart
        and (isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _LONGEST_SCALAR))
    }


def _tool(given: dict[str, Any], column: str) -> Mapping[str, Any]:
    """Return a tool in the form of OpenAI's API; a bare description of a function is wrapped."""
    if isinstance(given.get("function"), dict):
        return given
    if not isinstance(given.get("name"), str):
        raise RowProblemError(f"a tool of column {column!r} has no name")
    return {"type": "function", "function": {name: value for name, value in given.items() if name != "type"}}


def _one_object(value: object, column: str) -> dict[str, Any]:
    found = objects_of(value, f"column {column!r}")
    if len(found) > 1:
        raise RowProblemError(f"column {column!r} is a list, expected one object")
    return found[0] if found else {}
