"""One row as a file holds it, before its schema is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """One row as the file holds it, or the problem for which it cannot be read."""

    fields: Row | None
    problem: str | None = None
    where: str = ""  # line or element of a JSON file, as people count them
