"""Find the schema of a row and its columns, by their names and by which of them hold something."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from gradprism.data.cells import is_empty
from gradprism.data.columns import listed, response_parts
from gradprism.data.example import RowProblemError, Scalar
from gradprism.data.record import Row
from gradprism.data.schemas import (
    COMPARED_COLUMNS,
    MESSAGE_COLUMNS,
    RESPONSE_COLUMNS,
    SCHEMAS,
    UNKNOWN_TEXT_COLUMNS,
    ColumnMap,
    Columns,
    question_columns,
    read_messages,
    read_pair,
    scalars,
)

EXPECTED = (
    f"Expected one of: {' | '.join(schema.shape for schema in reversed(SCHEMAS))}.\n"
    "Say which column is which with --columns prompt=NAME,response=NAME or --columns messages=NAME "
    "(--columns response=NAME for text without a prompt)."
)
_MEDIA = ("image", "images", "video", "videos", "audio", "audios", "img", "picture", "pictures", "image_path",
          "image_paths", "image_url", "image_urls", "image_file", "video_path", "audio_path")  # fmt: skip
_PLACEHOLDER = re.compile(
    r"<(?:image|video|audio)(?:_\d+)?>|<\|(?:image|video|audio)(?:_pad|_\d+)?\|>|<start_of_image>|<image_soft_token>"
    r"|\[IMG\]|<\|vision_start\|>"
)
_MEDIA_FILE = re.compile(
    r"(?i)^(?:data:(?:image|video|audio)/|\S+\.(?:png|jpe?g|webp|gif|bmp|tiff?|mp4|webm|mov|avi|mkv|wav|mp3|flac|ogg)"
    r"(?:\?\S*)?$)"
)
_MOST_NAMES = 6  # in the reason of one row
_TURNS = "[{}]"  # the kind of a cell that is a list of objects


def find_columns(row: Row, named: Mapping[str, str]) -> ColumnMap:
    """Find the columns of a row by role; `named` are those of `--columns`, role -> name.

    An optional column that is null, NaN or of length 0 counts as absent. Raises `RowProblemError` where no columns are
    known, or several could be the prompt or the response.
    """
    if {*named} - {"id"}:
        return _find_named(row, named)
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
    contents_decide = len(COMPARED_COLUMNS.intersection(row)) > 1
    return None if contents_decide else tuple(kinds)


@lru_cache(maxsize=1024)
def _find_by_kinds(kinds: tuple[tuple[str, Scalar], ...]) -> ColumnMap:
    """Find the columns that all rows with such cells share."""
    return _find({name: [{}] if kind == _TURNS else kind for name, kind in kinds})


def _find(row: Row) -> ColumnMap:
    filled = [name for name, value in row.items() if not is_empty(value)]
    for name in filled:
        if name.lower() in _MEDIA and not isinstance(row[name], str | int | float):
            raise RowProblemError(f"column {name!r} is not text: only text is read (--columns leaves it out)")
    for schema in SCHEMAS:
        if (columns := schema.find(row, filled)) is not None:
            return ColumnMap.of(schema, columns)
    raise RowProblemError(_reason_for_none(row, filled))


def placeholder_in(texts: Iterable[str]) -> str | None:
    """Return the first placeholder of a picture, video or sound that stands in a text, such as <image>."""
    return next((found[0] for text in texts if (found := _PLACEHOLDER.search(text))), None)


def refuse_media(row: Row, texts: Iterable[str]) -> None:
    """Raise `RowProblemError` where a column names the file of a picture, or what stands for one in a text."""
    named = [name for name in row if name.lower() in _MEDIA and not is_empty(row[name])]
    if named and (placeholder := placeholder_in(texts)):
        raise RowProblemError(
            f"column {named[0]!r} holds what {placeholder} in the text stands for: only text is read (--columns leaves "
            "it out)"
        )
    for name in named:
        if isinstance(given := row[name], str) and _MEDIA_FILE.match(given.strip()):
            raise RowProblemError(
                f"column {name!r} names the file {given.strip()[:60]!r}: only text is read (--columns leaves it out)"
            )


def _find_named(row: Row, named: Mapping[str, str]) -> ColumnMap:
    found: Columns = {role: (name,) for role, name in named.items() if role != "id" and not is_empty(row.get(name))}
    found |= {role: (named[role],) for role in ("messages", "prompt") if role in named}
    if "response" in named:
        found["response"] = response_parts(named, row)
    for role in ("messages", "prompt", "response"):
        for name in found.get(role, ()):
            if name not in row:
                raise RowProblemError(f"this row has no column {name!r}")
    text_columns = frozenset({*named.values(), *found.get("response", ())} - {named.get("id")})
    turns = read_messages if "messages" in found else read_pair
    named_by_user = replace(SCHEMAS[-1], title="columns named by --columns", turns=turns, text_columns=text_columns)
    return ColumnMap.of(named_by_user, found)


def scalars_of_unknown(row: Row) -> dict[str, Scalar]:
    """Return the columns to group and select by of a row that has no schema."""
    return scalars(row, UNKNOWN_TEXT_COLUMNS)


def _reason_for_none(row: Row, filled: Sequence[str]) -> str:
    for name in (*MESSAGE_COLUMNS, "chosen"):
        if name in row:
            return f"column {name!r} is not a list of turns, and there is no prompt with a response"
    if prompt := question_columns(row, filled).get("prompt"):
        return f"no response: there is a prompt in {prompt[0]!r}, and none of {', '.join(RESPONSE_COLUMNS)}"
    hint = "; for text without a prompt: --columns response=text" if "text" in row else ""
    return f"no prompt and response are known among the columns {listed(row, _MOST_NAMES)}{hint}"
