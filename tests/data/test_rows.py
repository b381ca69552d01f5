"""Every row is read by what it holds: the same in any order, and whatever stands in the rows before it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradprism.core.errors import GradPrismError
from gradprism.data.example import Example, Turn
from gradprism.data.example_set import ExampleSet, open_examples
from gradprism.data.settings import ReadSettings

Row = dict[str, Any]

ASKED, ANSWERED = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}
PLAIN = [("user", "Why?"), ("assistant", "Because.")]
TOOL = {"name": "ferry", "description": "when it runs", "parameters": {"type": "object"}}
WRAPPED = {"type": "function", "function": TOOL}


def opened(data: Any, columns: str = "", **settings: Any) -> ExampleSet:
    return open_examples(data, ReadSettings(columns=columns, **settings))


def one(row: Row, columns: str = "") -> Example:
    (example,) = opened([row], columns)
    return example


def said(example: Example) -> list[tuple[str, str]]:
    assert example.problem is None
    return [(turn.role, turn.content) for turn in example.turns]


def problem(row: Row, columns: str = "") -> str:
    *_, example = opened([{"messages": [ASKED, ANSWERED]}, row], columns)
    assert example.problem
    return example.problem


# Optional columns


def test_a_column_that_the_first_row_lacks_is_read_in_the_others() -> None:
    rows = [
        {"instruction": "Why?", "output": "Because."},
        {"instruction": "Add.", "input": "2 3", "output": "5"},
        {"system": "Be brief.", "instruction": "Why?", "input": "", "output": "Because."},
    ]
    examples = opened(rows)
    assert list(map(said, examples)) == [
        PLAIN, [("user", "Add.\n2 3"), ("assistant", "5")], [("system", "Be brief."), *PLAIN],
    ]  # fmt: skip
    (schema,) = examples.schemas
    assert (schema.name, schema.rows) == ("system / instruction / input / output", 3)
    assert schema.uses == {"system": 1, "instruction": 3, "input": 1, "output": 3}


@pytest.mark.parametrize("nothing", [None, float("nan"), "", []])
def test_a_cell_that_holds_nothing_is_absent(nothing: Any) -> None:
    row = {"system": nothing, "prompt": "Why?", "context": nothing, "completion": "Because.", "messages": nothing,
           "history": nothing, "tools": nothing, "chosen": nothing, "query": nothing, "answer": nothing}  # fmt: skip
    assert one(row).turns == one({"prompt": "Why?", "completion": "Because."}).turns


@pytest.mark.parametrize("system", ["system", "system_prompt", "system_message"])
@pytest.mark.parametrize("extra", ["input", "context"])
def test_system_and_input_belong_to_any_pair(system: str, extra: str) -> None:
    for prompt in ("prompt", "instruction", "question", "query", "problem"):
        for answer in ("completion", "response", "output", "answer", "solution", "chosen"):
            example = one({answer: "Late.", extra: "line 4", prompt: "When?", system: "Be brief."})
            assert said(example) == [("system", "Be brief."), ("user", "When?\nline 4"), ("assistant", "Late.")]
            assert example.columns == {}


def test_history_is_earlier_turns_in_the_loss() -> None:
    row = {"instruction": "And line 5?", "output": "Early.", "history": [["Line 4?", "Late."]]}
    expected = (Turn("user", "Line 4?"), Turn("assistant", "Late."), Turn("user", "And line 5?"),
                Turn("assistant", "Early."))  # fmt: skip
    assert one(row).turns == expected
    assert one({**row, "history": json.dumps(row["history"])}).turns == expected
    in_turns = [{"role": "user", "content": "Line 4?"}, {"role": "assistant", "content": "Late."}]
    assert one({**row, "history": in_turns}).turns == expected
    assert one({"q": "And line 5?", "a": "Early.", "h": in_turns}, "prompt=q,response=a,history=h").turns == expected
    assert "pair that is not of two texts" in problem({**row, "history": [["Line 4?"]]})


def test_two_columns_for_one_thing_are_refused_by_name() -> None:
    assert "'prompt' and 'question'" in problem({"prompt": "a", "question": "b", "answer": "c"})
    assert "'output' and 'solution'" in problem({"problem": "a", "solution": "b", "output": "c"})
    assert "'input' and 'context'" in problem({"prompt": "a", "input": "b", "context": "c", "answer": "d"})
    assert "'chosen' and 'response'" in problem({"prompt": "a", "chosen": "b", "response": "c"})
    assert "'system' and 'system_prompt'" in problem(
        {"system": "a", "system_prompt": "b", "prompt": "c", "answer": "d"}
    )
    assert "--columns" in problem({"prompt": "a", "question": "b", "answer": "c"})


def test_an_input_alone_is_the_prompt() -> None:
    assert said(one({"input": "Why?", "output": "Because."})) == PLAIN
    assert said(one({"instruction": "", "input": "Why?", "output": "Because."})) == PLAIN


def test_another_system_prompt_than_the_turns_have_is_refused() -> None:
    row = {"system": "Be long.", "messages": [{"role": "system", "content": "Be brief."}, ASKED, ANSWERED]}
    assert "different system prompts" in problem(row)
    assert said(one(row, "messages=messages")) == [("system", "Be brief."), *PLAIN]


def test_pictures_are_not_passed_over_in_silence() -> None:
    assert "'images' is not text" in problem({"prompt": "See <image>?", "images": [b"PNG"], "answer": "Yes."})
    named = {"image": "coco/1.jpg", "messages": [{"role": "user", "content": "<image>\nWhat is it?"}, ANSWERED]}
    assert "column 'image' holds what <image> in the text stands for" in problem(named)
    assert "<|image_1|>" in problem({"image": "1.jpg", "prompt": "In <|image_1|>?", "answer": "Yes."})
    assert said(one(named, "messages=messages"))[0] == ("user", "<image>\nWhat is it?")
    assert said(one({"image": "of a cat", "prompt": "Why?", "answer": "Because."})) == PLAIN
    for name, value in (("image", "coco/1.jpg"), ("image_path", "/data/2.PNG"), ("Image", "https://a.b/c.webp?x=1"),
                        ("img", "data:image/png;base64,AAAA"), ("audio", "a.wav")):  # fmt: skip
        assert f"column '{name}' names the file" in problem({name: value, "prompt": "Why?", "answer": "Because."})
    for placeholder in ("<start_of_image>", "[IMG]", "<|vision_start|>"):
        given = {"picture": "of a cat", "prompt": f"{placeholder} Why?", "answer": "Because."}
        assert f"holds what {placeholder} in the text stands for" in problem(given)
    named = {"image": "coco/1.jpg", "prompt": "Why?", "answer": "Because."}
    assert said(one(named, "prompt=prompt,response=answer")) == PLAIN


# What a row brings for its template


@pytest.mark.parametrize("value", [[TOOL], [WRAPPED], json.dumps([TOOL]), [json.dumps(WRAPPED)], TOOL,
                                   [{**TOOL, "strict": None}]])  # fmt: skip
def test_tools_have_one_form(value: Any) -> None:
    for row in ({"messages": [ASKED, ANSWERED], "tools": value}, {"prompt": "Why?", "answer": "x", "functions": value}):
        example = one(row)
        assert example.tools == (WRAPPED,)
        assert example.columns == {}


@pytest.mark.parametrize("value", [None, "", [], "[]", "null", "{}"])
def test_no_tools_are_none(value: Any) -> None:
    example = one({"messages": [ASKED, ANSWERED], "tools": value})
    assert (example.tools, example.problem) == ((), None)


@pytest.mark.parametrize("value", [["ferry"], [1], str([TOOL]), '[{"name": "f"', [{"description": "no name"}]])
def test_tools_that_cannot_be_read_are_a_problem(value: Any) -> None:
    assert "'tools'" in problem({"messages": [ASKED, ANSWERED], "tools": value})


def test_documents_and_options_for_the_template() -> None:
    documents = [{"title": "ferry", "text": "line 4"}]
    row = {"messages": [ASKED, ANSWERED], "documents": documents, "chat_template_kwargs": {"enable_thinking": False}}
    example = one(row)
    assert example.documents == ({"title": "ferry", "text": "line 4"},)
    assert example.template_options == {"enable_thinking": False}
    assert one({**row, "documents": ["mere text"]}).documents == ()
    assert opened([{**row, "documents": ["mere text"]}]).unused == {"documents": 1}


# Preferences


PREFERRED = [
    {"prompt": "Why?", "chosen": "Because."},
    {"prompt": "Why?", "chosen": ANSWERED},
    {"prompt": "Why?", "chosen": [ASKED, ANSWERED]},
    {"prompt": [ASKED], "chosen": [ANSWERED]},
    {"prompt": [ASKED], "chosen": [ASKED, ANSWERED]},
    {"prompt": json.dumps([ASKED], indent=2), "chosen": json.dumps(ANSWERED, indent=1)},
    {"question": "Why?", "chosen": "Because."},
    {"input": "Why?", "chosen": "Because."},
    {"messages": [ASKED], "chosen": ANSWERED},
    {"conversations": [{"from": "human", "value": "Why?"}], "chosen": {"from": "gpt", "value": "Because."}},
    {"prompt": "Why?", "messages": [ASKED, ANSWERED], "chosen": [ASKED, ANSWERED]},
    {"prompt": "Why?", "chosen": "Why? Because.", "rejected": "Why? No."},
    {"prompt": "\n\nHuman: Why?\n\nAssistant:", "chosen": "Because."},
    {"prompt": "Why?", "chosen": "\n\nHuman: Why?\n\nAssistant: Because."},
    {"chosen": [ASKED, ANSWERED]},
]


@pytest.mark.parametrize("row", PREFERRED, ids=range(len(PREFERRED)))
def test_what_is_measured_is_the_chosen_answer_to_the_prompt_once(row: Row) -> None:
    row = {"rejected": "No idea.", **row}
    assert said(one(row)) == PLAIN
    assert opened([row]).unused.keys() <= {"rejected", "prompt"}
    assert said(one({**row, "system": "Be brief."})) == [("system", "Be brief."), *PLAIN]


def test_earlier_answers_of_a_prompt_are_context() -> None:
    earlier = [{"role": "user", "content": "Line 4?"}, {"role": "assistant", "content": "Late."}]
    expected = (Turn("user", "Line 4?"), Turn("assistant", "Late.", in_loss=False), Turn("user", "Why?"),
                Turn("assistant", "Because."))  # fmt: skip
    for row in (
        {"prompt": [*earlier, ASKED], "chosen": [ANSWERED]},
        {"prompt": [*earlier, ASKED], "chosen": [*earlier, ASKED, ANSWERED]},
        {"prompt": "Why?", "chosen": [*earlier, ASKED, ANSWERED]},
        {"conversations": [*earlier, ASKED], "chosen": ANSWERED},
        {"prompt": "Why?", "history": [["Line 4?", "Late."]], "chosen": "Because."},
        {"prompt": [*earlier, ASKED], "completion": [ANSWERED]},
    ):
        assert one(row).turns == expected


def test_several_chosen_turns_follow_the_prompt() -> None:
    more = [{"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."}]
    row = {"prompt": [{"role": "system", "content": "Be brief."}, ASKED], "chosen": [ANSWERED, *more]}
    expected = [("system", "Be brief."), *PLAIN, ("user", "Sure?"), ("assistant", "Yes.")]
    assert said(one(row)) == expected
    assert all(turn.in_loss for turn in one(row).turns)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": "Because.", "rejected": "x"}, "no 'prompt' column"),
        ({"chosen": ANSWERED, "rejected": "x"}, "no 'prompt' column"),
        ({"prompt": "How?", "chosen": [ASKED, ANSWERED]}, "not the prompt of the row"),
        ({"messages": [ASKED, ANSWERED], "chosen": "Other."}, "ends with an answer"),
        ({"prompt": "How?", "messages": [ASKED], "chosen": ANSWERED}, "differ"),
    ],
)
def test_a_preference_row_that_contradicts_itself_is_refused(row: Row, reason: str) -> None:
    assert reason in problem(row)


def test_answers_that_should_not_be_learnt_can_be_told_by_their_label() -> None:
    rows = [{"prompt": "Why?", "completion": "Because.", "label": label} for label in (True, False)]
    assert [example.columns for example in opened(rows)] == [{"label": True}, {"label": False}]


def test_a_flag_called_chosen_is_no_answer() -> None:
    assert said(one({"prompt": "Why?", "response": "Because.", "chosen": True})) == PLAIN


# JSON text


CODE = ('{"name": "f", "arguments": {}}', '[{"id": 1}]', '{"role": "admin", "content": "x"}', "{'a': 1}", "[{'id': 1}]",
        '{"role": "nurse", "reasoning": "x"}', "{}", "[{")  # fmt: skip


@pytest.mark.parametrize("text", CODE)
def test_an_answer_that_is_json_or_code_stays_text(text: str) -> None:
    for columns in (("prompt", "completion"), ("instruction", "output"), ("prompt", "chosen")):
        assert said(one(dict(zip(columns, ("Write it.", text), strict=True)))) == [
            ("user", "Write it."), ("assistant", text)
        ]  # fmt: skip
        assert said(one(dict(zip(columns, (text, "ok"), strict=True))))[0] == ("user", text)


def test_turns_as_python_prints_them_are_never_the_question_or_the_answer() -> None:
    for row in (
        {"prompt": str([ASKED]), "completion": "x"},
        {"prompt": "x", "completion": str([ANSWERED])},
        {"prompt": "x", "chosen": str(ANSWERED)},
        {"messages": str([ASKED, ANSWERED])},
    ):
        assert "as Python prints them" in problem(row)


def test_json_text_and_lists_may_be_mixed() -> None:
    turns = [ASKED, ANSWERED]
    rows = [{"messages": turns}, {"messages": json.dumps(turns, indent=1)}, {"messages": json.dumps(turns)}]
    assert list(map(said, opened(rows))) == [PLAIN] * 3


# Rows of several kinds


def test_kinds_are_counted_and_mixed_freely() -> None:
    rows = [
        {"version": 2},
        {"messages": None},
        {"question": "Why?", "answer": "Because.", "source": "web"},
        {"messages": [ASKED, {**ANSWERED, "score": 5}], "meta": {"a": 1}},
        {"messages": [ASKED, ANSWERED]},
    ]
    examples = opened(rows)
    assert [example.problem is None for example in examples] == [False, False, True, True, True]
    assert [(schema.name, schema.rows) for schema in examples.schemas] == [
        ("messages (list of turns)", 2), ("question / answer", 1),
    ]  # fmt: skip
    assert (examples.n_conversations, examples.n_unreadable) == (2, 2)
    assert examples.unused == {"meta": 1, "messages[].score": 1}


def test_rows_of_text_alone_name_the_option_that_reads_them() -> None:
    with pytest.raises(GradPrismError, match=r"columns 'text'(.|\n)*--columns response=text"):
        opened([{"text": "A plain document."}])
    assert said(one({"text": "A plain document."}, "response=text")) == [("assistant", "A plain document.")]


def test_columns_may_name_what_a_row_lacks() -> None:
    named = "prompt=q,input=more,response=a,system=sys"
    rows = [{"q": "Why?", "a": "Because."}, {"q": "Add.", "more": "2 3", "a": "5", "sys": "Be brief."}, {"q": "Why?"}]
    examples = list(opened(rows, named))
    assert said(examples[0]) == PLAIN
    assert said(examples[1]) == [("system", "Be brief."), ("user", "Add.\n2 3"), ("assistant", "5")]
    assert examples[2].problem == "this row has no column 'a'"
    assert said(next(iter(opened(rows, named, rows="0:1")))) == PLAIN  # `more` stands in a later row
    with pytest.raises(GradPrismError, match=r"names 'moer'.*Did you mean 'more'"):
        opened(rows, "prompt=q,input=moer,response=a")


def test_columns_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(GradPrismError, match="both messages and response"):
        opened([{"a": [ASKED, ANSWERED], "b": "x"}], "messages=a,response=b")


def test_only_the_columns_that_are_named_are_read() -> None:
    row = {"system": "Be brief.", "tools": [TOOL], "q": "Why?", "a": "Because."}
    assert (said(one(row, "prompt=q,response=a")), one(row, "prompt=q,response=a").tools) == (PLAIN, ())
    example = one(row, "prompt=q,response=a,system=system,tools=tools")
    assert (said(example), example.tools) == ([("system", "Be brief."), *PLAIN], (WRAPPED,))


# Halves of surrogate pairs


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "half \ud83d", "completion": "x"},
        {"messages": [ASKED, {**ANSWERED, "thinking": "\ud83d"}]},
        {"messages": [ASKED, {**ANSWERED, "tool_calls": [{"name": "f", "arguments": {"\ud83d": 1}}]}]},
        {"messages": [ASKED, {**ANSWERED, "name": "\ud83d"}]},
        {"messages": [ASKED, ANSWERED], "tools": [{"name": "\ud83d"}]},
        {"messages": [{"role": "\ud83d", "content": "x"}]},
    ],
)
def test_half_a_surrogate_pair_costs_its_row_alone(row: Row) -> None:
    reason = problem(row)
    reason.encode()
    assert "surrogate" in reason or "\\ud83d" in reason


def test_half_a_surrogate_pair_in_other_columns_costs_nothing() -> None:
    example = one({"prompt": "Why?", "completion": "Because.", "id": "\ud83d", "kind": "\ud83d", "\ud83d": 1})
    assert said(example) == PLAIN
    for text in (example.example_id, example.columns_json):
        text.encode()


# Properties


words = st.sampled_from(["", "Why?", "Because.", " ", "é😀", '{"a": 1}', "[{", str([ASKED]), json.dumps([ASKED])])
scalars = st.one_of(words, st.none(), st.booleans(), st.integers(-2, 2), st.floats())
keys = st.sampled_from([
    "role", "from", "content", "value", "type", "text", "thinking", "tool_calls", "name", "function", "arguments",
    "weight", "input", "tool_use_id", "parameters",
])  # fmt: skip
roles = st.sampled_from(["user", "assistant", "system", "tool", "function_call", "gpt", "human", "wizard"])
turns = st.fixed_dictionaries({"role": roles, "content": scalars})
values = st.recursive(
    scalars | turns, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=8
)
columns = st.sampled_from([
    "prompt", "instruction", "question", "completion", "output", "answer", "messages", "conversations", "chosen",
    "rejected", "system", "system_prompt", "input", "context", "history", "tools", "functions", "documents",
    "chat_template_kwargs", "images", "id", "label",
])  # fmt: skip
rows = st.dictionaries(columns, values | st.lists(turns, max_size=3), max_size=6)
GOOD: Row = {"prompt": "Why?", "completion": "Because."}


@pytest.mark.slow  # three hundred rows of any shape
@given(st.lists(rows, max_size=4))
@settings(deadline=None, max_examples=300)
def test_no_row_raises_anything(found: list[Row]) -> None:
    for example in opened([GOOD, *found]):
        assert (example.problem is None) == bool(example.turns) or "surrogate" in str(example.problem)
        assert len(example.content_hash) == 16
        example.columns_json.encode()


@given(st.lists(rows, min_size=1, max_size=5), st.randoms())
@settings(deadline=None, max_examples=100)
@pytest.mark.slow
def test_the_order_of_rows_does_not_matter(found: list[Row], order: Any) -> None:
    known = [GOOD, *found]
    places = list(range(len(known)))
    order.shuffle(places)
    first, second = opened(known), opened([known[place] for place in places])
    by_row = [example.content_hash for example in first]
    assert [example.content_hash for example in second] == [by_row[place] for place in places]
    assert [repr(example.turns) for example in second] == [repr(list(first)[place].turns) for place in places]
    assert first.schemas == second.schemas
    assert (first.n_conversations, first.n_unreadable) == (second.n_conversations, second.n_unreadable)
    assert first.unused == second.unused
