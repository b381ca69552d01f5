"""Prompts, own columns and the tags of a set; no server and no model."""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytest.importorskip("json_repair")

from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.data.example import Example, RowProblemError, Turn
from gradprism.metrics.judge.judge import Answer, Answers, Judge, Messages
from gradprism.metrics.judge.prompts import BUILTIN_PROMPTS, Prompt, make_prompt
from gradprism.metrics.judge.rendering import SECONDS
from gradprism.metrics.judged import Difficulty, Instag, make_judged
from gradprism.metrics.metric import Plan
from gradprism.metrics.settings import JudgeSettings, RequestSettings
from gradprism.models.settings import ExecutionSettings
from gradprism.runs.score_summary import corpus_tags


class Scripted(Judge):
    """Gives prepared answers, the last first."""

    name = "scripted"
    identity = {"judge.judge": "scripted"}  # noqa: RUF012
    note = ""

    def __init__(self, *given: Answer):
        self.given = given

    def answers(self, asked: Sequence[Messages]) -> Answers:
        yield None
        yield from reversed(list(enumerate(self.given[: len(asked)])))

    def plan(self, asked: Sequence[Messages]) -> Plan:
        return Plan(len(asked))


def row(n: int, *turns: tuple[str, str], problem: str | None = None) -> Example:
    return Example(n, str(n), tuple(Turn(*turn) for turn in turns), problem=problem)


ASKED = row(0, ("user", "Name a bird."), ("assistant", "A robin."))


def table(kind: Any, *answers: Answer) -> pl.DataFrame:
    metric = kind(Scripted(*answers), make_prompt(kind.name, None), 64)
    return metric.table([Example(n, str(n), ASKED.turns) for n in range(len(answers))])


def test_own_columns_of_instag() -> None:
    raw = '["Birds", "birds", "Naming"]'
    frame = table(Instag, Answer(raw, "stop", 90, 12), Answer('["A", "B", "C', "length"), Answer(problem="400: no"))
    assert frame["value"].to_list() == [2.0, None, None]
    assert frame["tags"].to_list() == [["birds", "naming"], None, None]
    assert frame["parse"].to_list() == ["json", "repaired", None]
    assert frame["raw_answer"].to_list() == [raw, '["A", "B", "C', None]
    assert frame["finish_reason"].to_list() == ["stop", "length", None]
    assert frame["n_prompt_tokens"].to_list() == [90, None, None]
    assert frame["n_answer_tokens"].to_list() == [12, None, None]
    assert frame["reason"].to_list() == [
        None,
        "the answer was cut at --judge-max-tokens 64 (2 tags so far)",
        "400: no",
    ]
    assert frame["status"].to_list() == ["ok", "failed", "failed"]


def test_own_columns_of_difficulty() -> None:
    frame = table(Difficulty, Answer("7\n\nHard.", "stop", 9, 4), Answer("7\n\nIt", "length"), Answer("Well", "length"))
    assert frame["value"].to_list() == [7.0, None, None]
    assert frame["reason"].to_list()[1:] == [
        "the answer was cut at --judge-max-tokens 64 (it says 7 so far)",
        "the answer was cut at --judge-max-tokens 64 (no number so far)",
    ]
    assert "probability_mass" not in frame.columns


def test_an_answer_nested_too_deeply_has_failed() -> None:
    frame = table(Difficulty, Answer("[" * 900 + '"a", 7' + "]" * 900, "stop"))
    assert frame["value"].to_list() == [None]
    assert "its JSON is nested too deeply" in frame["reason"][0]


def test_corpus_tags() -> None:
    frame = table(
        Instag,
        Answer('["Birds", "Naming", "birds"]', "stop"),
        Answer('["birds", "Travel"]', "stop"),
        Answer("[]", "stop"),
        Answer("sorry", "stop"),
    )
    counted = corpus_tags(frame)
    assert counted.to_dict(as_series=False) == {
        "tag": ["birds", "naming", "travel"],
        "rows": [2, 1, 1],
        "share": [2 / 3, 1 / 3, 1 / 3],
    }
    assert corpus_tags(frame.head(0)).height == 0
    assert corpus_tags(frame.tail(1)).height == 0


@pytest.mark.parametrize("name", BUILTIN_PROMPTS)
def test_the_built_in_prompts_ask_about_every_user_turn_up_to_the_last_answer(name: str) -> None:
    asked = row(
        0,
        ("system", "Be kind."), ("user", "First {{ 1 }}"), ("assistant", "Reply one"), ("user", "Second"),
        ("assistant", "Reply two"), ("user", "Unanswered"),
    )  # fmt: skip
    (message,) = make_prompt(name, None).messages(asked)
    assert message["role"] == "user"
    assert "First {{ 1 }}\nSecond\n" in message["content"]
    assert not any(other in message["content"] for other in ("Unanswered", "Reply", "Be kind", "{%"))


def test_the_built_in_prompts_ask_about_ordinary_rows_in_the_words_they_always_had() -> None:
    """An answer in the cache is found by the digest of what was asked."""
    asked = [make_prompt(name, None).messages(ASKED)[0]["content"] for name in ("instag", "difficulty")]
    assert [hashlib.sha256(text.encode()).hexdigest()[:16] for text in asked] == [
        "47bccd3e10dc17c0",
        "81bcd0909857b809",
    ]


def test_what_a_template_of_ones_own_sees() -> None:
    prompt = Prompt(
        "mine.jinja", "{{ instruction }}|{{ response }}|{% for m in conversation %}{{ m.role[0] }}{% endfor %}"
    )
    asked = row(0, ("system", "S"), ("user", "A"), ("assistant", "1"), ("user", "B"), ("assistant", "2"), ("user", "C"))
    assert prompt.messages(asked)[0]["content"] == "A\nB|2|suaua"
    assert prompt.messages(row(0, ("user", "A")))[0]["content"] == "A||u"
    assert len(prompt.digest) == 16
    assert prompt.digest != make_prompt("instag", None).digest != make_prompt("difficulty", None).digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hi\n{% if %}", "line 2: Expected an expression"),
        ("Hi\n\n{{ instructions }}", "line 3: 'instructions' is not defined. Expected some of instruction,"),
        ("{% if response == 'no' %}\n{{ answer }}{% endif %}", "line 2: 'answer' is not defined"),
        ("{{ instruction.words }}", "line 1: 'str object' has no attribute 'words'"),
        ("\n{{ ''.__class__.__mro__ }}", "line 2: .*unsafe"),
        ("{{ 1 / 0 }}", "line 1: division by zero"),
    ],
)
def test_a_bad_template_is_named_with_its_line(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(GradPrismError, match=rf"mine\.jinja, {words}"):
        make_prompt("instag", str(file))


LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{% for i in range(10**9) %}x{% endfor %}", "line 1: Range too big"),
        pytest.param(LOOPS, ": takes more than 1 s", marks=pytest.mark.slow),  # computes for that second
        pytest.param("Hi\n{{ 10 ** (10 ** 10) }}", ": takes more than 1 s", marks=pytest.mark.slow),
        ("Hi\n{{ 'a' * 2 * 10**9 }}", "line 2: needs more than 1 GB"),
        ("Hi\n{{ 'a'.ljust(2 * 10**9) }}", "line 2: needs more than 1 GB"),
        ("{{ '%2000000000d' % 1 }}", "line 1: needs more than 1 GB"),
        ("{{ 'a' * 20000000 }}", ": makes 20,000,000 characters"),
        ("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "line 1: maximum recursion"),
    ],
)
def test_a_template_that_takes_too_much_is_refused_before_the_first_row(text: str, words: str) -> None:
    began = time.monotonic()
    with pytest.raises(GradPrismError, match=rf"mine\.jinja(, )?{words}"):
        Prompt("mine.jinja", text)
    assert time.monotonic() - began < 8 * SECONDS


def test_a_template_that_takes_too_much_on_one_row_skips_that_row() -> None:
    prompt = Prompt("mine.jinja", "{% if 'bomb' in instruction %}{{ 'a' * 2 * 10**9 }}{% endif %}{{ instruction }}")
    with pytest.raises(RowProblemError, match=r"mine\.jinja, line 1, fails on this row: needs more than 1 GB"):
        prompt.messages(row(0, ("user", "bomb")))
    assert prompt.messages(row(1, ("user", "A bird")))[0]["content"] == "A bird"


def test_a_template_file_that_cannot_be_read_or_is_empty(tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match="expected a readable Jinja file"):
        make_prompt("instag", str(tmp_path / "none.jinja"))
    (tmp_path / "empty.jinja").write_text(" \n")
    with pytest.raises(GradPrismError, match="empty file"):
        make_prompt("instag", str(tmp_path / "empty.jinja"))


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (row(0, problem="no such column"), "no such column"),
        (row(0, ("user", " \n"), ("assistant", "x")), "empty instruction"),
        (row(0, ("assistant", "x")), "empty instruction"),
        (row(0), "empty instruction"),
        (row(0, ("user", "half \ud800"), ("assistant", "x")), "surrogate"),
        (Example(0, "0", (Turn("user", "A"), Turn("assistant", "1", in_loss=False))), "every answer is context"),
    ],
)
def test_rows_that_are_not_asked_about(example: Example, reason: str) -> None:
    with pytest.raises(RowProblemError, match=reason):
        make_prompt("difficulty", None).messages(example)


CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}
CALLING = Example(
    0,
    "0",
    (
        Turn("user", "Two and two?", name="Ann"),
        Turn("assistant", "I will add.", thinking="Use the tool.", tool_calls=(CALL,)),
        Turn("tool", "4"),
        Turn("assistant", "Four.", thinking="It says 4."),
    ),
    tools=({"type": "function", "function": {"name": "add"}},),
)


def test_a_template_is_shown_all_that_a_turn_says() -> None:
    shown = "{% for m in conversation %}[{{ m.role }}{% if m.name is defined %} {{ m.name }}{% endif %}: {{ m.text }}]"
    said = Prompt("mine.jinja", shown + "{% endfor %}{{ response }}").messages(CALLING)[0]["content"]
    call = '{"name": "add", "arguments": {"a": 2}}'
    assert said == (
        f"[user Ann: Two and two?][assistant: Use the tool.\nI will add.\n{call}][tool: 4]"
        "[assistant: It says 4.\nFour.]It says 4.\nFour."
    )


def test_a_template_may_tell_thinking_calls_and_tools_apart() -> None:
    keys = "{% for m in conversation %}{{ m.keys() | sort | join(',') }};{% endfor %}"
    parts = (
        "{{ conversation[1].thinking }}|{{ conversation[1].content }}|{{ conversation[1].tool_calls[0].function.name }}"
    )
    tools = "{% for tool in tools %}{{ tool.function.name }}{% endfor %}"
    prompt = Prompt("mine.jinja", f"{keys}{{% if conversation[1].thinking is defined %}}{parts}{{% endif %}}|{tools}")
    assert prompt.messages(CALLING)[0]["content"] == (
        "content,name,role,text;content,role,text,thinking,tool_calls;content,role,text;content,role,text,thinking;"
        "Use the tool.|I will add.|add|add"
    )


def test_the_answer_judged_is_the_last_one_in_the_loss() -> None:
    turns = (
        Turn("user", "A"), Turn("assistant", "1"), Turn("user", "B"), Turn("assistant", "2", in_loss=False),
    )  # fmt: skip
    prompt = Prompt("mine.jinja", "{{ instruction }}|{{ response }}|{{ conversation | length }}")
    assert prompt.messages(Example(0, "0", turns))[0]["content"] == "A|1|2"
    first = (Turn("user", "A"), Turn("assistant", "1", in_loss=False), *turns[2:3], Turn("assistant", "2"))
    assert prompt.messages(Example(0, "0", first))[0]["content"] == "A\nB|2|4"


def test_a_template_that_fails_on_one_row_skips_it() -> None:
    prompt = Prompt("mine.jinja", "{{ instruction }}\n{{ conversation[1].content }}")
    with pytest.raises(RowProblemError, match=r"mine\.jinja, line 2, fails on this row"):
        prompt.messages(row(0, ("user", "A")))


@pytest.mark.parametrize("judge", [None, "", "local:"])
def test_no_judge_says_how_to_name_one(judge: str | None, tmp_path: Path) -> None:
    parts = (RequestSettings(), ExecutionSettings(), tmp_path / "a.sqlite", lambda _: None)
    with pytest.raises(GradPrismError, match=r"--metric instag needs a judge.*--judge.*local:MODEL"):
        make_judged(Instag, JudgeSettings(judge=judge), *parts)


def test_making_a_metric_sends_and_writes_nothing(tmp_path: Path) -> None:
    judge = JudgeSettings(judge="m", base_url="http://127.0.0.1:9/v1", temperature=0.5, judge_max_tokens=9)
    parts = (RequestSettings(), ExecutionSettings(), tmp_path / "a.sqlite", lambda _: None)
    metric = make_judged(Difficulty, judge, *parts)
    assert metric.plan([ASKED, row(1)]).rows == 1
    assert metric.identity == {
        "judge.judge": "m", "judge.temperature": 0.5, "judge.judge_max_tokens": 9,
        "judge.template": make_prompt("difficulty", None).digest,
        "judge.reading": 2,
    }  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_a_missing_library_says_how_to_install_it() -> None:
    with pytest.raises(GradPrismError, match=r"pip install 'gradprism\[judge\]'"):
        need("no_such_library_at_all", "judge")
