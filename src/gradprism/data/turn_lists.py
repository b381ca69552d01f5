"""Find turns in a cell: a list of them, one, a struct of lists, or JSON text of any of these."""

import json
import re
from collections.abc import Mapping
from typing import Any

from gradprism.data.cells import plain
from gradprism.data.example import RowProblemError

CALL = "call"  # an assistant turn whose content is JSON of the functions that it calls

ROLES = {
    "system": "system",
    "developer": "developer",
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "ai", "chatbot", "bing", "bard"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), CALL),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "function_response", "tool_response"), "tool"),
}
"""Roles by the names that public data sets give them, in small letters."""

ROLE_KEYS = ("role", "from")
CONTENT_KEYS = ("content", "value")
THINKING_KEYS = ("reasoning_content", "thinking", "reasoning")
CALL_KEYS = ("tool_calls", "function_call")

_OBJECTS = re.compile(r"\s*(\[\s*\{|\{)")
_FIRST_KEY = re.compile(r"\s*\[?\s*\{\s*(['\"])(role|from|content|value)\1\s*:")
_SPEAKER = re.compile(r"(['\"])(role|from)\1\s*:\s*(['\"])(\w+)\3")
_SPOKEN = re.compile(r"(['\"])(content|value|tool_calls)\1\s*:")


def holds_objects(value: object) -> bool:
    """Return whether a cell is a list, an object, or text that begins as JSON of objects does."""
    if isinstance(value, str):
        return _OBJECTS.match(value) is not None
    return isinstance(value, list | tuple | Mapping) or hasattr(value, "tolist")


def turns_or_value(value: object, column: str) -> object:
    """Return the list of turns that a cell holds, as a list, one turn, a struct of lists, or JSON text of these.

    Any other value comes back as it is: JSON text of other objects is text. Raises `RowProblemError` for text that was
    meant as turns and cannot be parsed: turns as Python prints them, or JSON that is cut short.
    """
    if isinstance(value, str):
        return _written_turns(value, column)
    if isinstance(value, Mapping):
        return _struct_of_lists(value) or ([dict(value)] if _is_turn(value) else value)
    if isinstance(value, tuple):
        return list(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _written_turns(text: str, column: str) -> object:
    if not _OBJECTS.match(text):
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
    if not isinstance(value, Mapping) or not {*ROLE_KEYS} & {*value}:
        return False
    others = {*THINKING_KEYS, *CALL_KEYS} & {*value}
    return bool({*CONTENT_KEYS} & {*value} or (others and _has_known_role(value)))


def _has_known_role(value: Mapping[str, Any]) -> bool:
    return any(str(value.get(name)).lower() in ROLES for name in ROLE_KEYS)


def _refuse_meant_turns(text: str, column: str, error: Exception) -> None:
    key = _FIRST_KEY.match(text)
    speakers = (match[4].lower() for match in _SPEAKER.finditer(text))
    if key is None or not _SPOKEN.search(text) or not any(name in ROLES for name in speakers):
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
               for names in (ROLE_KEYS, CONTENT_KEYS)):  # fmt: skip
        return []
    lists = {str(name): plain(each) for name, each in value.items() if each is not None}
    lengths = {len(each) if isinstance(each, list) else -1 for each in lists.values()}
    if len(lengths) != 1 or -1 in lengths:
        return []
    return [dict(zip(lists, each, strict=True)) for each in zip(*lists.values(), strict=True)]
