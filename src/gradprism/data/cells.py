"""Read one cell of a row: nothing, text, a number, or objects that may be written as JSON text."""

import json
import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from gradprism.data.example import RowProblemError
from gradprism.data.record import Row

_COMMON_TYPES = (str, int, list, dict)  # the types of nearly all cells, told more quickly than `Real`
_MOST_LEVELS = 64  # of lists and objects in each other; more is no data, and exhausts Python's stack


def is_missing(value: object) -> bool:
    """Return whether a cell holds nothing: null, NaN, or the NA and NaT of pandas."""
    if value is None or isinstance(value, _COMMON_TYPES):
        return value is None
    if isinstance(value, Real):
        return math.isnan(value)
    return type(value).__name__ in ("NAType", "NaTType")


def is_empty(value: object) -> bool:
    """Return whether a cell is missing, or is text, a list or an object of length 0."""
    return is_missing(value) or (hasattr(value, "__len__") and len(value) == 0)


def text_of(row: Row, column: str) -> str:
    """Return a cell as text, "" where it is missing. Raises `RowProblemError` for lists and objects."""
    value = row.get(column)
    if is_missing(value):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    raise RowProblemError(f"column {column!r} holds a {type(value).__name__}, expected text")


def plain(value: Any, level: int = 0) -> Any:
    """Return an object with lists for arrays, names as text, and without the nulls that Arrow adds to its structs.

    Raises `RowProblemError` where lists and objects stand more than 64 deep in each other.
    """
    if level > _MOST_LEVELS:
        raise RowProblemError(f"lists and objects stand more than {_MOST_LEVELS} deep in each other")
    if isinstance(value, Mapping):
        return {str(name): plain(each, level + 1) for name, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [plain(each, level + 1) for each in value]
    return plain(value.tolist(), level + 1) if hasattr(value, "tolist") else value


def objects_of(value: object, what: str) -> list[dict[str, Any]]:
    """Return a list of objects: given as such, as one, or as JSON text of either; [] where the cell is empty.

    Elements may be JSON text themselves. Raises `RowProblemError` for anything else.
    """
    if isinstance(value, str):
        value = _parse_json(value, what) if value.strip() else None
    if is_empty(value):
        return []
    converted = plain(value)
    converted = converted if isinstance(converted, list) else [converted]
    found = [plain(_parse_json(each, f"an element of {what}")) if isinstance(each, str) else each for each in converted]
    for each in found:
        if not isinstance(each, dict):
            raise RowProblemError(f"{what} holds a {type(each).__name__}, expected objects")
    try:
        json.dumps(found)
    except (TypeError, ValueError) as error:
        raise RowProblemError(f"{what} has no form in JSON: {error}") from None
    return found


def pairs_of(value: object) -> list[Any] | None:
    """Return a list of lists, which JSON text may hold; None of anything else, such as a list of turns."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    converted = plain(value)
    return converted if isinstance(converted, list) and all(isinstance(each, list) for each in converted) else None


def _parse_json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        quoted = " (it is written as Python prints it; expected JSON)" if text.lstrip()[:2] in ("[{", "{'") else ""
        raise RowProblemError(f"{what} is not valid JSON: {error}{quoted}") from None
