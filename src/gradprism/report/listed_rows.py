"""Rows that the page lists by name, whether or not it shows them among its examples, with how their texts begin."""

from collections.abc import Callable
from typing import Any, NamedTuple

from gradprism.report.page_json import EXAMPLE_DIGITS, rounded
from gradprism.report.texts import TurnText

_CHARACTERS = 160  # of a text
Shown = Callable[["ListedRow"], dict[str, Any]]  # what the page shows of a row


class ListedRow(NamedTuple):
    """One row of a group of a comparison."""

    group: str
    row: int
    example_id: str
    response_tokens: int | None
    value: float | None = None

    def json(self, group: int, turns: tuple[TurnText, ...] | None) -> dict[str, Any]:
        """Return what the page shows of it, with the beginnings of its first prompt and response."""
        return {
            "group": group,
            "row": self.row,
            "example_id": self.example_id,
            "n_response_tokens": self.response_tokens,
            "value": rounded(self.value, EXAMPLE_DIGITS),
            "texts": _beginnings(turns or ()),
        }


def _beginnings(turns: tuple[TurnText, ...]) -> list[str]:
    prompt = next((turn.content for turn in turns if turn.role != "system" and not turn.in_loss), None)
    response = next((turn.content for turn in turns if turn.in_loss), None)
    return [" ".join(text[: 2 * _CHARACTERS].split())[:_CHARACTERS] for text in (prompt, response) if text]
