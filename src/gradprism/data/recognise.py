"""Recognise what the columns of a row are, by their names and by which of them hold something."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from gradprism.data.cells import is_empty
from gradprism.data.columns import (
    INPUT_COLUMNS,
    MESSAGE_COLUMNS,
    PROMPT_COLUMNS,
    REJECTED_COLUMNS,
    RESPONSE_COLUMNS,
    SYSTEM_COLUMNS,
    TOOL_COLUMNS,
    listed,
    response_parts,
)
from gradprism.data.example import RowProblemError, Scalar
from gradprism.data.record import Row
from gradprism.data.schemas import Schema, scalars
from gradprism.data.turn_lists import holds_objects, turns_or_value

EXPECTED = (
    "Expected one of: instruction[, input], output | prompt, completion | messages | conversations | chosen.\n"
    "Say which column is which with --columns prompt=NAME,response=NAME or --columns messages=NAME "
    "(--columns response=NAME for text without a prompt)."
)
_MEDIA = ("image", "images", "video", "videos", "audio", "audios")
_FOR_TEMPLATES = ("documents", "chat_template_kwargs")
_ANY_KIND = frozenset((*SYSTEM_COLUMNS, *TOOL_COLUMNS, *REJECTED_COLUMNS, *_FOR_TEMPLATES))
_PAIRS = _ANY_KIND | {*INPUT_COLUMNS, "history"}
_UNKNOWN = _PAIRS | {*PROMPT_COLUMNS, *RESPONSE_COLUMNS, *MESSAGE_COLUMNS, "chosen", "text"}
_MOST_NAMES = 6  # in the reason of one row
_COMPARED = (*SYSTEM_COLUMNS, *MESSAGE_COLUMNS, *TOOL_COLUMNS)
_TURNS = "[{}]"  # the kind of a cell that is a list of objects
Columns = dict[str, tuple[str, ...]]


def find_schema(row: Row, assigned: Mapping[str, str]) -> Schema:
    """Find how a row is read; `assigned` are the user's own columns, role -> name.

    An optional column that is null, NaN or of length 0 counts as absent. Raises `RowProblemError` where no columns are
    known, or several could be the prompt or the response.
    """
    if {*assigned} - {"id"}:
        return _assigned(row, assigned)
    kinds = _kinds_of_cells(row)
    return _find(row) if kinds is None else _find_by_kinds(kinds)


def _kinds_of_cells(row: Row) -> tuple[tuple[str, Scalar], ...] | None:
    """Return the columns of a row, each with a cell of the same kind; None where the very cells decide."""
    kinds = list[tuple[str, Scalar]]()
    for name, value in row.items():
        if isinstance(value, str):
            if value.lstrip()[:1] in ("[", "{") and value.strip():
                return None
            kinds.append((name, "text" if value else ""))
        elif value is None or isinstance(value, int | float):
            empty = value is None or value != value
            kinds.append((name, None if empty else isinstance(value, bool) or 1.0))
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            kinds.append((name, _TURNS))
        else:
            return None
    compared = sum(name in _COMPARED for name, _ in kinds)  # their texts decide where there are two
    return None if compared > 1 else tuple(kinds)


@lru_cache(maxsize=1024)
def _find_by_kinds(kinds: tuple[tuple[str, Scalar], ...]) -> Schema:
    """Find the schema that all rows with such cells share."""
    return _find({name: [{}] if kind == _TURNS else kind for name, kind in kinds})


def _find(row: Row) -> Schema:
    filled = [name for name, value in row.items() if not is_empty(value)]
    _refuse_media(row, filled)
    messages = _messages(row, filled)
    if "chosen" in filled and _is_answer(row, filled, is_alone=not messages):
        return _preference(row, filled, messages)
    if messages:
        title = f"{MESSAGE_COLUMNS[messages[0]]} (list of turns)"
        return Schema.of({**_beside(row, filled), "messages": messages}, title, _ANY_KIND)
    response, asked = _one_of(row, filled, RESPONSE_COLUMNS, "response"), _asking(row, filled)
    if not response or "prompt" not in asked:
        raise RowProblemError(_nothing_known(row, asked))
    return Schema.of({**_beside(row, filled), **asked, "response": (response,)}, None, _PAIRS)


def scalars_of_unknown(row: Row) -> dict[str, Scalar]:
    """Return the columns to group and select by of a row that has no schema."""
    return scalars(row, _UNKNOWN)


def _assigned(row: Row, columns: Mapping[str, str]) -> Schema:
    found: Columns = {role: (name,) for role, name in columns.items() if role != "id" and not is_empty(row.get(name))}
    found |= {role: (columns[role],) for role in ("messages", "prompt") if role in columns}
    if "response" in columns:
        found["response"] = response_parts(columns, row)
    for role in ("messages", "prompt", "response"):
        for name in found.get(role, ()):
            if name not in row:
                raise RowProblemError(f"this row has no column {name!r}")
    apart = frozenset({*columns.values(), *found.get("response", ())} - {columns.get("id")})
    return Schema.of(found, "columns named by --columns", apart)


def _preference(row: Row, filled: Sequence[str], messages: tuple[str, ...]) -> Schema:
    if answers := _among(filled, RESPONSE_COLUMNS):
        raise _ambiguous("response", "chosen", answers[0])
    columns = {**_beside(row, filled), **_asking(row, filled), "chosen": ("chosen",)}
    if "prompt" in columns and columns["prompt"][0] not in filled:
        del columns["prompt"]
    return Schema.of(columns | {"messages": messages}, "preference rows (the chosen answer)", _PAIRS)


def _is_answer(row: Row, filled: Sequence[str], is_alone: bool) -> bool:
    """Return whether `chosen` holds an answer, not a flag or a number beside another one."""
    if isinstance(row["chosen"], int | float):
        return is_alone and not isinstance(row["chosen"], bool) and not _among(filled, RESPONSE_COLUMNS)
    return isinstance(row["chosen"], str) or holds_objects(row["chosen"])


def _refuse_media(row: Row, filled: Sequence[str]) -> None:
    for name in _among(filled, _MEDIA):
        if not isinstance(row[name], str | int | float):
            raise RowProblemError(f"column {name!r} is not text: only text is read (--columns leaves it out)")


def _messages(row: Row, filled: Sequence[str]) -> tuple[str, ...]:
    """Return the one column of turns. Raises `RowProblemError` where two columns hold different ones."""
    found = [name for name in _among(filled, tuple(MESSAGE_COLUMNS)) if holds_objects(row[name])]
    if len(found) > 1 and turns_or_value(row[found[0]], found[0]) != turns_or_value(row[found[1]], found[1]):
        raise RowProblemError(f"columns {found[0]!r} and {found[1]!r} hold different turns: --columns messages=NAME")
    return tuple(found[:1])


def _beside(row: Row, filled: Sequence[str]) -> Columns:
    """Return the columns that rows of every kind may have: the system prompt, and what is for the chat template."""
    system = [name for name in _among(filled, SYSTEM_COLUMNS) if isinstance(row[name], str)]
    tools = [name for name in _among(filled, TOOL_COLUMNS) if holds_objects(row[name])]
    for names, what in ((system, "system prompt"), (tools, "list of tools")):
        if len(names) > 1 and row[names[0]] != row[names[1]]:
            raise _ambiguous(what, *names[:2])
    more = {name: (name,) for name in _among(filled, _FOR_TEMPLATES) if _first_is_object(row[name])}
    return {"system": tuple(system[:1]), "tools": tuple(tools[:1]), **more}


def _first_is_object(value: object) -> bool:
    """Return whether a cell is an object, a list of them, or such JSON text; documents may also be mere texts."""
    listed = value.tolist() if hasattr(value, "tolist") else value
    return isinstance(listed[0], Mapping) if isinstance(listed, list | tuple) else holds_objects(listed)


def _asking(row: Row, filled: Sequence[str]) -> Columns:
    """Return the columns of the prompt: itself, its input, and the turns before it."""
    prompt, extra = _one_of(row, filled, PROMPT_COLUMNS, "prompt"), _among(filled, INPUT_COLUMNS)
    if len(extra) > 1:
        raise _ambiguous("input", *extra)
    if prompt is None and extra == ["input"]:
        prompt, extra = "input", []
    extra = extra if prompt else []
    history = [name for name in _among(filled, ("history",)) if _is_list(row[name])]
    found = {"history": tuple(history), "prompt": (prompt,) if prompt else (), "input": tuple(extra)}
    return {role: names for role, names in found.items() if names}


def _is_list(value: object) -> bool:
    return value.lstrip().startswith("[") if isinstance(value, str) else holds_objects(value)


def _among(filled: Sequence[str], names: Sequence[str]) -> list[str]:
    return [name for name in names if name in filled]


def _one_of(row: Row, filled: Sequence[str], names: Sequence[str], what: str) -> str | None:
    """Return the one column of these that holds something, else an empty one."""
    holding = _among(filled, names)
    if len(holding) > 1:
        raise _ambiguous(what, *holding[:2])
    return holding[0] if holding else next((name for name in names if name in row), None)


def _ambiguous(what: str, first: str, second: str) -> RowProblemError:
    return RowProblemError(
        f"two columns could be the {what}, {first!r} and {second!r}: say which with --columns prompt=NAME,response=NAME"
    )


def _nothing_known(row: Row, asked: Columns) -> str:
    for name in (*MESSAGE_COLUMNS, "chosen"):
        if name in row:
            return f"column {name!r} is not a list of turns, and there is no prompt with a response"
    if "prompt" in asked:
        return f"no response: there is a prompt in {asked['prompt'][0]!r}, and none of {', '.join(RESPONSE_COLUMNS)}"
    hint = "; for text without a prompt: --columns response=text" if "text" in row else ""
    return f"no prompt and response are known among the columns {listed(row, _MOST_NAMES)}{hint}"
