"""Parsers on answers of our own writing, one for each form; and on every published answer, where they are at hand."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("json_repair")

from gradprism.metrics.judge.difficulty import parse_difficulty
from gradprism.metrics.judge.parsed import Parsed
from gradprism.metrics.judge.tags import normalised, parse_tags

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

TAGS = [
    # JSON in its three forms
    ('[{"tag": "Travel Plan", "explanation": "asks for a route"}, {"tag": "Budget"}]', "json", 2),
    ('["Travel", "Budget", "Food"]', "json", 3),
    ('{"tags": ["Travel", "Budget"]}', "json", 2),
    ('{"tags": [{"tag": "Travel"}]}', "json", 1),
    ('{"tags": "travel, budget"}', "json", 2),
    ('{"intents": ["Travel", "Budget"]}', "json", 2),
    ('{"tag": "Travel", "explanation": "only one"}', "json", 1),
    ('[{"Tag": "Travel"}]', "json", 1),
    ('["Travel", "travel"]', "json", 1),
    ("[]", "json", 0),
    ('<think>Could be ["x", "y", "z"].</think>\n["Travel"]', "json", 1),
    # to be repaired
    ('```json\n["Travel", "Budget"]\n```', "repaired", 2),
    ("```\n[]\n```", "repaired", 0),
    ('```json\n{"tags": ["Travel", "Budget"]}\n```\nI hope [this] helps!', "repaired", 2),
    ('Sure, here they are: ["Travel", "Budget"]. Anything [else]?', "repaired", 2),
    ('[{"tag": "Travel"}, {"tag": "Budget"},]', "repaired", 2),
    ("[{'tag': 'Travel'}, {'tag': 'Budget'}]", "repaired", 2),
    ('[{tag: "Travel"}, {tag: "Budget"}]', "repaired", 2),
    ('[{"tag": "Travel"} {"tag": "Budget"}]', "repaired", 2),
    ('{"tag": "Travel"}\n{"tag": "Budget"}\n{"tag": "Food"}', "repaired", 3),
    ('[{"tag": "Algebra", "explanation": "it is about \\( x \\)"}]', "repaired", 1),
    ('[{"tag": "Quote", "explanation": "it says "hello" to us"}, {"tag": "B"}]', "repaired", 2),
    ('["Travel"]\n\n["Travel"]', "repaired", 1),
    # truncated: what was finished counts
    ('[{"tag": "Travel", "explanation": "a route"}, {"tag": "Budget", "explanation": "of mo', "repaired", 2),
    ('[{"tag": "Travel", "explanation": "a route"}, {"tag": "Bud', "repaired", 1),
    ('["Travel", "Bud', "repaired", 1),
    ('```json\n[{"tag": "Travel"},\n{"tag": "Bud', "repaired", 1),
    # patterns
    ("Tag: Travel Plan\nExplanation: a route\n\nTag: Budget\nExplanation: money", "pattern", 2),
    ("**Tag:** Travel\n**Tag:** Budget", "pattern", 2),
    ("Tag 1: Travel\nTag 2: Budget", "pattern", 2),
    ('"tag": "Travel", "explanation": "x"\n"tag": "Budget"', "pattern", 2),
    ("Tags: travel, budget, food", "pattern", 3),
    ("The tags are:\n\n- Travel\n- **Budget**: little money\n* Food", "pattern", 3),
    ("1. Travel\n2. Budget", "pattern", 2),
    # nothing
    ("I'm sorry, but I can't assist with that.", "none", None),
    ("I cannot help [name] with this, see [1].", "none", None),
    ("To do this:\n1. Preheat the oven to 200 degrees and wait for it\n2. Bake", "none", None),
    ("<think>perhaps Travel", "none", None),
    ("", "none", None), ("null", "none", None), ("[1, 2]", "none", None), ('[{"tag": ""}]', "none", None),
    ("[" * 20_000, "none", None),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "how", "n"), TAGS)
def test_tags(answer: str, how: str, n: int | None) -> None:
    parsed = parse_tags(answer)
    assert (parsed.parse, parsed.value) == (how, n)
    assert len(parsed.tags) == (n or 0)


def test_tags_given_twice_are_one_tag() -> None:
    parsed = parse_tags('["Data Analysis", "data_analysis", "DATA-ANALYSIS.", "Plot"]')
    assert (parsed.value, parsed.tags) == (2, ("data analysis", "plot"))


@pytest.mark.parametrize(
    ("tag", "same"),
    [(" **Data_Modeling** ", "data modeling"), ("E-Mail.", "e mail"), ("C++", "c++"), ("(C#)", "c#"),
     ("A\u2011B  c", "a b c"),
     ("STRASSE", "strasse"), ("Straße", "strasse"), ("“Quoted”", "quoted"), ("...", "")],
)  # fmt: skip
def test_normalised(tag: str, same: str) -> None:
    assert normalised(tag) == same
    assert normalised(same) == same


NUMBERS = [
    # the number first
    ("7\n\nThis takes several steps.", 7), ("7", 7), ("10", 10), ("1", 1), ("1\n\nAnybody can.", 1),
    ("**7**\n\nHard.", 7),
    ("7. This takes several steps.", 7), ("7: it takes steps", 7), ("7 - because of the steps", 7), ("7 (moderate)", 7),
    ("8/10", 8), ("7 out of 10. It takes 2 steps", 7), ("1/10", 1), ("# 7", 7), ("7 because of the steps", 7),
    ("7.5\nbecause", 7.5), ("3.5", 3.5), ("1.", 1), ("10.0", 10),
    ("<think>3, or maybe 4</think>\n8", 8),
    # a label
    ("Difficulty Score: 4", 4), ("**Score: 8**", 8), ("**Difficulty Score:** 7", 7), ("Score:\n7", 7),
    ("Rating = 6", 6),
    ("Difficulty – 6", 6), ("Difficulty: Moderate (6)", 6), ("Difficulty (1-10): 7", 7), ("Level 5", 5),
    ("Difficulty: 5. It takes 3 steps", 5), ("Difficulty: 5.5", 5.5), ("Score: 10", 10), ("My rating: **8** (hard)", 8),
    ("Creativity score: 3\nOverall difficulty: 7", 7), (r"Hence \boxed{7}", 7),
    # in a sentence
    ("I rated it a 7.", 7), ("This is rated as a 7 because of the steps", 7),
    ("a difficulty level of 5 on the scale", 5),
    ("On a scale of 1 to 10, I would rate this a 6.", 6), ("I'd give it a 6.", 6), ("The difficulty of this is 8.", 8),
    ("I would give this instruction a 9 out of 10", 9), ("It takes thought; a score of 3 reflects that", 3),
    ("It takes several steps.\n\n**9**", 9), ("The difficulty score for this article is 3.", 3),
    # none
    ("on a 1-10 scale", None), ("from 1 to 10", None), ("0", None), ("11", None), ("100", None), ("Score: 12", None),
    ("Score: 0", None), ("Score: 10.5", None), ("Score: -3", None), ("Score: 4/5", None), ("Difficulty: 70/100", None),
    ("6-7", None), ("Difficulty: 6-7", None), ("Difficulty: 6 or 7", None), ("7,5", None), ("7%", None),
    ("Rated 7th", None),
    ("1. Read it first", None), ("1. Read\n2. Answer", None), ("Step 1: read. Step 2: do", None),
    ("5 steps are needed", None), ("It asks to give 5 examples of birds", None), ("It needs a level 2 heading.", None),
    ("In 2019 there were 7 planets", None), ("I can't help with that.", None), ("<think>perhaps 3", None), ("", None),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "number"), NUMBERS)
def test_difficulty(answer: str, number: float | None) -> None:
    assert parse_difficulty(answer).value == number


@pytest.mark.parametrize(
    ("answer", "how", "number"),
    [
        ('{"difficulty": 6}', "json", 6), ('{"difficulty_score": "7/10"}', "json", 7), ('"7"', "json", 7),
        ("7", "json", 7),
        ('{"difficulty": {"score": 4, "why": "x"}}', "json", 4), ('{"steps": 3, "score": 5}', "json", 5),
        ('```json\n{"difficulty": 5}\n```', "repaired", 5), ('{"difficulty": 7, "why": "it is', "repaired", 7),
        ("{'difficulty': 4}", "repaired", 4), ('Sure! {"rating": 4, "x": 1} as asked', "repaired", 4),
        ("7\n\nHard.", "pattern", 7), ('{"score": 11}', "none", None), ('{"difficulty": true}', "none", None),
        ("true", "none", None), ("NaN", "none", None), ("[" * 20_000, "none", None),
    ],
)  # fmt: skip
def test_how_difficulty_was_read(answer: str, how: str, number: float | None) -> None:
    parsed = parse_difficulty(answer)
    assert (parsed.parse, parsed.value) == (how, number)


@pytest.fixture(scope="module")
def published(shared: Path) -> list[dict[str, Any]]:
    files = sorted((shared / "data" / "quality").glob("*/*.json"))
    if not files:
        pytest.skip("../shared holds no published judge answers")
    return [row for file in files for row in json.loads(file.read_text(encoding="utf-8"))]


def test_every_published_count_of_tags(published: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    parsed = [parse_tags(row["raw_instag"]) for row in published]
    same = sum(found.value == row["instag"] for found, row in zip(parsed, published, strict=True))
    with capsys.disabled():
        print(
            f"\ninstag: {same} of {len(published)} published counts; {dict(Counter(found.parse for found in parsed))}"
        )
    assert same == len(published) > 0


@pytest.mark.slow
def test_every_published_difficulty(published: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    parsed = [(parse_difficulty(row["raw_diff"]).value, row) for row in published]
    known = [(value, row["diff"]) for value, row in parsed if "diff" in row]
    missing = [(value, row["raw_diff"]) for value, row in parsed if "diff" not in row]
    same = sum(value == number for value, number in known)
    recovered = sum(value is not None for value, _ in missing)
    with capsys.disabled():
        print(f"\ndifficulty: {same} of {len(known)} published values; {recovered} of {len(missing)} others recovered")
    assert same == len(known) > 0
    assert recovered == len(missing) > 0
    # by eye these all open with a label and their number, which is the first in the text
    assert [value for value, _ in missing] == [float(re.findall(r"\d+", text)[0]) for _, text in missing]


HOSTILE = {
    "braces": '{"', "brackets": '["', "tag objects": '[{"tag": "', "open lists": '["a", ', "lists": '["a"] ',
    "stars": "*",
    "spaced stars": "* ", "hashes": "#", "lines": "7\n", "digits": "7 ", "thoughts": "<think>", "closed": "</think>",
    "thought in quotes": '["a"] </think> ', "code": "`a` <think>a</think> ", "messages": "<|message|>", "range": "3-",
    "tag lines": "tag tag tag ", "spaces": " ", "empty lines": "\n", "underscores": "_", "deep": "[",
    "surrogates": "\ud800",
    "zeros": "\x00", "channels": '["a"] <|channel|>final<|message|>', "frames": '["a"]<|im_end|> ',
}  # fmt: skip


@pytest.mark.parametrize("parse", [parse_tags, parse_difficulty])
@pytest.mark.parametrize("name", HOSTILE)
def test_no_answer_takes_long_to_parse(parse: Callable[[str, str], Parsed], name: str) -> None:
    piece = HOSTILE[name]
    began = time.monotonic()
    for begin, end in (("", ""), ("- a", "x"), ("7 ", "tag:")):
        with suppress(RecursionError):  # which `Judged` reports as a problem of the row
            parse(begin + piece * (8_100 // len(piece)) + end, "a prompt")
    assert time.monotonic() - began < 3


def test_an_answer_of_ten_megabytes_is_not_parsed() -> None:
    assert "it has 10,000,000 characters" in str(parse_tags("a" * 10_000_000).problem)
    long = json.dumps([f"tag {n}" for n in range(5_000)])
    assert "at most 32,768 are read" in str(parse_tags(long).problem)
    assert parse_tags("<think>" + long + '</think>["a"]').tags == ("a",)
