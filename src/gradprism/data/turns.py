"""Read one message of a data set, whatever its keys are called, as a `Turn`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradprism.data.cells import is_empty, is_missing, objects_of, plain
from gradprism.data.example import RowProblemError, Turn
from gradprism.data.turn_lists import CALL, CALL_KEYS, CONTENT_KEYS, ROLE_KEYS, ROLES, THINKING_KEYS, turns_or_value

Message = Mapping[str, Any]
Calls = tuple[Mapping[str, Any], ...]

_LOSS_KEYS = ("train", "training", "weight", "loss")
_LABEL_KEYS = ("name", "tool_call_id")
_READ_KEYS = {*ROLE_KEYS, *CONTENT_KEYS, *THINKING_KEYS, *CALL_KEYS, *_LOSS_KEYS, *_LABEL_KEYS}
_PARTLY_IN_LOSS = ("train_detail", "training_detail")


@dataclass(frozen=True)
class Conversation:
    """Turns of one cell, and the names of the messages' other fields that hold something."""

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
    return Conversation(_with_calls_joined(_message(each, column) for each in messages), frozenset(unused))


def _with_calls_joined(messages: Iterable[Sequence[Turn]]) -> tuple[Turn, ...]:
    """Make one turn of call messages that follow each other: they are the parallel calls of one answer."""
    turns = list[Turn]()
    for turn in (turn for message in messages for turn in message):
        if turn.role != CALL:
            turns.append(turn)
        elif turns and turns[-1].role == CALL and turns[-1].in_loss == turn.in_loss:
            turns[-1] = replace(turns[-1], tool_calls=turns[-1].tool_calls + turn.tool_calls)
        else:
            turns.append(turn)
    return tuple(replace(turn, role="assistant") if turn.role == CALL else turn for turn in turns)


def _message(given: object, column: str) -> Sequence[Turn]:
    """Read one message: a turn, or the tool turns of its results and what is said after them."""
    if not isinstance(given, Mapping):
        raise RowProblemError(f"a turn of {column!r} is of type {type(given).__name__}, expected role and content")
    if (ordinary := _of_two_texts(given)) is not None:
        return [ordinary]
    message = {name: value for name, value in given.items() if not is_missing(value)}
    role = _role(message, column)
    where = f"a{'n' if role == 'assistant' else ''} {role} turn in {column!r}"
    _refuse_unread(message, where)
    said = _content(message, where, is_call=role == CALL)
    thinking = _thinking(message, where, said.thinking)
    calls = _calls(message, where, said.calls)
    if said.is_missing and not (thinking or calls):
        raise RowProblemError(f"the content of {where} is not text (it is null or absent), and there is no tool call")
    labels = {name: _label(message, name, where) for name in _LABEL_KEYS}
    in_loss = role not in ("assistant", CALL) or _in_loss(message, where)
    turn = Turn(role, said.text, thinking, calls, in_loss=in_loss, **labels)
    return [*said.results, *([] if said.results and turn.is_empty else [turn])]


def _of_two_texts(message: Message) -> Turn | None:
    """Read a message of a role and a text alone, as most are; None of any other."""
    given, said = message.get("role", message.get("from")), message.get("content", message.get("value"))
    if len(message) != 2 or not (isinstance(given, str) and isinstance(said, str)):
        return None
    role = ROLES.get(given.lower())
    return Turn(role, said) if role and role != CALL else None


def _refuse_unread(message: Message, where: str) -> None:
    for name in _PARTLY_IN_LOSS:
        if not is_empty(message.get(name)):
            raise RowProblemError(f"{where} has {name!r}, a loss on parts of a turn, which is not read")
    thinks = any(not is_empty(message.get(name)) for name in THINKING_KEYS)
    if not is_empty(message.get("reasoning_details")) and not thinks:
        raise RowProblemError(f"{where} has 'reasoning_details' without 'reasoning', which is not read")


def _role(message: Message, column: str) -> str:
    given = _values(message, ROLE_KEYS) or [None]
    roles = [ROLES.get(str(each).lower()) for each in given]
    for each, role in zip(given, roles, strict=True):
        if role is None:
            raise RowProblemError(f"unknown role {each!r} in {column!r}; known: {', '.join(ROLES)}")
    if roles[0] != roles[-1]:
        raise RowProblemError(f"a turn of {column!r} has the role {given[0]!r} and is from {given[1]!r}")
    return str(roles[0])


def _label(message: Message, name: str, where: str) -> str | None:
    value = message.get(name)
    if is_empty(value):
        return None
    if not isinstance(value, str | int):
        raise RowProblemError(f"the {name} of {where} is a {type(value).__name__}, expected text")
    return str(value)


def _in_loss(message: Message, where: str) -> bool:
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
class _Said:
    """Text, thinking, calls and tool results of a turn's content."""

    text: str = ""
    thinking: str = ""
    calls: Calls = ()
    results: tuple[Turn, ...] = ()
    is_missing: bool = False


def _content(message: Message, where: str, is_call: bool) -> _Said:
    given = _values(message, CONTENT_KEYS)
    if not given:
        return _Said(is_missing=True)
    if is_call:
        calls = _calls_of(given[0], where)
        return _Said(calls=calls, is_missing=not calls)
    read = [_said(each, where) for each in given]
    if read[0] != read[-1]:
        raise RowProblemError(f"{where} has a 'content' and a different 'value'")
    return read[0]


def _values(message: Message, names: Sequence[str]) -> list[Any]:
    """Return the values of several keys for one thing: those that hold something, else the empty ones."""
    given = [message[name] for name in names if name in message]
    return [value for value in given if not is_empty(value)] or given[:1]


def _said(content: object, where: str) -> _Said:
    if isinstance(content, str):
        return _Said(content)
    parts = plain(content)
    if not isinstance(parts, list):
        raise RowProblemError(f"the content of {where} is not text: it holds a {type(content).__name__}")
    said = _Said()
    for part in parts:
        _add_part(said, part, where)
    return said


def _add_part(said: _Said, part: object, where: str) -> None:
    """Add a part to what was said, where it comes in the order in which templates show it. Raises `RowProblemError`."""
    if not isinstance(part, dict):
        raise RowProblemError(f"the content of {where} holds a part of type {type(part).__name__}, which is not text")
    match part.get("type", "text"):
        case "text" | "input_text" | "output_text" if isinstance(part.get("text"), str):
            _refuse_order(bool(said.calls) and bool(part["text"].strip()), "text after a tool call", where)
            said.text += part["text"]
        case "thinking" | "reasoning" as kind:
            _refuse_order(bool(said.text.strip() or said.calls), "thinking after text", where)
            thought = _thought(part, kind, where)
            said.thinking += f"\n{thought}" if said.thinking else thought
        case "tool_use" if isinstance(part.get("name"), str):
            function = {"name": part["name"], "arguments": part.get("input", {})}
            labels = {"id": part["id"]} if "id" in part else {}
            said.calls += ({**labels, "type": "function", "function": function},)
        case "tool_result":
            _refuse_order(bool(said.text.strip()), "a tool result after text", where)
            result = _said(part.get("content", ""), where)
            if result != _Said(result.text):
                raise RowProblemError(f"the content of {where} holds a tool result that is not text")
            said.results += (Turn("tool", result.text, tool_call_id=_label(part, "tool_use_id", where)),)
        case kind:
            raise RowProblemError(f"the content of {where} holds a part of type {kind!r}, which is not text")


def _refuse_order(is_refused: bool, what: str, where: str) -> None:
    if is_refused:
        raise RowProblemError(f"the content of {where} holds {what}; a template shows them in another order")


def _thought(part: Message, kind: str, where: str) -> str:
    value = next((part[name] for name in (kind, "thinking", "text") if name in part), None)
    if isinstance(value, list):
        said = _said(value, where)
        value = said.text if said == _Said(said.text) else None
    if not isinstance(value, str):
        raise RowProblemError(f"the content of {where} holds a {kind} part that is not text")
    return value


def _thinking(message: Message, where: str, of_parts: str) -> str:
    given = {name: message[name] for name in THINKING_KEYS if not is_empty(message.get(name))}
    for name, value in given.items():
        if not isinstance(value, str):
            raise RowProblemError(f"the {name} of {where} is a {type(value).__name__}, expected text")
    different = dict.fromkeys([*given.values(), *([of_parts] if of_parts else [])])
    if len(different) > 1:
        raise RowProblemError(f"{where} has thinking twice, and not the same ({', '.join(given)})")
    return next(iter(different), "")


# Tool calls


def _calls(message: Message, where: str, of_parts: Calls) -> Calls:
    given = [_calls_of(message[name], where) for name in CALL_KEYS if name in message]
    found = [calls for calls in (*given, of_parts) if calls]
    if len(found) > 1:
        raise RowProblemError(f"{where} has tool calls in more than one place")
    return found[0] if found else ()


def _calls_of(value: object, where: str) -> Calls:
    return tuple(_call(each, where) for each in objects_of(value, f"the tool call of {where}"))


def _call(given: dict[str, Any], where: str) -> Mapping[str, Any]:
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
