"""What the columns of a row mean: schemas found by their names, each turning a row into turns."""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gradprism.data.example import RowProblemError, Scalar, Turn
from gradprism.errors import GradPrismError

Row = Mapping[str, Any]
Converter = Callable[[Row], tuple[Turn, ...]]

PROMPT_COLUMNS = ("prompt", "instruction", "question", "query", "problem")
RESPONSE_COLUMNS = ("completion", "response", "output", "answer", "solution")
COLUMN_ROLES = ("prompt", "input", "response", "messages", "system", "id")
_MOST_NAMES = 24  # of columns, in a message
_LONGEST_SCALAR = 256  # characters; longer strings are content, not columns to group by

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
}


@dataclass(frozen=True)
class Schema:
    """How one data set's rows are read: `uses` are the columns that become text, `turns` the conversion."""

    name: str
    uses: tuple[str, ...]
    turns: Converter
    id_column: str = "id"

    def scalars(self, row: Row) -> dict[str, Scalar]:
        """Return the row's other columns that hold one number, flag or short string, to group and select by."""
        return {
            name: value
            for name, value in row.items()
            if name not in self.uses
            and (isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _LONGEST_SCALAR))
        }


def find_schema(row: Row, columns: Mapping[str, str]) -> Schema:
    """Find how rows like this one are read; `columns` are the user's own assignments, role -> column name."""
    if columns:
        return _from_assignments(row, columns)
    for recognise in (_messages, _preference, _instruction, _pair):
        if schema := recognise(row):
            return schema
    raise GradPrismError(
        f"Do not know how to read rows with the columns {_listed(row)}.\n"
        "Expected one of: instruction[, input], output | prompt, completion | messages | conversations | chosen.\n"
        "Say which column is which with --columns prompt=NAME,response=NAME or --columns messages=NAME."
    )


def parse_columns(text: str) -> dict[str, str]:
    """`prompt=question,response=answer` -> {"prompt": "question", "response": "answer"}."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if bad := [role for role, equals, name in pairs if not equals or not name.strip()]:
        raise GradPrismError(f"--columns: {bad[0]!r} is not of the form role=column, e.g. prompt=question")
    columns = {role.strip(): name.strip() for role, _, name in pairs}
    if unknown := [role for role in columns if role not in COLUMN_ROLES]:
        raise GradPrismError(f"--columns: unknown role {unknown[0]!r}; the roles are {', '.join(COLUMN_ROLES)}.")
    return columns


def _from_assignments(row: Row, columns: Mapping[str, str]) -> Schema:
    answer = columns.get("response", "")
    joined = tuple(answer.split("+")) if "+" in answer and answer not in row else ()
    named = [name for role, name in columns.items() if role != "response" or not joined]
    if missing := [name for name in (*named, *joined) if name not in row]:
        close = difflib.get_close_matches(missing[0], list(map(str, row)), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise GradPrismError(f"--columns names {missing[0]!r}; the data has {_listed(row)}.{hint}")
    id_column, system = columns.get("id", "id"), columns.get("system")
    if "messages" in columns:
        return _with_system("messages", columns["messages"], system, id_column)
    if "response" in columns:
        prompt, response = columns.get("prompt"), columns["response"]
        used = [columns[role] for role in ("system", "prompt", "input") if role in columns]
        return Schema(
            "columns named by --columns",
            (*used, *(joined or (response,))),
            lambda r: _turns(_with_joined(r, response, joined), prompt, columns.get("input"), response, system),
            id_column,
        )
    if set(columns) <= {"id"}:
        found = find_schema(row, {})
        return Schema(found.name, found.uses, found.turns, id_column)
    raise GradPrismError(f"--columns names {_listed(columns)}, but no response (or messages) column.")


def _with_joined(row: Row, response: str, parts: tuple[str, ...]) -> Row:
    """The row with one more column: several columns' texts, such as thinking and answer, a newline between them."""
    if not parts:
        return row
    if absent := [name for name in parts if name not in row]:
        raise RowProblemError(f"this row has no column {absent[0]!r}")
    return {**row, response: "\n".join(text for name in parts if (text := _text(row, name)))}


def _listed(names: Iterable[str]) -> str:
    shown = [repr(name) for name in names]
    more = f" and {len(shown) - _MOST_NAMES} more" if len(shown) > _MOST_NAMES else ""
    return (", ".join(shown[:_MOST_NAMES]) or "(none)") + more


def _with_system(name: str, column: str, system: str | None, id_column: str = "id") -> Schema:
    uses = (column,) if system is None else (system, column)

    def convert(row: Row) -> tuple[Turn, ...]:
        turns = _conversation(row.get(column), column)
        text = _text(row, system) if system else ""
        has_own = any(turn.role == "system" for turn in turns)
        return turns if has_own or not text else (Turn("system", text), *turns)

    return Schema(name, uses, convert, id_column)


def _messages(row: Row) -> Schema | None:
    system = "system" if isinstance(row.get("system"), str) else None
    for column, name in (("messages", "messages"), ("conversations", "ShareGPT conversations")):
        if isinstance(_decoded(row.get(column)), list):
            return _with_system(f"{name} (list of turns)", column, system)
    return None


def _preference(row: Row) -> Schema | None:
    if "chosen" not in row:
        return None
    uses = tuple(name for name in ("prompt", "chosen", "rejected") if name in row)
    return Schema("preference rows (the chosen answer)", uses, _chosen_turns)


def _instruction(row: Row) -> Schema | None:
    response = next((name for name in ("output", "response") if name in row), None)
    if "instruction" not in row or response is None:
        return None
    extra = next((name for name in ("input", "context") if name in row), None)
    system = "system" if isinstance(row.get("system"), str) else None
    uses = tuple(name for name in (system, "instruction", extra, response) if name)
    return Schema(" / ".join(uses), uses, lambda r: _turns(r, "instruction", extra, response, system))


def _pair(row: Row) -> Schema | None:
    prompts = [name for name in PROMPT_COLUMNS if name in row]
    responses = [name for name in RESPONSE_COLUMNS if name in row]
    if len(prompts) != 1 or len(responses) != 1:
        return None
    prompt, response = prompts[0], responses[0]
    return Schema(f"{prompt} / {response}", (prompt, response), lambda r: _turns(r, prompt, None, response))


def _turns(
    row: Row, prompt: str | None, extra: str | None, response: str, system: str | None = None
) -> tuple[Turn, ...]:
    """Turns of a prompt column (text or list of turns), its input, and the response."""
    if absent := [name for name in (prompt, response) if name and name not in row]:
        raise RowProblemError(f"this row has no column {absent[0]!r}")
    before: tuple[Turn, ...] = (Turn("system", text),) if system and (text := _text(row, system)) else ()
    asked = _decoded(row.get(prompt)) if prompt else None
    if isinstance(asked, list):
        before += _conversation(asked, str(prompt))
    elif prompt:
        text, more = _text(row, prompt), _text(row, extra) if extra else ""
        before += (Turn("user", f"{text}\n{more}" if more else text),)
    answer = _decoded(row.get(response))
    if isinstance(answer, list):
        return before + _conversation(answer, response)
    return (*before, Turn("assistant", _text(row, response)))


def _chosen_turns(row: Row) -> tuple[Turn, ...]:
    r"""TRL's preference format; and the `\n\nHuman: ... \n\nAssistant: ...` strings of HH-RLHF."""
    chosen = _decoded(row.get("chosen"))
    if isinstance(chosen, str) and "prompt" not in row:
        pieces = re.split(r"(?:^|\n\n)(Human|Assistant): ?", chosen)
        if len(pieces) < 3 or pieces[0].strip():
            raise RowProblemError("'chosen' is plain text and there is no 'prompt' column to answer")
        roles = {"Human": "user", "Assistant": "assistant"}
        return tuple(Turn(roles[who], text) for who, text in zip(pieces[1::2], pieces[2::2], strict=True))
    if isinstance(chosen, list) and len(chosen) > 1:  # the whole conversation stands in `chosen`
        return _conversation(chosen, "chosen")
    return _turns(row, "prompt", None, "chosen")


def _text(row: Row, column: str) -> str:
    value = row.get(column)
    if value is None or value != value:  # NaN is the empty cell of a pandas frame
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    raise RowProblemError(f"column {column!r} holds a {type(value).__name__}, expected text")


def _decoded(value: object) -> object:
    """A list of turns may arrive as JSON text (CSV has no lists) or as a NumPy array."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        with suppress(ValueError, RecursionError):
            decoded = json.loads(value)
            return decoded if all(map(_is_turn, decoded)) else value
    return value.tolist() if hasattr(value, "tolist") else value


def _is_turn(value: object) -> bool:
    """Whether a dict looks like a turn; other lists of objects in JSON are plain text, such as tool calls."""
    return isinstance(value, Mapping) and bool({"role", "from"} & set(value) and {"content", "value"} & set(value))


def _conversation(value: object, column: str) -> tuple[Turn, ...]:
    messages = _decoded(value)
    if not isinstance(messages, list) or not messages:
        raise RowProblemError(f"column {column!r} is not a list of turns")
    return tuple(_turn(message, column) for message in messages)


def _turn(message: object, column: str) -> Turn:
    if not isinstance(message, Mapping):
        raise RowProblemError(f"a turn of {column!r} is of type {type(message).__name__}, expected role and content")
    given = message.get("role", message.get("from"))
    role = _ROLES.get(str(given).lower())
    if role is None:
        raise RowProblemError(f"unknown role {given!r} in {column!r}; known: {', '.join(_ROLES)}")
    return Turn(role, _content(message.get("content", message.get("value")), role, column))


def _content(content: object, role: str, column: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(
        isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content
    ):
        return "".join(part["text"] for part in content)
    raise RowProblemError(f"the content of a {role} turn in {column!r} is not text")
