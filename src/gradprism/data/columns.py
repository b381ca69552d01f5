"""Read `--columns`, by which a user says which column is which."""

import difflib
from collections.abc import Iterable, Mapping, Sequence

from gradprism.core.errors import GradPrismError

COLUMN_ROLES = ("prompt", "input", "response", "messages", "system", "history", "tools", "id")
_MOST_NAMES = 24  # in a message


def parse_columns(text: str) -> dict[str, str]:
    """Parse `prompt=question,response=answer` into the column of each role. Raises `GradPrismError`."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if bad := [role for role, equals, name in pairs if not equals or not name.strip()]:
        raise GradPrismError(f"--columns: {bad[0]!r} is not of the form role=column, e.g. prompt=question")
    columns = {role.strip(): name.strip() for role, _, name in pairs}
    if unknown := [role for role in columns if role not in COLUMN_ROLES]:
        raise GradPrismError(f"--columns: unknown role {unknown[0]!r}; the roles are {', '.join(COLUMN_ROLES)}.")
    pair = [role for role in ("prompt", "input", "response", "history") if role in columns]
    if "messages" in columns and pair:
        raise GradPrismError(f"--columns names both messages and {pair[0]}: expected one of them.")
    if not {*columns} <= {"id"} and not {"messages", "response"} & {*columns}:
        raise GradPrismError(f"--columns names {listed(columns)}, but no response (or messages) column.")
    return columns


def response_parts(columns: Mapping[str, str], names: Iterable[str]) -> tuple[str, ...]:
    """Return the columns whose texts are the response: those of `A+B`, unless one of `names` is called that."""
    response = columns["response"]
    return tuple(response.split("+")) if "+" in response and response not in names else (response,)


def refuse_unknown_columns(columns: Mapping[str, str], names: Sequence[str]) -> None:
    """Raise `GradPrismError` with the nearest name where `--columns` names a column that no row has."""
    named = [name for role, name in columns.items() if role != "response"]
    named += response_parts(columns, names) if "response" in columns else ()
    for name in named:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise GradPrismError(f"--columns names {name!r}; the data has {listed(names)}.{hint}")


def listed(names: Iterable[str], most: int = _MOST_NAMES) -> str:
    """Return the first names, quoted, and how many more there are."""
    shown = [repr(name) for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return (", ".join(shown[:most]) or "(none)") + more
