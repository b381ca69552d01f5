"""The texts of a conversation in the published form."""

from gradprism.data.example import Example, Turn
from gradprism.interop.line_writer import paper_texts

ASKED = Turn("user", "2+2?")


def test_all_that_turns_say_is_written() -> None:
    call = {"function": {"name": "add", "arguments": {"a": 2}}}
    turns = (
        Turn("system", "S"), ASKED, Turn("assistant", "", tool_calls=(call,)), Turn("tool", "4"),
        Turn("assistant", "Four.", thinking="It says 4."),
    )  # fmt: skip
    assert paper_texts(Example(0, "0", turns)) == {
        "instruction": 'S\n2+2?\n{"name": "add", "arguments": {"a": 2}}\n4', "output": "It says 4.\nFour.",
    }  # fmt: skip


def test_the_output_is_the_last_answer_in_the_loss() -> None:
    turns = (ASKED, Turn("assistant", "4"), ASKED, Turn("assistant", "5", in_loss=False))
    assert paper_texts(Example(0, "0", turns)) == {"instruction": "2+2?", "output": "4"}
