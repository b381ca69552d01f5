"""inspect: how rows are read, what is not used, and the rows that are unlike the others."""

import io
import json
from pathlib import Path
from typing import Any

from tests.command import run

from gradprism.core.console import HarmlessConsole
from gradprism.data.example import Example, Turn
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.inspection.api import Inspection, inspect
from gradprism.inspection.render import inspection_of
from gradprism.inspection.unusual_rows import UnusualRows


def looked(rows: list[dict[str, Any]], show: int = 3) -> Inspection:
    return inspect(rows, None, ReadSettings(), TextSettings(), show)


def printed(found: Inspection) -> str:
    console = HarmlessConsole(file=io.StringIO(), width=80)
    console.print(inspection_of(found, colour=False))
    assert isinstance(console.file, io.StringIO)
    output = console.file.getvalue()
    assert max(map(len, output.splitlines())) <= 80
    return output


PAIRS = [{"prompt": f"Number {i}?", "completion": f"It is {i}, of course."} for i in range(6)]
CALL = {"role": "assistant", "content": None, "tool_calls": [{"name": "clock", "arguments": {"zone": "CET"}}]}


def test_columns_that_are_not_used_are_listed_nested_ones_too() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "score": 3}]
    found = looked([*PAIRS, {"messages": turns, "meta": {"url": "x"}, "kind": "web", "rejected_response": "c"}])
    output = printed(found)
    assert "messages[].score (1 row)" in output
    assert "meta (1 row)" in output
    assert "rejected_response (1 row)" in output
    assert "kind" not in output.split("not used")[1].split("╭")[0]
    assert "prompt / completion, from prompt, completion: 6 rows" in output
    assert "messages (list of turns), from messages: 1 row" in output


def test_unusual_rows_are_shown_beyond_the_first_with_the_reason() -> None:
    rows = [
        *PAIRS,
        {"messages": [{"role": "user", "content": "Time?"}, CALL, {"role": "tool", "content": "6"},
                      {"role": "assistant", "content": "It is six o'clock here."}]},
        {"prompt": "Ok?", "completion": "Yes."},
        {"messages": [{"role": "wizard", "content": "x"}]},
        *PAIRS,
    ]  # fmt: skip
    found = looked(rows)
    assert [item.example.row for item in found.shown] == [0, 1, 2]
    assert [(why, item.example.row) for why, item in found.unusual] == [
        ("shortest answer: 4 characters", 7), ("a tool turn, tool calls", 6), (found.unusual[2][0], 8),
    ]  # fmt: skip
    assert "unknown role 'wizard'" in str(found.unusual[2][1].problem)
    output = printed(found)
    assert 'assistant: {"name": "clock", "arguments": {"zone": "CET"}}' in output
    assert "unusual: shortest answer: 4 characters" in output
    assert not looked(rows, show=0).unusual


def test_thinking_and_turns_out_of_the_loss_are_shown() -> None:
    turns = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "5", "weight": 0}]
    turns += [{"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "4", "thinking": "count"}]
    tools = [{"name": "clock", "parameters": {}}]
    output = printed(looked([{"messages": turns, "tools": tools, "chat_template_kwargs": {"enable_thinking": True}}]))
    for words in (
        "assistant (not in the loss): 5",
        "assistant: count",
        'tools: [{"type": "function"',
        "enable_thinking",
    ):
        assert words in output


def test_the_first_rows_are_not_found_strange_again() -> None:
    strange = UnusualRows(5)
    turns = (Turn("user", "a"), Turn("assistant", "bb"))
    strange.add(Example(3, "3", turns), None, None)
    strange.add(Example(4, "4", turns), None, "torn")
    assert [(why, example.row) for why, example in strange.found()] == [
        ("shortest answer: 2 characters", 3), ("skipped: torn", 4),
    ]  # fmt: skip


def test_harmful_text_in_every_place_reaches_the_terminal_as_text(tmp_path: Path) -> None:
    harm = "\x1b[2J\u202e\x00[bold]\x07\x0c\r"  # the last three are what rich drops from a text
    rows = [
        {"id": harm, "prompt": harm, "completion": harm, harm: harm},
        {"id": "2", "prompt": "half \ud83d", "completion": "x"},
        {"id": "\ud83d", "messages": [{"role": harm, "content": "x", harm: 1}]},
        {"messages": [{"role": "user", "content": "x", harm: 1}, {"role": "assistant", "content": harm}]},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for options in ((), ("--model", "smollm2-135m")):
        done = run("inspect", path, *options)
        assert done.returncode == 0, done.stderr
        assert not {*"\x1b\u202e\x00\x07\x0c\r"} & {*done.stdout}
        assert r"\x1b[2J\u202e\x00[bold]\x07\x0c\x0d" in done.stdout
        assert "half of a surrogate pair" in done.stdout


def test_errors_are_harmless_too(tmp_path: Path) -> None:
    done = run("inspect", tmp_path / "gone\x1b[2J.jsonl")
    assert done.returncode == 2
    assert r"gone\x1b[2J.jsonl" in done.stderr
