"""Find the list of turns in a cell, and read each of its messages as a `Turn`, whatever their keys are called."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradprism.data.cells import is_empty, is_missing, objects_of, plain
from gradprism.data.example import RowProblemError, Turn

Message = Mapping[str, Any]
Calls = tuple[Mapping[str, Any], ...]

_CALL = "call"  # an assistant turn whose content is JSON of the functions that it calls

_ROLES = {
    "system": "system",
    "developer": "developer",
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "ai", "chatbot", "bing", "bard"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), _CALL),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "function_response", "tool_response"), "tool"),
}
"""Roles by the names that public data sets give them, in small letters."""

_ROLE_KEYS = ("role", "from")
_CONTENT_KEYS = ("content", "value")
_THINKING_KEYS = ("reasoning_content", "thinking", "reasoning")
_CALL_KEYS = ("tool_calls", "function_call")

_BEGINS_OBJECTS = re.compile(r"\s*(\[\s*\{|\{)")
_FIRST_KEY = re.compile(r"\s*\[?\s*\{\s*(['\"])(role|from|content|value)\1\s*:")
_SPEAKER = re.compile(r"(['\"])(role|from)\1\s*:\s*(['\"])(\w+)\3")
_SPOKEN = re.compile(r"(['\"])(content|value|tool_calls)\1\s*:")
_LOSS_KEYS = ("train", "training", "weight", "loss")
_LABEL_KEYS = ("name", "tool_call_id")
_READ_KEYS = {*_ROLE_KEYS, *_CONTENT_KEYS, *_THINKING_KEYS, *_CALL_KEYS, *_LOSS_KEYS, *_LABEL_KEYS}
_PARTLY_IN_LOSS = ("train_detail", "training_detail")


# The list of turns in a cell


def holds_objects(value: object) -> bool:
    """Return whether a cell is a list, an object, or text that begins as JSON of objects does."""
    if isinstance(value, str):
        return _BEGINS_OBJECTS.match(value) is not None
    return isinstance(value, list | tuple | Mapping) or hasattr(value, "tolist")


def turns_or_value(value: object, column: str) -> object:
    """Return the list of turns that a cell holds, as a list, one turn, a struct of lists, or JSON text of these.

    Any other value comes back as it is: JSON text of other objects is text. Raises `RowProblemError` for text that was
    meant as turns and cannot be parsed: turns as Python prints them, or JSON that is cut short.
    """
    if isinstance(value, str):
        return _parse_turns(value, column)
    if isinstance(value, Mapping):
        return _struct_of_lists(value) or ([dict(value)] if _is_turn(value) else value)
    if isinstance(value, tuple):
        return list(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _parse_turns(text: str, column: str) -> object:
    if not _BEGINS_OBJECTS.match(text):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        _refuse_meant_turns(text, column, error)
        return text
    if isinstance(value, list):
        return value if value and all(map(_is_turn, value)) else text
    return _struct_of_lists(value) or ([value] if _is_turn(value) and _has_known_role(value) else text)


def _is_turn(value: object) -> bool:
    """Return whether an object has a role and says something; JSON text of other objects is plain text."""
    if not isinstance(value, Mapping) or not {*_ROLE_KEYS} & {*value}:
        return False
    others = {*_THINKING_KEYS, *_CALL_KEYS} & {*value}
    return bool({*_CONTENT_KEYS} & {*value} or (others and _has_known_role(value)))


def _has_known_role(value: Mapping[str, Any]) -> bool:
    return any(str(value.get(name)).lower() in _ROLES for name in _ROLE_KEYS)


def _refuse_meant_turns(text: str, column: str, error: Exception) -> None:
    key = _FIRST_KEY.match(text)
    speakers = (match[4].lower() for match in _SPEAKER.finditer(text))
    if key is None or not _SPOKEN.search(text) or not any(name in _ROLES for name in speakers):
        return
    if key[1] == "'":
        raise RowProblemError(
            f"column {column!r} holds turns as Python prints them ({{'role': ...}}), which is not JSON; "
            "write them with json.dumps, or as lists into JSON Lines or Parquet"
        )
    raise RowProblemError(f"column {column!r} looks like turns, and is not valid JSON: {error}")


def _struct_of_lists(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the turns of {"from": [...], "value": [...]}, as `datasets` stores a list of structs; [] of others."""
    if not all(any(hasattr(value.get(name), "__iter__") and not isinstance(value[name], str) for name in names)
               for names in (_ROLE_KEYS, _CONTENT_KEYS)):  # fmt: skip
        return []
    lists = {str(name): plain(each) for name, each in value.items() if each is not None}
    lengths = {len(each) if isinstance(each, list) else -1 for each in lists.values()}
    if len(lengths) != 1 or -1 in lengths:
        return []
    return [dict(zip(lists, each, strict=True)) for each in zip(*lists.values(), strict=True)]


# Messages


@dataclass(frozen=True)
class Conversation:
    """The turns in one cell, and the names of the messages' fields that are not read."""

    turns: tuple[Turn, ...]
    unused: frozenset[str] = frozenset()


def read_turns(value: object, column: str) -> Conversation:
    """Read a list of messages. Raises `RowProblemError` that names the column and what is not understood of it."""
    messages = turns_or_value(value, column)
    if not isinstance(messages, list) or not messages:
        raise RowProblemError(f"column {column!r} is not a list of turns")
    unused = {
        str(name)
        for each in messages
        if isinstance(each, Mapping)
        for name, field in each.items()
        if name not in _READ_KEYS and not is_empty(field)
    }
    return Conversation(_with_calls_joined(_read_message(each, column) for each in messages), frozenset(unused))


def _with_calls_joined(messages: Iterable[Sequence[Turn]]) -> tuple[Turn, ...]:
    """Make one turn of call messages that follow each other: they are the parallel calls of one answer."""
    turns = list[Turn]()
    for turn in (turn for message in messages for turn in message):
        if turn.role != _CALL:
            turns.append(turn)
        elif turns and turns[-1].role == _CALL and turns[-1].in_loss == turn.in_loss:
            turns[-1] = replace(turns[-1], tool_calls=turns[-1].tool_calls + turn.tool_calls)
        else:
            turns.append(turn)
    return tuple(replace(turn, role="assistant") if turn.role == _CALL else turn for turn in turns)


def _read_message(given: object, column: str) -> Sequence[Turn]:
    """Read one message as a turn, or as the tool turns of its results and a turn of the rest."""
    if not isinstance(given, Mapping):
        raise RowProblemError(f"a turn of {column!r} is of type {type(given).__name__}, expected role and content")
    if (ordinary := _read_plain_message(given)) is not None:
        return [ordinary]
    message = {name: value for name, value in given.items() if not is_missing(value)}
    role = _read_role(message, column)
    where = f"a{'n' if role == 'assistant' else ''} {role} turn in {column!r}"
    _refuse_unread_fields(message, where)
    said = _content_of_message(message, where, is_call=role == _CALL)
    thinking = _read_thinking(message, where, said.thinking)
    calls = _read_calls(message, where, said.calls)
    if said.is_missing and not (thinking or calls):
        raise RowProblemError(f"the content of {where} is not text (it is null or absent), and there is no tool call")
    labels = {name: _read_label(message, name, where) for name in _LABEL_KEYS}
    in_loss = role not in ("assistant", _CALL) or _read_in_loss(message, where)
    turn = Turn(role, said.text, thinking, calls, in_loss=in_loss, **labels)
    return [*said.results, *([] if said.results and turn.is_empty else [turn])]


def _read_plain_message(message: Message) -> Turn | None:
    """Read a message of a role and a text alone, as most are; return None for any other."""
    given, said = message.get("role", message.get("from")), message.get("content", message.get("value"))
    if len(message) != 2 or not (isinstance(given, str) and isinstance(said, str)):
        return None
    role = _ROLES.get(given.lower())
    return Turn(role, said) if role and role != _CALL else None


def _refuse_unread_fields(message: Message, where: str) -> None:
    for name in _PARTLY_IN_LOSS:
        if not is_empty(message.get(name)):
            raise RowProblemError(f"{where} has {name!r}, a loss on parts of a turn, which is not read")
    thinks = any(not is_empty(message.get(name)) for name in _THINKING_KEYS)
    if not is_empty(message.get("reasoning_details")) and not thinks:
        raise RowProblemError(f"{where} has 'reasoning_details' without 'reasoning', which is not read")


def _read_role(message: Message, column: str) -> str:
    given = _filled_values(message, _ROLE_KEYS) or [None]
    roles = [_ROLES.get(str(each).lower()) for each in given]
    for each, role in zip(given, roles, strict=True):
        if role is None:
            raise RowProblemError(f"unknown role {each!r} in {column!r}; known: {', '.join(_ROLES)}")
    if roles[0] != roles[-1]:
        raise RowProblemError(f"a turn of {column!r} has the role {given[0]!r} and is from {given[1]!r}")
    return str(roles[0])


def _read_label(message: Message, name: str, where: str) -> str | None:
    value = message.get(name)
    if is_empty(value):
        return None
    if not isinstance(value, str | int):
        raise RowProblemError(f"the {name} of {where} is a {type(value).__name__}, expected text")
    return str(value)


def _read_in_loss(message: Message, where: str) -> bool:
    """Read train, training, weight and loss: 0 and false leave a turn out. Raises `RowProblemError` for others."""
    given = {name: message[name] for name in _LOSS_KEYS if name in message}
    for name, value in given.items():
        if not isinstance(value, int | float) or value not in (0, 1):
            raise RowProblemError(f"{where} has {name} = {value!r}; only 0, 1, true, false and null are understood")
    if len(kept := {bool(value) for value in given.values()}) > 1:
        raise RowProblemError(f"{where} is in the loss by one and not by another of {', '.join(given)}")
    return False not in kept


# What a turn says


@dataclass
class _TurnContent:
    """Text, thinking, calls and tool results of a turn's content."""

    text: str = ""
    thinking: str = ""
    calls: Calls = ()
    results: tuple[Turn, ...] = ()
    is_missing: bool = False


def _content_of_message(message: Message, where: str, is_call: bool) -> _TurnContent:
    given = _filled_values(message, _CONTENT_KEYS)
    if not given:
        return _TurnContent(is_missing=True)
    if is_call:
        calls = _parse_calls(given[0], where)
        return _TurnContent(calls=calls, is_missing=not calls)
    read = [_read_content(each, where) for each in given]
    if read[0] != read[-1]:
        raise RowProblemError(f"{where} has a 'content' and a different 'value'")
    return read[0]


def _filled_values(message: Message, names: Sequence[str]) -> list[Any]:
    """Return the values of several keys for one thing: those that hold something, else the empty ones."""
    given = [message[name] for name in names if name in message]
    return [value for value in given if not is_empty(value)] or given[:1]


def _read_content(content: object, where: str) -> _TurnContent:
    if isinstance(content, str):
        return _TurnContent(content)
    parts = plain(content)
    if not isinstance(parts, list):
        raise RowProblemError(f"the content of {where} is not text: it holds a {type(content).__name__}")
    said = _TurnContent()
    for part in parts:
        _add_part(said, part, where)
    return said


def _add_part(said: _TurnContent, part: object, where: str) -> None:
    """Add a part to what was said, where it comes in the order in which templates show it. Raises `RowProblemError`."""
    if not isinstance(part, dict):
        raise RowProblemError(f"the content of {where} holds a part of type {type(part).__name__}, which is not text")
    match part.get("type", "text"):
        case "text" | "input_text" | "output_text" if isinstance(part.get("text"), str):
            _refuse_order(bool(said.calls) and bool(part["text"].strip()), "text after a tool call", where)
            said.text += part["text"]
        case "thinking" | "reasoning" as kind:
            _refuse_order(bool(said.text.strip() or said.calls), "thinking after text", where)
            thought = _read_thinking_part(part, kind, where)
            said.thinking += f"\n{thought}" if said.thinking else thought
        case "tool_use" if isinstance(part.get("name"), str):
            function = {"name": part["name"], "arguments": part.get("input", {})}
            labels = {"id": part["id"]} if "id" in part else {}
            said.calls += ({**labels, "type": "function", "function": function},)
        case "tool_result":
            _refuse_order(bool(said.text.strip()), "a tool result after text", where)
            result = _read_content(part.get("content", ""), where)
            if result != _TurnContent(result.text):
                raise RowProblemError(f"the content of {where} holds a tool result that is not text")
            said.results += (Turn("tool", result.text, tool_call_id=_read_label(part, "tool_use_id", where)),)
        case kind:
            raise RowProblemError(f"the content of {where} holds a part of type {kind!r}, which is not text")


def _refuse_order(is_refused: bool, what: str, where: str) -> None:
    if is_refused:
        raise RowProblemError(f"the content of {where} holds {what}; a template shows them in another order")


def _read_thinking_part(part: Message, kind: str, where: str) -> str:
    value = next((part[name] for name in (kind, "thinking", "text") if name in part), None)
    if isinstance(value, list):
        said = _read_content(value, where)
        value = said.text if said == _TurnContent(said.text) else None
    if not isinstance(value, str):
        raise RowProblemError(f"the content of {where} holds a {kind} part that is not text")
    return value


def _read_thinking(message: Message, where: str, of_parts: str) -> str:
    given = {name: message[name] for name in _THINKING_KEYS if not is_empty(message.get(name))}
    for name, value in given.items():
        if not isinstance(value, str):
            raise RowProblemError(f"the {name} of {where} is a {type(value).__name__}, expected text")
    different = dict.fromkeys([*given.values(), *([of_parts] if of_parts else [])])
    if len(different) > 1:
        raise RowProblemError(f"{where} has thinking twice, and not the same ({', '.join(given)})")
    return next(iter(different), "")


# Tool calls


def _read_calls(message: Message, where: str, of_parts: Calls) -> Calls:
    given = [_parse_calls(message[name], where) for name in _CALL_KEYS if name in message]
    found = [calls for calls in (*given, of_parts) if calls]
    if len(found) > 1:
        raise RowProblemError(f"{where} has tool calls in more than one place")
    return found[0] if found else ()


def _parse_calls(value: object, where: str) -> Calls:
    return tuple(_in_openai_form(each, where) for each in objects_of(value, f"the tool call of {where}"))


def _in_openai_form(given: dict[str, Any], where: str) -> Mapping[str, Any]:
    """Return a call in the form of OpenAI's API; a flat name and arguments are wrapped, arguments stay as given."""
    function = given.get("function")
    outer = given if isinstance(function, dict) else {"type": "function"}
    if not isinstance(function, dict):
        function = {name: value for name, value in given.items() if name not in ("type", "id")}
        outer = {**({"id": given["id"]} if "id" in given else {}), **outer}
    if "parameters" in function and "arguments" not in function:
        function = {"name": function.get("name"), "arguments": function["parameters"]}
    arguments = function.setdefault("arguments", {})
    if not isinstance(function.get("name"), str) or not isinstance(arguments, str | dict):
        raise RowProblemError(f"a tool call of {where} has no name, or no arguments, that can be read")
    return {**outer, "function": function}
