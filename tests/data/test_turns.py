"""One message of any public form becomes one turn with all that it has, or the row says what is not understood."""

import json
from typing import Any

import datasets
import numpy as np
import pytest

from gradprism.data.example import RowProblemError, Turn
from gradprism.data.turns import read_turns

Message = dict[str, Any]

ASKED: Message = {"role": "user", "content": "Is the ferry late?"}
CALL = {"type": "function", "function": {"name": "ferry", "arguments": {"line": 4}}}
CALL_AS_TEXT = {"id": "f1", "type": "function", "function": {"name": "ferry", "arguments": '{"line": 4}'}}


def turn_of(message: Message) -> Turn:
    (turn,) = read_turns([message], "messages").turns
    return turn


def said(**fields: Any) -> Turn:
    return turn_of({"role": "assistant", **fields})


def refused(*messages: Message) -> str:
    with pytest.raises(RowProblemError) as problem:
        read_turns([*messages], "messages")
    return str(problem.value)


# Who says it


@pytest.mark.parametrize(
    ("given", "role"),
    [
        ("human", "user"), ("prompter", "user"), ("Assistant", "assistant"), ("gpt", "assistant"), ("ai", "assistant"),
        ("bing", "assistant"), ("bard", "assistant"), ("chatbot", "assistant"), ("developer", "developer"),
        ("system", "system"), ("observation", "tool"), ("tool_response", "tool"), ("function_response", "tool"),
        ("function", "tool"), ("ipython", "tool"),
    ],
)  # fmt: skip
def test_roles_under_the_names_of_public_data(given: str, role: str) -> None:
    assert turn_of({"from": given, "value": "x"}) == Turn(role, "x")


@pytest.mark.parametrize(
    "message",
    [
        {"from": None, "role": "user", "content": "Hi", "value": None},
        {"from": "human", "role": None, "content": None, "value": "Hi"},
        {"from": "human", "role": "user", "content": "Hi", "value": "Hi"},
        {"from": "human", "role": "", "content": "", "value": "Hi"},
        {"role": "user", "content": "Hi", "tool_calls": None, "name": None, "weight": None, "thinking": ""},
        {"role": "user", "content": "Hi", "tool_calls": [], "name": float("nan")},
    ],
)
def test_of_two_keys_for_one_thing_the_one_that_holds_something_counts(message: Message) -> None:
    assert turn_of(message) == Turn("user", "Hi")


def test_two_keys_that_differ_are_refused() -> None:
    assert "role 'assistant' and is from 'human'" in refused({"role": "assistant", "from": "human", "content": "a"})
    assert "different 'value'" in refused({"role": "user", "content": "a", "value": "b"})


# What is said


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text", None])
def test_parts_of_text_are_joined(kind: str | None) -> None:
    assert said(content=[{"type": kind, "text": "on "}, {"type": kind, "text": "time"}]) == Turn("assistant", "on time")


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_thinking_is_kept_under_each_of_its_names(key: str) -> None:
    assert said(content="No.", **{key: "line 4 runs"}) == Turn("assistant", "No.", thinking="line 4 runs")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "thinking", "thinking": "line 4 runs"},
        {"type": "reasoning", "reasoning": "line 4 runs"},
        {"type": "reasoning", "text": "line 4 runs"},
        {"type": "thinking", "thinking": [{"type": "text", "text": "line 4 runs"}]},
    ],
)
def test_a_part_of_thinking_is_kept(part: Message) -> None:
    assert said(content=[part, {"type": "text", "text": "No."}]) == Turn("assistant", "No.", thinking="line 4 runs")


def test_thinking_alone_may_stand_without_content() -> None:
    assert said(content=None, thinking="hm") == Turn("assistant", "", thinking="hm")


@pytest.mark.parametrize("kind", ["image", "image_url", "audio", "video", "redacted_thinking", "surprise"])
def test_a_part_that_is_not_text_is_named(kind: str) -> None:
    reason = refused({"role": "user", "content": [{"type": "text", "text": "see"}, {"type": kind, "text": None}]})
    assert f"a part of type '{kind}', which is not text" in reason
    assert "a user turn in 'messages'" in reason


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"content": None}, "null or absent"),
        ({"content": None, "refusal": "no"}, "null or absent"),
        ({"content": "a", "thinking": ["b"]}, "thinking of an assistant turn"),
        ({"content": "a", "thinking": "b", "reasoning": "c"}, "thinking twice"),
        ({"content": "a", "reasoning_details": [{"type": "reasoning.encrypted"}]}, "reasoning_details"),
        ({"content": "a", "train_detail": [{"begin_offset": 0}]}, "train_detail"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "thinking", "thinking": "b"}]}, "thinking after text"),
        ({"content": ["a"]}, "part of type str"),
        ({"content": {"a": 1}}, "not text"),
        ({"content": "a", "name": ["b"]}, "the name of"),
    ],
)  # fmt: skip
def test_what_is_not_understood_of_an_answer_is_said(message: Message, reason: str) -> None:
    assert reason in refused({"role": "assistant", **message})


def test_fields_that_are_not_read_are_named() -> None:
    read = read_turns([{**ASKED, "url": "x", "empty": None}, {"role": "assistant", "content": "No.", "score": 3}], "m")
    assert read.unused == {"url", "score"}


# Tool calls


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([CALL], CALL),
        (CALL, CALL),
        (json.dumps([CALL]), CALL),
        ([json.dumps(CALL)], CALL),
        ([CALL_AS_TEXT], CALL_AS_TEXT),
        ([{"name": "ferry", "arguments": {"line": 4}}], CALL),
        ([{"name": "ferry", "arguments": {"line": 4, "from": None}}], CALL),
        ([{"function": {"name": "ferry", "arguments": {"line": 4, "to": None}}, "type": "function", "id": None}], CALL),
        (np.array([CALL], dtype=object), CALL),
    ],
)  # fmt: skip
def test_calls_keep_one_form_and_their_arguments_as_given(given: Any, kept: Message) -> None:
    turn = said(content=None, tool_calls=given)
    assert (turn.content, turn.tool_calls) == ("", (kept,))


def test_a_legacy_call_and_one_without_arguments() -> None:
    legacy = said(content=None, function_call={"name": "ferry", "arguments": '{"line": 4}'})
    assert legacy.tool_calls == ({"type": "function", "function": CALL_AS_TEXT["function"]},)
    assert said(content="", tool_calls=[{"name": "now"}]).tool_calls[0]["function"] == {"name": "now", "arguments": {}}


def test_the_nulls_that_arrow_adds_to_its_structs_are_dropped() -> None:
    calls = [
        {"function": {"name": "ferry", "arguments": {"line": 4}}, "type": "function"},
        {"function": {"name": "train", "arguments": {"at": {"hour": 6}}}, "type": "function"},
    ]
    rows = [{"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": [call]}]} for call in calls]
    for row, call in zip(datasets.Dataset.from_list(rows), calls, strict=True):
        assert read_turns(row["messages"], "messages").turns[1].tool_calls == (call,)


@pytest.mark.parametrize("role", ["function_call", "tool_call"])
def test_a_turn_that_is_a_call_is_an_answer(role: str) -> None:
    content = '{"name": "ferry", "arguments": {"line": 4}}'
    assert turn_of({"from": role, "value": content}) == Turn("assistant", "", tool_calls=(CALL,))
    assert turn_of({"from": role, "value": f"[{content}, {content}]"}).tool_calls == (CALL, CALL)
    in_turn = [{"role": role, "content": content}] * 2
    assert read_turns([ASKED, *in_turn, {"role": "tool", "content": "late"}], "messages").turns[1:] == (
        Turn("assistant", "", tool_calls=(CALL, CALL)),
        Turn("tool", "late"),
    )


def test_anthropics_parts_become_calls_and_tool_turns() -> None:
    asked = {"type": "tool_use", "id": "f1", "name": "ferry", "input": {"line": 4}}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, asked]}
    result = {"type": "tool_result", "tool_use_id": "f1", "content": [{"type": "text", "text": "late"}]}
    turns = read_turns([ASKED, answer, {"role": "user", "content": [result]}], "messages").turns
    assert turns[1:] == (
        Turn("assistant", "Let me see.", tool_calls=({"id": "f1", **CALL},)),
        Turn("tool", "late", tool_call_id="f1"),
    )


def test_a_tool_turn_keeps_its_name_and_the_id_of_its_call() -> None:
    turn = turn_of({"role": "tool", "content": "late", "name": "ferry", "tool_call_id": "f1"})
    assert turn == Turn("tool", "late", name="ferry", tool_call_id="f1")


@pytest.mark.parametrize(
    "message",
    [
        {"from": "function_call", "value": "ferry(4)"},
        {"from": "function_call", "value": "{'name': 'ferry', 'arguments': {}}"},
        {"from": "function_call", "value": ""},
        {"role": "assistant", "content": "", "tool_calls": "no JSON"},
        {"role": "assistant", "content": "", "tool_calls": [{"arguments": {}}]},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "ferry", "arguments": [1]}]},
        {"role": "assistant", "content": "", "tool_calls": ["[1]"]},
        {"role": "assistant", "content": "", "tool_calls": [CALL], "function_call": CALL["function"]},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {"at": b"bytes"}}]},
    ],
)
def test_calls_that_cannot_be_read_are_a_problem(message: Message) -> None:
    assert "call" in refused(ASKED, message)


# Turns out of the loss


@pytest.mark.parametrize("key", ["train", "training", "weight", "loss"])
def test_a_turn_may_be_left_out_of_the_loss(key: str) -> None:
    for value, in_loss in ((0, False), (False, False), (0.0, False), (1, True), (True, True), (None, True)):
        assert said(content="Five.", **{key: value}) == Turn("assistant", "Five.", in_loss=in_loss)
    assert turn_of({"role": "user", "content": "2+2?", key: False}) == Turn("user", "2+2?")


@pytest.mark.parametrize("value", [0.5, 2, "no", [0], -1])
def test_a_weight_that_is_no_choice_is_refused(value: object) -> None:
    assert f"weight = {value!r}" in refused({"role": "assistant", "content": "Five.", "weight": value})


def test_two_keys_that_disagree_about_the_loss_are_refused() -> None:
    assert "by one and not by another" in refused(
        {"role": "assistant", "content": "Five.", "weight": 1, "train": False}
    )


# Lists of turns in other forms


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_turns_as_json_text_of_any_spacing(indent: int | None) -> None:
    text = json.dumps([ASKED, {"role": "assistant", "tool_calls": [CALL]}], indent=indent)
    for value in (text, f"\n {text} "):
        assert [turn.role for turn in read_turns(value, "messages").turns] == ["user", "assistant"]


def test_a_struct_of_lists_is_a_list_of_turns() -> None:
    struct = {"from": ["human", "gpt"], "value": ["Is it late?", "No."], "weight": [None, 0]}
    expected = (Turn("user", "Is it late?"), Turn("assistant", "No.", in_loss=False))
    assert read_turns(struct, "conversations").turns == expected
    assert read_turns(json.dumps(struct), "conversations").turns == expected
    arrays = {name: np.array(value, dtype=object) for name, value in struct.items()}
    assert read_turns(arrays, "conversations").turns == expected


@pytest.mark.parametrize("value", [str([ASKED]), str(ASKED), f"  {[ASKED]}"])
def test_turns_as_python_prints_them_are_refused_by_name(value: str) -> None:
    with pytest.raises(RowProblemError, match=r"'messages' holds turns as Python prints them.*json\.dumps"):
        read_turns(value, "messages")


def test_json_text_that_was_cut_short_is_refused() -> None:
    with pytest.raises(RowProblemError, match="looks like turns, and is not valid JSON"):
        read_turns(json.dumps([ASKED])[:-4], "messages")


def test_what_is_nested_too_deeply_is_a_problem() -> None:
    deep: Any = {}
    for _ in range(300):
        deep = {"deeper": deep}
    assert "deep in each other" in refused({"role": "assistant", "tool_calls": [{"name": "f", "arguments": deep}]})
