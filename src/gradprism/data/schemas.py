r"""Schemas of rows: by which columns each is recognised, and how its turns are read. A new one is one entry.

All that an entry needs, for rows of a question, its choices and the right one; no other file changes:

    def _find_choice(row: Row, filled: Filled) -> Columns | None:
        if not {"question", "choices", "answer"} <= {*filled}:
            return None
        own = {"prompt": ("question",), "choices": ("choices",), "response": ("answer",)}
        return _optional_columns(row, filled) | own

    def _read_choice(row: RowReader) -> Turns:
        choices = "\n".join(plain(row.cell("choices")))
        return Turn("user", f"{row.text('prompt')}\n{choices}"), Turn("assistant", row.text("response"))

    SCHEMAS = (Schema("multiple choice", "question, choices, answer", _find_choice, _read_choice, _OPTIONAL), ...)

`recognise.find_columns` asks the entries in their order, the more special first. `find` is given a row and the names of
its columns that hold something; where all cells are plain it is given "text" for any text, 1.0 for any number and [{}]
for any list of objects, since rows of the same kinds share what is found. `turns` makes the example's turns. System
prompt, tools and documents are added to them, and other short cells go along to group and select by, save those of
`text_columns`. `inspect` counts the rows under `title`, and errors name `shape`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from gradprism.data.cells import is_empty, objects_of, pairs_of, text_of
from gradprism.data.example import RowProblemError, Scalar, Turn
from gradprism.data.preferences import Turns, after_prompt, is_system, transcript, without_loss
from gradprism.data.record import Row
from gradprism.data.turns import holds_objects, read_turns, turns_or_value

Columns = dict[str, tuple[str, ...]]
"""Columns by their roles; those of a response are several where the texts of all of them are the answer."""
Filled = Sequence[str]
"""Names of the columns that hold something."""

PROMPT_COLUMNS = ("prompt", "instruction", "question", "query", "problem")
RESPONSE_COLUMNS = ("completion", "response", "output", "answer", "solution")
MESSAGE_COLUMNS = ("messages", "conversations")
_SYSTEM_COLUMNS = ("system", "system_prompt", "system_message")
_INPUT_COLUMNS = ("input", "context")
_TOOL_COLUMNS = ("tools", "functions")
_REJECTED_COLUMNS = ("rejected", "rejected_response")
_TEMPLATE_COLUMNS = ("documents", "chat_template_kwargs")
COMPARED_COLUMNS = frozenset((*_SYSTEM_COLUMNS, *MESSAGE_COLUMNS, *_TOOL_COLUMNS))
"""Columns whose contents decide where a row has two of one role: both may hold the same."""

PAIR_ROLES = ("system", "history", "prompt", "input", "response")
"""Roles whose columns name a schema without a title, in this order."""
_ROLES = (*PAIR_ROLES, "messages", "chosen", "tools", "documents", "chat_template_kwargs")
_MOST_BITS = 900  # of an integer; JSON readers of tables refuse longer ones
_LONGEST_SCALAR = 256  # characters; longer strings are content, not columns to group by


@dataclass(frozen=True)
class Schema:
    """A shape of rows: its names, the function that finds its columns, and the one that reads its turns."""

    title: str | None
    """None for pairs, which are called by their columns."""
    shape: str
    """The columns, as an error names what is expected."""
    find: Callable[[Row, Filled], Columns | None]
    """Return the columns of a row by role; None where the row is of another schema."""
    turns: "Callable[[RowReader], Turns]"
    text_columns: frozenset[str]
    """Columns that are text to such rows, whether one uses them or not: nothing to group by."""


@dataclass
class Content:
    """The turns of a row, and what it brings for its chat template."""

    turns: Turns = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    documents: tuple[Mapping[str, Any], ...] = ()
    template_options: Mapping[str, Any] = field(default_factory=dict)
    is_conversation: bool = False
    rejected: Turns = ()
    """The turns with the rejected answer of a preference, where the row has one that can be read."""
    unused: set[str] = field(default_factory=set)
    """Fields of its messages that are not read."""

    @property
    def not_unicode(self) -> str | None:
        """The problem of halves of surrogate pairs, which no table, tokenizer or terminal takes."""
        turns = (*self.turns, *self.rejected)
        texts = (text for turn in turns for text in (turn.content, turn.thinking, turn.name, turn.tool_call_id))
        objects = [turn.tool_calls for turn in turns if turn.tool_calls]
        more = [*objects, self.tools, self.documents, self.template_options]
        text = "".join(filter(None, texts)) + (json.dumps(more, ensure_ascii=False) if any(more) else "")
        try:
            text.encode()
        except UnicodeEncodeError:
            return "the text holds half of a surrogate pair, which is no Unicode"
        return None


@dataclass(frozen=True)
class ColumnMap:
    """The columns of a row by their roles, and how they are read."""

    schema: Schema
    by_role: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def of(cls, schema: Schema, columns: Columns) -> "ColumnMap":
        """Make a map in the order of roles; roles without a column are left out."""
        return cls(schema, tuple((role, columns[role]) for role in sorted(columns, key=role_rank) if columns[role]))

    @cached_property
    def columns(self) -> Columns:
        """The columns of each role that has any."""
        return dict(self.by_role)

    @property
    def kind(self) -> str:
        """The name that rows share which differ in optional columns alone."""
        return self.schema.title or " / ".join((*self.columns.get("prompt", ()), *self.columns.get("response", ())))

    @cached_property
    def uses(self) -> tuple[str, ...]:
        """The columns that become part of the example."""
        return tuple(name for _, names in self.by_role for name in names)

    def scalars(self, row: Row) -> dict[str, Scalar]:
        """Return the row's other columns that hold one number, flag or short string, to group and select by."""
        return scalars(row, self.schema.text_columns | {*self.uses})

    def read(self, row: Row) -> Content:
        """Return the content of a row. Raises `RowProblemError` that names what is not understood of it."""
        reader = RowReader(row, self.columns)
        content = reader.content
        content.turns = reader.with_system(self.schema.turns(reader))
        content.rejected = reader.with_system(content.rejected) if content.rejected else ()
        for name in reader.names("tools"):
            content.tools = tuple(_tool(each, name) for each in objects_of(row[name], f"column {name!r}"))
        for name in reader.names("documents"):
            content.documents = tuple(objects_of(row[name], f"column {name!r}"))
        for name in reader.names("chat_template_kwargs"):
            content.template_options = _one_object(row[name], name)
        return content


class RowReader:
    """A reader of one row by its columns' roles, from which a schema makes the turns; it collects the `content`."""

    def __init__(self, row: Row, columns: Columns):
        """Begin with no content."""
        self.row, self.columns, self.content = row, columns, Content()

    def names(self, role: str) -> tuple[str, ...]:
        """Return the columns of a role, none where the row has none."""
        return self.columns.get(role, ())

    def cell(self, role: str) -> Any:
        """Return what the first column of a role holds."""
        return self.row[self.columns[role][0]]

    def text(self, *roles: str) -> str:
        """Join the texts of the columns of some roles by newlines; empty ones count for nothing."""
        return "\n".join(text for role in roles for name in self.names(role) if (text := text_of(self.row, name)))

    def holds_turns(self, column: str) -> bool:
        """Return whether a cell holds a list of turns, and no text."""
        return isinstance(turns_or_value(self.row[column], column), list)

    def conversation(self, column: str) -> Turns:
        """Read a list of turns."""
        conversation = read_turns(self.row[column], column)
        self.content.is_conversation = True
        self.content.unused |= {f"{column}[].{name}" for name in conversation.unused}
        return conversation.turns

    def question(self) -> Turns:
        """Read history, prompt and input. Answers in a prompt are context; those of a history are answers."""
        turns = tuple(turn for name in self.names("history") for turn in self._history(name))
        for name in self.names("prompt"):
            if not self.holds_turns(name):
                return (*turns, Turn("user", self.text("prompt", "input")))
            if extra := self.names("input"):
                raise RowProblemError(f"column {extra[0]!r} stands beside a {name!r} that is a list of turns")
            return turns + without_loss(self.conversation(name))
        return turns

    def answer(self) -> Turns:
        """Read the response: turns, or one or several texts."""
        columns = self.names("response")
        if len(columns) == 1 and self.holds_turns(columns[0]):
            return self.conversation(columns[0])
        return (Turn("assistant", self.text("response")),)

    def with_system(self, turns: Turns) -> Turns:
        """Set the system prompt of a column in front of the turns."""
        text = "".join(text_of(self.row, name) for name in self.names("system"))
        own = [turn for turn in turns if is_system(turn)]
        if not text or [turn.content.strip() for turn in own] == [text.strip()]:
            return turns
        if own:
            raise RowProblemError(
                f"column {self.names('system')[0]!r} and the turns have different system prompts "
                "(to read the turns alone, name their column: --columns messages=NAME)"
            )
        return (Turn("system", text), *turns)

    def _history(self, column: str) -> Turns:
        """Read a list of turns, or of pairs of a question and its answer."""
        pairs = pairs_of(self.row[column])
        if pairs is None:
            return self.conversation(column)
        self.content.is_conversation = True
        if not all(len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in pairs):
            raise RowProblemError(f"column {column!r} holds a pair that is not of two texts")
        return tuple(turn for pair in pairs for turn in map(Turn, ("user", "assistant"), pair))


# A prompt and a response


def read_pair(row: RowReader) -> Turns:
    """Read a question and its answer."""
    return row.question() + row.answer()


def _find_pair(row: Row, filled: Filled) -> Columns | None:
    response, question = _only_column(row, filled, RESPONSE_COLUMNS, "response"), question_columns(row, filled)
    if not response or "prompt" not in question:
        return None
    return {**_optional_columns(row, filled), **question, "response": (response,)}


def question_columns(row: Row, filled: Filled) -> Columns:
    """Return the columns of the prompt: itself, its input, and the turns before it."""
    prompt, extra = _only_column(row, filled, PROMPT_COLUMNS, "prompt"), _present(filled, _INPUT_COLUMNS)
    if len(extra) > 1:
        raise _ambiguous("input", *extra)
    if prompt is None and extra == ["input"]:
        prompt, extra = "input", []
    extra = extra if prompt else []
    history = [name for name in _present(filled, ("history",)) if _is_list(row[name])]
    found = {"history": tuple(history), "prompt": (prompt,) if prompt else (), "input": tuple(extra)}
    return {role: names for role, names in found.items() if names}


def _is_list(value: object) -> bool:
    return value.lstrip().startswith("[") if isinstance(value, str) else holds_objects(value)


# A list of turns


def read_messages(row: RowReader) -> Turns:
    """Read the turns of a conversation."""
    return row.conversation(row.names("messages")[0])


def _find_messages(column: str, row: Row, filled: Filled) -> Columns | None:
    found = _message_columns(row, filled)
    return {**_optional_columns(row, filled), "messages": found} if found == (column,) else None


def _message_columns(row: Row, filled: Filled) -> tuple[str, ...]:
    """Return the one column of turns. Raises `RowProblemError` where two columns hold different ones."""
    found = [name for name in _present(filled, MESSAGE_COLUMNS) if holds_objects(row[name])]
    if len(found) > 1 and turns_or_value(row[found[0]], found[0]) != turns_or_value(row[found[1]], found[1]):
        raise RowProblemError(f"columns {found[0]!r} and {found[1]!r} hold different turns: --columns messages=NAME")
    return tuple(found[:1])


# A prompt, a chosen and a rejected answer


def _find_preference(row: Row, filled: Filled) -> Columns | None:
    messages = _message_columns(row, filled)
    if "chosen" not in filled or not _is_answer(row, filled, is_alone=not messages):
        return None
    if answers := _present(filled, RESPONSE_COLUMNS):
        raise _ambiguous("response", "chosen", answers[0])
    columns = {**_optional_columns(row, filled), **question_columns(row, filled), "chosen": ("chosen",)}
    if "prompt" in columns and columns["prompt"][0] not in filled:
        del columns["prompt"]
    return columns | {"messages": messages}


def _is_answer(row: Row, filled: Filled, is_alone: bool) -> bool:
    """Return whether `chosen` holds an answer, not a flag or a number beside another one."""
    if isinstance(row["chosen"], int | float):
        return is_alone and not isinstance(row["chosen"], bool) and not _present(filled, RESPONSE_COLUMNS)
    return isinstance(row["chosen"], str) or holds_objects(row["chosen"])


def _read_preference(row: RowReader) -> Turns:
    """Read the prompt and the chosen answer, and beside it the rejected one, where the row has one."""
    read = _with_answer(row, row.names("chosen")[0])
    for name in _REJECTED_COLUMNS:
        if not is_empty(row.row.get(name)):
            with suppress(RowProblemError):  # what is measured by the chosen answer alone does not need it
                row.content.rejected = _with_answer(row, name)
    return read


def _with_answer(row: RowReader, column: str) -> Turns:
    """Read the prompt and the answer in a column, the prompt once wherever it stands."""
    chosen = _chosen_turns(row, column)
    prompts = [_prompt_of_preference(row)] if {"prompt", "history"} & {*row.columns} else []
    for name in row.names("messages"):
        turns = row.conversation(name)
        if turns == chosen:
            continue
        if turns[-1].role == "assistant" and column != row.names("chosen")[0]:
            turns = turns[:-1]  # the chosen answer, in the place of which another stands
        if turns[-1].role == "assistant":
            raise RowProblemError(f"column {name!r} ends with an answer that is not the chosen one")
        prompts.append(turns)
    if not prompts:
        if chosen[0].role == "assistant":
            raise RowProblemError("there is a chosen answer and no 'prompt' column that it answers")
        return chosen
    read = [after_prompt(prompt, chosen) for prompt in prompts]
    if read[0] != read[-1]:
        raise RowProblemError(f"columns {row.names('prompt')[0]!r} and {row.names('messages')[0]!r} differ")
    return read[0]


def _chosen_turns(row: RowReader, column: str) -> Turns:
    """Read turns, those of HH-RLHF's text, or one answer, without a prompt that both answers repeat."""
    if row.holds_turns(column):
        return row.conversation(column)
    text = text_of(row.row, column)
    if turns := transcript(text):
        row.content.is_conversation = True
        return turns
    prompt = next((row.row[name] for name in row.names("prompt") if isinstance(row.row[name], str)), "")
    others = [row.row[name] for name in _REJECTED_COLUMNS if isinstance(row.row.get(name), str)]
    if prompt and others and all(each.startswith(prompt) and each != prompt for each in (text, *others)):
        text = text.removeprefix(prompt).lstrip()
    return (Turn("assistant", text),)


def _prompt_of_preference(row: RowReader) -> Turns:
    turns = row.question()
    if len(turns) == 1 and (spoken := transcript(turns[0].content)):  # HH-RLHF, cut before the last answer
        row.content.is_conversation = True
        return spoken[:-1] if spoken[-1].role == "assistant" and spoken[-1].is_empty else spoken
    return turns


# Columns that rows of every schema may have


def _optional_columns(row: Row, filled: Filled) -> Columns:
    """Return the columns of the system prompt, and of what is for the chat template."""
    system = [name for name in _present(filled, _SYSTEM_COLUMNS) if isinstance(row[name], str)]
    tools = [name for name in _present(filled, _TOOL_COLUMNS) if holds_objects(row[name])]
    for names, what in ((system, "system prompt"), (tools, "list of tools")):
        if len(names) > 1 and row[names[0]] != row[names[1]]:
            raise _ambiguous(what, *names[:2])
    more = {name: (name,) for name in _present(filled, _TEMPLATE_COLUMNS) if _first_is_object(row[name])}
    return {"system": tuple(system[:1]), "tools": tuple(tools[:1]), **more}


def _first_is_object(value: object) -> bool:
    """Return whether a cell is an object, a list of them, or such JSON text; documents may also be mere texts."""
    listed = value.tolist() if hasattr(value, "tolist") else value
    return isinstance(listed[0], Mapping) if isinstance(listed, list | tuple) else holds_objects(listed)


def _present(filled: Filled, names: Sequence[str]) -> list[str]:
    return [name for name in names if name in filled]


def _only_column(row: Row, filled: Filled, names: Sequence[str], what: str) -> str | None:
    """Return the one column of these that holds something, else an empty one."""
    holding = _present(filled, names)
    if len(holding) > 1:
        raise _ambiguous(what, *holding[:2])
    return holding[0] if holding else next((name for name in names if name in row), None)


def _ambiguous(what: str, first: str, second: str) -> RowProblemError:
    return RowProblemError(
        f"two columns could be the {what}, {first!r} and {second!r}: say which with --columns prompt=NAME,response=NAME"
    )


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


def role_rank(role: str) -> int:
    """Return the place of a role in the name of a schema, and in the order in which columns are listed."""
    return _ROLES.index(role) if role in _ROLES else len(_ROLES)


def scalars(row: Row, text_columns: frozenset[str]) -> dict[str, Scalar]:
    """Return the columns of one number, flag or short string that are none of `text_columns`."""
    return {
        name: value
        for name, value in row.items()
        if name not in text_columns
        and (_is_number(value) or (isinstance(value, str) and len(value) <= _LONGEST_SCALAR))
    }


def _is_number(value: object) -> bool:
    """Return whether a value is a flag or a number that also a float can hold, or not finite."""
    return isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= _MOST_BITS)


_OPTIONAL = frozenset((*_SYSTEM_COLUMNS, *_TOOL_COLUMNS, *_REJECTED_COLUMNS, *_TEMPLATE_COLUMNS))
_BESIDE_A_PAIR = _OPTIONAL | {*_INPUT_COLUMNS, "history"}

SCHEMAS = (
    Schema("preference rows (the chosen answer)", "chosen", _find_preference, _read_preference, _BESIDE_A_PAIR),
    Schema("messages (list of turns)", "messages", partial(_find_messages, "messages"), read_messages, _OPTIONAL),
    Schema("ShareGPT conversations (list of turns)", "conversations", partial(_find_messages, "conversations"),
           read_messages, _OPTIONAL),
    Schema(None, "instruction[, input], output | prompt, completion", _find_pair, read_pair, _BESIDE_A_PAIR),
)  # fmt: skip
"""The schemas, the more special first."""

UNKNOWN_TEXT_COLUMNS = frozenset[str]().union(
    *(schema.text_columns for schema in SCHEMAS), PROMPT_COLUMNS, RESPONSE_COLUMNS, MESSAGE_COLUMNS, ("chosen", "text")
)
"""Columns that are nothing to group by in rows without a schema."""
