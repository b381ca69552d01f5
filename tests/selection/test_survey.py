"""What a selection takes a turn to say, and which of it is part of the loss."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from gradprism.data.example import Example, Turn
from gradprism.selection import api as select_job
from gradprism.selection.survey import survey_of

ASKED = Turn("user", "2+2?")


def calling(number: int) -> Turn:
    return Turn("assistant", tool_calls=({"function": {"name": "add", "arguments": {"a": number, "b": "x" * 200}}},))


@dataclass
class Record:
    fields: Mapping[str, Any]


@dataclass
class Given:
    """A data set of examples that are there, each with a column `stars`."""

    examples: list[Example]
    sources: list[Any] = field(default_factory=list)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def records(self) -> Iterator[tuple[Example, Record]]:
        return ((example, Record({"stars": example.row})) for example in self.examples)


def given(*turns: tuple[Turn, ...]) -> Given:
    return Given([Example(row, str(row), each) for row, each in enumerate(turns)])


def test_the_length_of_a_response_is_of_all_that_is_in_the_loss() -> None:
    call = '{"name": "add", "arguments": {"a": 2, "b": "' + "x" * 200 + '"}}'
    thoughtful = Turn("assistant", "Four.", thinking="It is 4.")
    context = Turn("assistant", "Five.", in_loss=False)
    rows = given(
        (ASKED, calling(2), Turn("tool", "4"), thoughtful),
        (ASKED, context, ASKED, Turn("assistant", "Four.")),
        (ASKED,),
    )
    lengths = survey_of(rows, ["stars"]).characters  # type: ignore[arg-type]
    assert lengths.to_list() == [len(call) + len("It is 4.\nFour."), len("Four."), 0]


def test_near_duplicates_are_told_by_thinking_and_calls_too(monkeypatch: pytest.MonkeyPatch) -> None:
    thoughts = ["a long thought on how the sum of two and two comes to four", "no wonder that it is four, as ever was"]
    rows = given(
        (ASKED, calling(2)), (ASKED, calling(2)), *((ASKED, Turn("assistant", "4", thinking=each)) for each in thoughts)
    )
    monkeypatch.setattr(select_job, "open_examples", lambda *_: rows)
    found = select_job.select([{"stars": 1}], "column:stars", top=4, dedup=0.9)
    assert found.table["group"].to_list() == [None, "selected", "selected", "selected"]
    assert "near-duplicate (of row 1" in found.table["reason"][0]
