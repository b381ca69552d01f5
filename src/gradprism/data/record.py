"""`Record`: one row as a file holds it, before anything is known of what its columns mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """One row as the file holds it, or why it cannot be read."""

    fields: Row | None
    problem: str | None = None
    where: str = ""  # line or element of a JSON file, as people count them
