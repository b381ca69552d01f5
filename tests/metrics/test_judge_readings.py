"""Whole replies as judges give them, each with its right reading; and what holds of random ones."""

import json
import time
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("json_repair")

from gradprism.data.example import Example, Turn
from gradprism.metrics.judge.difficulty import parse_difficulty
from gradprism.metrics.judge.judge import Answer, Answers, Judge, Messages
from gradprism.metrics.judge.prompts import Prompt, make_prompt
from gradprism.metrics.judge.tags import normalised, parse_tags
from gradprism.metrics.judged import Difficulty, Instag
from gradprism.metrics.metric import Plan

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

REQUEST = "Plan two days in Lyon for little money."
EXAMPLE = '[{"tag": "...", "explanation": "..."}]'
FULL = (
    '[{"tag": "travel plan", "explanation": "two days in Lyon"}, {"tag": "low budget", "explanation": "little money"}]'
)
DRAFT = '["travel", "lyon", "food", "hotels"]'
BOTH = ["travel plan", "low budget"]

TAG_REPLIES: list[tuple[str, list[str] | None, str]] = [
    # plain
    (FULL, BOTH, "json"),
    (f"```json\n{FULL}\n```", BOTH, "repaired"),
    (f"Here are the intentions:\n\n{FULL}\n\nTell me if you want fewer [of them].", BOTH, "repaired"),
    # reasoning models
    (f"<think>\nOkay, a trip. First idea: {DRAFT}. Too many, two will do.\n</think>\n\n{FULL}", BOTH, "json"),
    (f"Okay, so the user plans a trip. {DRAFT}? No: only two.\n</think>\n\n{FULL}", BOTH, "json"),
    (f"[THINK]Lyon, money. {DRAFT}[/THINK]{FULL}", BOTH, "json"),
    (f"<seed:think>\nThe budget has room. {DRAFT}\n</seed:think>{FULL}", BOTH, "json"),
    (f"<thinking>\n1. travel\n2. money\n</thinking>\n\n<answer>\n{FULL}\n</answer>", BOTH, "json"),
    (f"<reasoning>{DRAFT}</reasoning>{FULL}", BOTH, "json"),
    (f"◁think▷{DRAFT}◁/think▷{FULL}", BOTH, "json"),
    (f"<|START_THINKING|>{DRAFT}<|END_THINKING|><|START_RESPONSE|>{FULL}<|END_RESPONSE|>", BOTH, "json"),
    (f"<|begin_of_thought|>\n\n{DRAFT}\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n{FULL}\n\n"
     "<|end_of_solution|>", BOTH, "json"),
    (f"<|channel|>analysis<|message|>We need tags: {DRAFT}.<|end|><|start|>assistant<|channel|>final<|message|>{FULL}"
     "<|return|>", BOTH, "json"),
    (f"analysisWe need tags: {DRAFT}.assistantfinal{FULL}", BOTH, "json"),
    (f"<|channel>thought\n{DRAFT}<channel|>{FULL}", BOTH, "json"),
    (f"Here is my thought process:\n{DRAFT}\n\nHere is my response:\n{FULL}", BOTH, "json"),
    # thoughts and no answer
    (f"<think>\nOne could say {DRAFT}", None, "its thoughts never end"),
    (f"{FULL}\n<think>Wait, is that right? {DRAFT}", None, "its thoughts never end"),
    (f"<think>{DRAFT}</think>\n\n", None, "nothing but thoughts"),
    (f"<|channel|>analysis<|message|>We need tags: {DRAFT}.", None, "its thoughts never end"),
    (f"<|channel|>commentary to=functions.tag<|message|>{DRAFT}<|call|>", None, "its thoughts never end"),
    (f"analysisWe need tags: {DRAFT}.", None, "its thoughts never end"),
    # marks that are quoted
    ('[{"tag": "xml", "explanation": "wants <think> and </think> around it"}]', ["xml"], "json"),
    ('[{"tag": "xml", "explanation": "ends in </think>"}, {"tag": "b"}]', ["xml", "b"], "json"),
    # the example of the prompt
    (EXAMPLE, None, "it repeats the prompt"),
    (f"The format is:\n{EXAMPLE}", None, "it repeats the prompt"),
    (f"```json\n{EXAMPLE}\n```", None, "it repeats the prompt"),
    (f"As in {EXAMPLE}:\n{FULL}", BOTH, "repaired"),
    (f"{FULL}\n\n(As asked: {EXAMPLE})", BOTH, "repaired"),
    ('[{"tag": "...", "explanation": "..."}, {"tag": "travel plan"}]', ["travel plan"], "json"),
    ('["..."]', None, "no tags in the answer:"),
    # several lists
    (f"First try: {DRAFT}\n\nBetter:\n{FULL}", BOTH, "repaired, last of several"),
    (f"```json\n{DRAFT}\n```\nIn short:\n```json\n{FULL}\n```", BOTH, "repaired, last of several"),
    (f"{FULL}\n\n{FULL}", BOTH, "repaired"),
    (f"{DRAFT}\n\nFinal: ['travel plan', 'low budget']", BOTH, "repaired, last of several"),
    (f'{FULL}\n\nOr, in other words: ["travel", "mon', BOTH, "repaired, last of several"),
    ('{"tag": "travel plan"}\n{"tag": "low budget"}', BOTH, "repaired"),
    ('[{"tag": "travel plan", "where": ["two", "days"]}, {"tag": "low budget", "where": ["little"', BOTH, "repaired"),
    # one tag in two spellings
    ('["Travel_Plan", "travel-plan", "Low budget."]', BOTH, "json"),
    ("Tags: travel plan, Travel Plan, low budget", BOTH, "pattern"),
    ("[]", [], "json"),
    ("I cannot help with that.", None, "no tags in the answer:"),
]  # fmt: skip

NUMBER_REPLIES: list[tuple[str, float | None, str]] = [
    ("6\n\nIt takes some knowledge of the town.", 6, "pattern"),
    ("<think>\nMaybe 4. Score: 5? On reflection:\n</think>\n\n6", 6, "json"),
    ("Score: 4, or 5.\n</think>\n6\nIt takes knowledge.", 6, "pattern"),
    ("[THINK]Score: 4[/THINK]**6**\n\nIt takes knowledge.", 6, "pattern"),
    ("<|channel|>analysis<|message|>Difficulty: 4.<|end|><|start|>assistant<|channel|>final<|message|>6\nYes.", 6,
     "pattern"),
    ("<answer>6</answer>", 6, "json"),
    ("<think>Score: 4", None, "its thoughts never end"),
    ("Difficulty: 3. Well ... final: 6", 6, "pattern, last of several"),
    ("3\n\nHm, the money.\n\nFinal answer: **6**", 6, "pattern, last of several"),
    ("Difficulty: 3\n\nNo.\n\nDifficulty: 6", 6, "pattern, last of several"),
    ('{"score": 3}\nNo, rather {"score": 6}', 6, "repaired, last of several"),
    ("Knowledge score: 3\nSteps score: 6", None, "it states several numbers (3, 6)"),
    ('{"knowledge_score": 3, "steps_score": 6}', None, "it states several numbers (3, 6)"),
    ("6/10", 6, "pattern"),
    ("between 3 and 5", None, "it gives a range (between 3 and 5)"),
    ("Difficulty: 3-5", None, "it gives a range (3-5)"),
    ("3/10 to 5/10, I think", None, "it gives a range (3/10 to 5/10)"),
    ('{"difficulty": "3 to 5"}', None, "it gives a range (3 to 5)"),
    ('{"difficulty": [3, 5]}', None, "it states several numbers (3, 5)"),
    ("6\n\nFor others it would be between 3 and 5.", 6, "pattern"),
    ("4/5", None, "it rates on another scale (4/5)"),
    ("Difficulty: 4 out of 5", None, "it rates on another scale (4 out of 5)"),
    ("On a scale of 1 to 5, I would rate this a 4.", None, "it rates on another scale (scale of 1 to 5)"),
    ("Rating: 4 stars", None, "it rates on another scale (4 stars)"),
    ('{"difficulty": 4, "out_of": 5}', None, "it rates on another scale"),
    ('{"difficulty": 6, "out_of": 10}', 6, "json"),
    ("6\n\nIt asks for a survey on a scale of 1 to 5.", 6, "pattern"),
    ("On a scale of 1 to 10, I would rate this a 6.", 6, "pattern"),
    ("Begin with the number, an integer from 1 to 10, alone on the first line. Then say why in one sentence.", None,
     "it repeats the prompt"),
    ("Begin with the number, an integer from 1 to 10, alone on the first line. Then say why in one sentence.\n6\nYes.",
     6, "pattern"),
]  # fmt: skip


class OneReply(Judge):
    """Gives one reply to everything."""

    name = "one"
    identity = {"judge.judge": "one"}  # noqa: RUF012
    note = ""

    def __init__(self, text: str):
        self.text = text

    def answers(self, asked: Sequence[Messages]) -> Answers:
        yield from ((place, Answer(self.text, "stop")) for place in range(len(asked)))

    def plan(self, asked: Sequence[Messages]) -> Plan:
        return Plan(len(asked))


def row_of(kind: Any, reply: str, request: str = REQUEST, prompt: Prompt | None = None) -> dict[str, Any]:
    metric = kind(OneReply(reply), prompt or make_prompt(kind.name, None), 512)
    table: pl.DataFrame = metric.table([Example(0, "0", (Turn("user", request), Turn("assistant", "Yes.")))])
    return table.row(0, named=True)


@pytest.mark.parametrize(("reply", "tags", "told"), TAG_REPLIES)
def test_tags_of_a_reply(reply: str, tags: list[str] | None, told: str) -> None:
    row = row_of(Instag, reply)
    assert (row["tags"], row["value"]) == (tags, None if tags is None else len(tags))
    assert row["raw_answer"] == reply
    assert row["parse"] == told if tags is not None else told in row["reason"]


@pytest.mark.parametrize(("reply", "number", "told"), NUMBER_REPLIES)
def test_number_of_a_reply(reply: str, number: float | None, told: str) -> None:
    row = row_of(Difficulty, reply)
    assert row["value"] == number
    assert row["parse"] == told if number is not None else told in row["reason"]


SHOWN = 'Request: Name a bird of the sea.\nAnswer: ["naming", "sea birds"]\n\nRequest: {{ instruction }}\nAnswer:'


def test_an_example_of_a_template_is_no_answer_unless_the_row_is_that_example() -> None:
    prompt, echo = Prompt("mine.jinja", SHOWN), '["Naming", "sea birds"]'
    assert "it repeats the prompt" in row_of(Instag, echo, prompt=prompt)["reason"]
    assert "it repeats the prompt" in row_of(Instag, "Tags: naming, sea birds", prompt=prompt)["reason"]
    assert row_of(Instag, '["naming", "sea birds", "size"]', prompt=prompt)["value"] == 3
    assert row_of(Instag, echo, "Name a bird of the sea.", prompt)["value"] == 2
    explained = Prompt("mine.jinja", 'So: [{"tag": "naming", "explanation": "it says name"}] {{ instruction }}')
    assert row_of(Instag, '[{"tag": "naming", "explanation": "asks for one"}]', prompt=explained)["value"] == 1


def test_a_list_of_the_request_is_no_answer() -> None:
    request = 'Sort this list and answer with it alone: ["pear", "apple"]'
    assert "it repeats the prompt" in row_of(Instag, '["pear", "apple"]', request)["reason"]


def test_a_cut_reply_says_that_it_was_still_within_its_thoughts() -> None:
    metric = Instag(OneReply(""), make_prompt("instag", None), 64)
    score = metric._score_answer(Answer(f"<think>{DRAFT}", "length"), "")
    assert score.reason == "the answer was cut at --judge-max-tokens 64 (its thoughts never end)"


TAG = st.sampled_from(["travel", "Travel", "low budget", "low_budget", "...", "", "c++", "<think>", "a]b", 'say "hi"'])
LIST = st.lists(TAG, max_size=4)
OBJECTS = LIST.map(lambda tags: [{"tag": tag, "explanation": f"it says {tag}"} for tag in tags])
JSON = (LIST | OBJECTS | OBJECTS.map(lambda found: {"tags": found})).map(json.dumps)
PIECE = st.one_of(
    JSON,
    JSON.map(lambda text: f"```json\n{text}\n```"),
    JSON.map(lambda text: f"<think>{text}</think>"),
    st.tuples(JSON, st.integers(0, 60)).map(lambda cut: cut[0][: cut[1]]),
    JSON.map(lambda text: text.replace('"', "'")),
    st.sampled_from(["<think>", "</think>", "[/THINK]", "<|channel|>final<|message|>", "Final: ", "\n", "7", "3-5"]),
    st.text("ab[]{}\"':,.\n7/", max_size=20),
    st.lists(TAG, min_size=1, max_size=3).map(lambda tags: "Tags: " + ", ".join(tags)),
)  # fmt: skip


@given(st.lists(PIECE, max_size=5).map("\n".join))
def test_value_and_tags_agree_in_any_reply(reply: str) -> None:
    parsed = parse_tags(reply, EXAMPLE)
    assert parsed.value == (None if parsed.parse == "none" else len(parsed.tags))
    assert len({*parsed.tags}) == len(parsed.tags)
    assert all(tag and normalised(tag) == tag for tag in parsed.tags)
    number = parse_difficulty(reply, EXAMPLE)
    assert (number.value is None) == (number.parse == "none")
    assert number.value is None or 1 <= number.value <= 10


@given(st.lists(st.sampled_from(["travel", "money", "food"]), min_size=1, unique=True), PIECE)
def test_the_last_whole_list_counts_whatever_is_thought_before(tags: list[str], thought: str) -> None:
    thought = thought.replace("think", "thonk").replace("THINK", "").replace("<|", "")
    parsed = parse_tags(f"<think>{thought}</think>\nSo:\n{json.dumps(tags)}")
    assert (parsed.tags, parsed.several) == (tuple(tags), False)


@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=1, unique=True), min_size=1, max_size=4))
def test_of_several_lists_the_last_counts_and_it_is_said(lists: list[list[str]]) -> None:
    parsed = parse_tags("\n\n".join(f"Try: {json.dumps(tags)}" for tags in lists))
    assert parsed.tags == tuple(lists[-1])
    assert parsed.several == any({*tags} != {*lists[-1]} for tags in lists)


@pytest.mark.parametrize("again", ['[{"', '[{"tag": "a", "explanation": "b', '["a", ', '[{"tag": "a"}, ', '{"a": 3 '])
def test_a_judge_that_repeats_itself_is_read_in_good_time(again: str) -> None:
    began = time.process_time()
    parse_tags(again * 200)
    parse_difficulty(again * 200)
    assert time.process_time() - began < 10  # a second or less; each opening read to the end would take a minute
