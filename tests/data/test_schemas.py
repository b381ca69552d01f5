"""Columns find their meaning by themselves, or by `--columns`; a row that does not fit says why."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradprism.core.errors import GradPrismError
from gradprism.data import recognise
from gradprism.data.columns import COLUMN_ROLES, parse_columns
from gradprism.data.example import RowProblemError, Turn
from gradprism.data.example_set import ExampleSet, open_examples
from gradprism.data.recognise import find_columns
from gradprism.data.schemas import SCHEMAS, Columns, Content, Filled, RowReader, Schema, Turns
from gradprism.data.settings import ReadSettings

Row = dict[str, Any]

ASKED_AND_ANSWERED = [("user", "why?"), ("assistant", "because")]
SYSTEM_FIRST = [("system", "be brief"), *ASKED_AND_ANSWERED]


def turns_of(row: Row, columns: str = "") -> list[tuple[str, str]]:
    """Role and content of each turn, the schema found from the row itself."""
    return pairs(read(row, columns).turns)


def read(row: Row, columns: str = "") -> Content:
    return find_columns(row, parse_columns(columns)).read(row)


def opened(rows: Any, columns: str = "") -> ExampleSet:
    return open_examples(rows, ReadSettings(columns=columns))


def pairs(turns: tuple[Turn, ...]) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in turns]


def message(role: str, content: Any) -> Row:
    return {"role": role, "content": content}


MESSAGES = [message("user", "why?"), message("assistant", "because")]
SHAREGPT = [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "because"}]


# Schemas found by themselves


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "why?", "output": "because"},
        {"instruction": "why?", "input": "", "output": "because"},
        {"instruction": "why?", "input": None, "output": "because"},
        {"instruction": "why?", "context": "", "response": "because", "category": "qa"},
        {"prompt": "why?", "completion": "because"},
        {"prompt": "why?", "response": "because"},
        {"question": "why?", "answer": "because"},
        {"query": "why?", "response": "because"},
        {"problem": "why?", "solution": "because"},
        {"prompt": MESSAGES[:1], "completion": MESSAGES[1:]},
        {"prompt": MESSAGES[:1], "completion": "because"},
        {"messages": MESSAGES},
        {"messages": json.dumps(MESSAGES)},
        {"messages": np.array(MESSAGES, dtype=object)},
        {"conversations": SHAREGPT},
        {"conversations": MESSAGES},
        {"messages": SHAREGPT},
        {"chosen": MESSAGES, "rejected": MESSAGES},
        {"prompt": "why?", "chosen": MESSAGES, "rejected": MESSAGES},
        {"prompt": "why?", "chosen": "because", "rejected": "no idea"},
        {"prompt": MESSAGES[:1], "chosen": MESSAGES[1:], "rejected": MESSAGES[1:]},
        {"chosen": "\n\nHuman: why?\n\nAssistant: because", "rejected": "\n\nHuman: why?\n\nAssistant: no idea"},
        {"chosen": "Human: why?\n\nAssistant: because"},
    ],
    ids=lambda row: " ".join(f"{name}:{type(value).__name__}" for name, value in row.items()),
)
def test_a_prompt_and_its_response_are_found(row: Row) -> None:
    assert turns_of(row) == ASKED_AND_ANSWERED


def test_the_input_follows_the_instruction_on_a_line_of_its_own() -> None:
    assert turns_of({"instruction": "add", "input": "2 3", "output": "5"}) == [("user", "add\n2 3"), ("assistant", "5")]
    assert turns_of({"instruction": "add", "context": "2 3", "response": "5"})[0] == ("user", "add\n2 3")


def test_hh_rlhf_text_keeps_every_turn_and_the_newlines_inside_them() -> None:
    chosen = "\n\nHuman: one\n\ntwo\n\nAssistant: three\nHuman: not a turn\n\nHuman: four\n\nAssistant: five"
    expected = [("user", "one\n\ntwo"), ("assistant", "three\nHuman: not a turn"), ("user", "four")]
    assert turns_of({"chosen": chosen, "rejected": chosen}) == [*expected, ("assistant", "five")]


@pytest.mark.parametrize(
    "row",
    [
        {"system": "be brief", "instruction": "why?", "input": "", "output": "because"},
        {"system": "be brief", "conversations": SHAREGPT},
        {"system": "be brief", "messages": MESSAGES},
        {"messages": [message("system", "be brief"), *MESSAGES]},
        {"system": "be brief ", "messages": [message("system", "be brief"), *MESSAGES]},
        {"system_prompt": "be brief", "question": "why?", "response": "because"},
        {"system_message": "be brief", "prompt": "why?", "chosen": "because"},
        {"system": "be brief", "prompt": MESSAGES[:1], "completion": "because"},
    ],
)
def test_a_system_prompt_stands_first_and_only_once(row: Row) -> None:
    assert turns_of(row) == SYSTEM_FIRST


def test_an_empty_system_prompt_makes_no_turn() -> None:
    assert turns_of({"system": "", "instruction": "why?", "output": "because"}) == ASKED_AND_ANSWERED


@pytest.mark.parametrize("role", ["tool", "function", "observation", "ipython"])
def test_tool_turns_under_their_usual_names(role: str) -> None:
    row = {"messages": [message("user", "2+3"), message(role, "5"), message("ASSISTANT", "five")]}
    assert turns_of(row) == [("user", "2+3"), ("tool", "5"), ("assistant", "five")]


def test_text_parts_of_one_turn_are_joined() -> None:
    parts = [{"type": "text", "text": "why"}, {"type": "text", "text": "?"}]
    assert turns_of({"messages": [message("user", parts), MESSAGES[1]]}) == ASKED_AND_ANSWERED


@pytest.mark.parametrize("value", [5, 2.5, True])
def test_a_number_is_an_answer_too(value: object) -> None:
    assert turns_of({"question": "how many?", "answer": value})[1] == ("assistant", str(value))


@pytest.mark.parametrize(
    "answer", ['[{"name": "search", "arguments": {"q": "x"}}]', '[{"role": "admin"}]', '[{"a": 1}]']
)
@pytest.mark.parametrize("columns", [("prompt", "completion"), ("instruction", "output"), ("question", "answer")])
def test_an_answer_that_is_json_text_stays_text(columns: tuple[str, str], answer: str) -> None:
    asked, answered = columns
    assert turns_of({asked: "call a tool", answered: answer}) == [("user", "call a tool"), ("assistant", answer)]


def test_a_prompt_that_is_json_text_stays_text() -> None:
    row = {"instruction": '[{"id": 1}, {"id": 2}]', "output": "two rows"}
    assert turns_of(row) == [("user", '[{"id": 1}, {"id": 2}]'), ("assistant", "two rows")]


@pytest.mark.slow  # a hundred rows of any text
@given(st.text(), st.text(), st.text(min_size=1))
def test_any_text_passes_through_unchanged(prompt: str, extra: str, answer: str) -> None:
    asked = "\n".join(text for text in (prompt, extra) if text)
    row = {"instruction": prompt, "input": extra, "output": answer}
    if not any(text.lstrip()[:1] in ("[", "{") for text in (prompt, answer)):
        assert turns_of(row) == [("user", asked), ("assistant", answer)]


# --columns


def test_columns_names_every_role() -> None:
    row = {"q": "why?", "more": "here", "a": "because", "sys": "be brief", "key": "k7", "prompt": "not this"}
    named = "prompt=q, input=more, response=a, system=sys, id=key"
    assert turns_of(row, named) == [("system", "be brief"), ("user", "why?\nhere"), ("assistant", "because")]


def test_a_response_may_be_two_columns() -> None:
    row = {"q": "why?", "thinking": "hm", "a": "because", "other": "x"}
    named = "prompt=q,response=thinking+a"
    assert turns_of(row, named) == [("user", "why?"), ("assistant", "hm\nbecause")]
    assert turns_of(row | {"thinking": ""}, named) == [("user", "why?"), ("assistant", "because")]
    assert [*find_columns(row, parse_columns(named)).scalars(row)] == ["other"]
    with pytest.raises(RowProblemError, match="no column 'thinking'"):
        turns_of({"q": "why?", "a": "because"}, named)
    with pytest.raises(GradPrismError, match=r"names 'think'.*Did you mean 'thinking'"):
        opened([row], "prompt=q,response=think+a")


def test_a_plus_in_a_columns_own_name_stays() -> None:
    assert turns_of({"q": "why?", "a+b": "because", "a": "no"}, "prompt=q,response=a+b") == ASKED_AND_ANSWERED


def test_columns_goes_before_what_would_be_found() -> None:
    row = {"instruction": "not this", "output": "nor this", "q": "why?", "a": "because"}
    assert turns_of(row, "prompt=q,response=a") == ASKED_AND_ANSWERED


@pytest.mark.parametrize("value", [MESSAGES, SHAREGPT, json.dumps(SHAREGPT)])
def test_columns_names_the_messages(value: object) -> None:
    assert turns_of({"dialogue": value, "messages": []}, "messages=dialogue") == ASKED_AND_ANSWERED
    assert turns_of({"dialogue": value, "sys": "be brief"}, "messages=dialogue,system=sys") == SYSTEM_FIRST


def test_columns_with_an_id_alone_leaves_the_rest_to_be_found() -> None:
    row = {"instruction": "why?", "output": "because", "key": "k7"}
    assert turns_of(row, "id=key") == ASKED_AND_ANSWERED
    assert [example.example_id for example in opened([row], "id=key")] == ["k7"]


def test_a_response_without_a_prompt_is_one_turn() -> None:
    assert turns_of({"text": "once upon a time", "n": 1}, "response=text") == [("assistant", "once upon a time")]


def test_a_wrong_column_gives_the_nearest_name_and_all_names() -> None:
    with pytest.raises(GradPrismError, match=r"'anwser'.*'question', 'answer'.*Did you mean 'answer'\?"):
        opened([{"question": "why?", "answer": "because"}], "prompt=question,response=anwser")


def test_columns_of_a_frame_may_be_numbers() -> None:
    with pytest.raises(GradPrismError, match="'question'"):
        opened([{0: "why?", 1: "because"}], "prompt=question,response=answer")


@pytest.mark.parametrize("columns", ["prompt=question", "prompt=question,input=answer", "system=answer"])
def test_columns_without_a_response_is_refused(columns: str) -> None:
    with pytest.raises(GradPrismError, match="no response"):
        turns_of({"question": "why?", "answer": "because"}, columns)


@pytest.mark.parametrize("text", ["prompt", "prompt=", "prompt= ,response=a", "prompt=a,response"])
def test_columns_that_are_not_role_equals_name_are_refused(text: str) -> None:
    with pytest.raises(GradPrismError, match="role=column"):
        parse_columns(text)


def test_an_unknown_role_of_columns_lists_the_roles() -> None:
    with pytest.raises(GradPrismError, match="'promt'.*" + ".*".join(COLUMN_ROLES)):
        parse_columns("promt=a,response=b")


@pytest.mark.parametrize(
    "row",
    [
        {"text": "once", "n": 3},
        {"prompt": "a", "question": "b", "answer": "c"},
        {"prompt": "a", "answer": "b", "completion": "c"},
        {"instruction": "a"},
        {"messages": "no list"},
    ],
)
def test_unknown_or_ambiguous_columns_are_listed(row: Row) -> None:
    with pytest.raises(GradPrismError, match=", ".join(map(repr, row)) + r"(.|\n)*--columns prompt="):
        opened([row])


# Other columns


def test_scalar_columns_that_are_not_the_text_are_kept() -> None:
    row = {
        "instruction": "why?", "input": "x", "output": "because",
        "reward": 0.5, "n_tags": 3, "good": False, "source": "web", "tags": ["a"], "meta": {"a": 1}, "none": None,
    }  # fmt: skip
    kept = {"reward": 0.5, "n_tags": 3, "good": False, "source": "web"}
    assert find_columns(row, {}).scalars(row) == kept


def test_long_strings_are_no_columns_to_group_by() -> None:
    row = {"question": "why?", "answer": "because", "short": "s" * 256, "long": "l" * 257}
    assert find_columns(row, {}).scalars(row) == {"short": "s" * 256}


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"prompt": "p", "chosen": "c", "rejected": "r"}, ""),
        ({"system": "s", "messages": MESSAGES}, ""),
        ({"system": "s", "instruction": "i", "context": "c", "response": "r"}, ""),
        ({"q": "why?", "more": "m", "a": "because", "s": "be brief"}, "prompt=q,input=more,response=a,system=s"),
    ],
)
def test_columns_that_became_text_are_not_kept_again(row: Row, columns: str) -> None:
    assert find_columns(row, parse_columns(columns)).scalars({**row, "score": 1}) == {"score": 1}


# Rows that do not fit


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [message("wizard", "hi")]}, "unknown role 'wizard'"),
        ({"messages": [{"content": "hi"}]}, "unknown role None"),
        ({"messages": [message("user", None)]}, "the content of a user turn"),
        ({"messages": [message("user", 5)]}, "the content of a user turn"),
        ({"messages": [message("user", [{"type": "image", "url": "x"}])]}, "the content of a user turn"),
        ({"messages": ["hi"]}, "a turn of 'messages' is of type str"),
        ({"messages": []}, "not a list of turns"),
        ({"chosen": "plain text", "rejected": "other"}, "no 'prompt' column"),
        ({"prompt": {"a": 1}, "completion": "b"}, "column 'prompt' holds a dict"),
        ({"prompt": "a", "completion": b"b"}, "column 'completion' holds a bytes"),
        ({"prompt": "a", "chosen": []}, "not a list of turns"),
    ],
)
def test_a_row_that_does_not_fit_says_why(row: Row, reason: str) -> None:
    with pytest.raises(RowProblemError, match=reason):
        turns_of(row)


def test_an_image_part_whose_text_is_null_is_not_the_word_none() -> None:
    """`datasets` and Parquet give every part of a list the same keys."""
    parts = [{"type": "image", "text": None}, {"type": "text", "text": "what is this?"}]
    with pytest.raises(RowProblemError, match="not text"):
        turns_of({"messages": [message("user", parts), MESSAGES[1]]})


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ({"instruction": "why?", "output": "because"}, {"instruction": "why?"}),
        ({"instruction": "why?", "output": "because"}, {"output": "because"}),
        ({"prompt": "why?", "chosen": "because"}, {"prompt": "why?"}),
    ],
)
def test_a_later_row_without_a_prompt_or_a_response_is_a_problem(first: Row, later: Row) -> None:
    with pytest.raises(RowProblemError):
        turns_of(later)
    good, bad = opened([first, later])
    assert (good.problem, bad.turns) == (None, ())
    assert bad.problem


def test_a_missing_value_of_a_frame_is_no_text() -> None:
    """A pandas frame holds NaN where a cell is empty."""
    row = {"instruction": "why?", "input": float("nan"), "output": "because"}
    assert turns_of(row) == ASKED_AND_ANSWERED


def find_choice(row: Row, filled: Filled) -> Columns | None:
    names = ("question", "choices", "answer")
    return {"prompt": names[:1], "choices": names[1:2], "response": names[2:]} if {*names} <= {*filled} else None


def read_choice(row: RowReader) -> Turns:
    choices = "\n".join(row.cell("choices"))
    return Turn("user", f"{row.text('prompt')}\n{choices}"), Turn("assistant", row.text("response"))


def test_a_schema_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the walk in `data/schemas.py` says: read, and counted by its title."""
    entry = Schema("multiple choice", "question, choices, answer", find_choice, read_choice, frozenset())
    monkeypatch.setattr(recognise, "SCHEMAS", (entry, *SCHEMAS))
    rows = [{"question": "2 + 2?", "choices": ["3", "4"], "answer": "4", "level": 1}, {"question": "Hi", "answer": "!"}]
    examples = open_examples(rows, ReadSettings())
    assert [(each.name, {**each.uses}, each.rows) for each in examples.schemas] == [
        ("multiple choice", {"question": 1, "answer": 1, "choices": 1}, 1),
        ("question / answer", {"question": 1, "answer": 1}, 1),
    ]
    assert [turn.content for turn in next(iter(examples)).turns] == ["2 + 2?\n3\n4", "4"]
    assert next(iter(examples)).columns == {"level": 1}
