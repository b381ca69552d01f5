"""Which turns a report marks as those of the loss, and what it shows of them."""

import pytest

from gradprism.data.example import Example, Turn
from gradprism.report.texts import MOST_CHARACTERS, TurnText, turn_texts

CALL = {"function": {"name": "add", "arguments": {"a": 2}}}
TURNS = (
    Turn("user", "2+2?"),
    Turn("assistant", "Let me see.", tool_calls=(CALL,)),
    Turn("tool", "4"),
    Turn("assistant", "Five.", in_loss=False),
    Turn("user", "Sure?"),
    Turn("assistant", ""),
    Turn("user", "Well?"),
    Turn("assistant", "Four.", thinking="It says 4."),
    Turn("user", "Thanks."),
)


@pytest.mark.parametrize(("which", "scored"), [("all", {1, 7}), ("last", {7})])
def test_turns_in_the_loss_are_those_that_the_run_took(which: str, scored: set[int]) -> None:
    said = turn_texts(Example(0, "0", TURNS), which)  # type: ignore[arg-type]
    assert {place for place, turn in enumerate(said) if turn.in_loss} == scored
    assert said[1] == TurnText("assistant", 'Let me see.\n{"name": "add", "arguments": {"a": 2}}', 0, 1 in scored)
    assert said[7].content == "It says 4.\nFour."


def test_a_last_answer_without_loss_leaves_none_of_it() -> None:
    said = turn_texts(Example(0, "0", TURNS[:4]), "last")
    assert not any(turn.in_loss for turn in said)


def test_a_turn_is_cut_and_a_conversation_to_three_times_as_much() -> None:
    turns = turn_texts(Example(0, "0", tuple(Turn("user", letter * 10_000) for letter in "abcde")), "all")
    assert [len(turn.content) for turn in turns] == [MOST_CHARACTERS] * 3 + [0, 0]
    assert [len(turn.content) + turn.n_cut for turn in turns] == [10_000] * 5
