"""Rows of strangers: each is an example, or a row with its reason; a file is opened, or is one error."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.command import run
from tests.made_runs import measured_run, scored_run

from gradprism.core.errors import GradPrismError
from gradprism.correlation.correlations import correlate
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

GOOD = '{"instruction": "a", "output": "b"}'
LINES = {
    '{"instruction": "a", "output": "b", "x": NaN}': None,
    '{"instruction": "a", "output": "b", "x": 1e999}': None,
    '{"instruction": "a", "output": "b", "x": ' + "9" * 4000 + "}": None,
    '{"instruction": "a", "output": "b", "x": ' + "9" * 5000 + "}": "is not valid JSON: Exceeds the limit",
    '{"instruction": "a", "output": ' + "[" * 100_000 + "}": "is not valid JSON: maximum recursion depth",
    '{"instruction": "a", "output": ' + "[" * 100 + "1" + "]" * 100 + "}": "a turn of 'output' is of type list",
    '{"instruction": "a", "output": "b", "x": ' + "[" * 900 + "]" * 900 + "}": None,
    '{"messages": [{"role": "user", "content": '
    + "[" * 500
    + "]" * 500
    + "}]}": "lists and objects stand more than 64",
    '{"instruction": "a\\ud800", "output": "b"}': "half of a surrogate pair",
    '{"instruction": "a", "output": "b", "x\\udc00": 1}': None,
    '{"instruction": "a", "output": "b", "output": "c"}': None,
    '{"instruction": "a\\u0000", "output": "b\\u0000"}': None,
    '{"instruction": "a\x00", "output": "b"}': "Invalid control character",
    '\ufeff{"instruction": "a", "output": "b"}': "Unexpected UTF-8 BOM",
    '{"instruction": "\\u001b[31mred\\u0007", "output": "\\u202egnol"}': None,
    '{"instruction": "a", "output": "b", "=1|<b>\\n": 3}': None,
    "[1, 2]": "a JSON list, expected an object",
    "9" * 5000: "is not valid JSON: Exceeds the limit",
    '{"instruction": "a"': "is not valid JSON",
}


def opened(path: Path, content: str | bytes) -> Any:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return open_examples(str(path), ReadSettings())


def problem_of(example: Any) -> str | None:
    return example.problem if example.problem is None else str(example.problem)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n"], ids=repr)
def test_every_row_is_an_example_or_has_its_reason(ending: str, tmp_path: Path) -> None:
    found = [*opened(tmp_path / "rows.jsonl", ending.join([GOOD, *LINES, GOOD]))]
    assert len(found) == len(LINES) + 2
    for example, expected in zip(found[1:-1], LINES.values(), strict=True):
        problem = problem_of(example)
        assert (problem is None) == (expected is None)
        assert (expected or "") in (problem or "")
    assert found[0].problem is found[-1].problem is None


def test_of_a_key_given_twice_the_last_value_is_read_as_in_any_json_reader(tmp_path: Path) -> None:
    (found,) = opened(tmp_path / "rows.jsonl", '{"instruction": "a", "output": "b", "output": "c"}')
    assert [turn.content for turn in found.turns] == ["a", "c"]


def test_the_command_shows_them_as_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([GOOD, *LINES]), encoding="utf-8", errors="surrogatepass")
    ended = run("inspect", path, "--rows-shown", 40)
    assert ended.returncode == 0
    assert ended.stderr == ""
    assert r"\x1b[31mred\x07" in ended.stdout
    assert not {*"\x1b\x07\u202e\x00\r"} & {*ended.stdout}


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb\x07", "-rows", "--help", "a\u202eb", "a'b\"c `d`", "a<b>|c"])
def test_file_names_of_any_characters(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.jsonl"
    path.write_text(GOOD)
    other = tmp_path / f"{name}.txt"
    other.write_text(GOOD)
    for file, status in ((path, 0), (tmp_path / f"{name}.missing.jsonl", 2), (other, 2)):
        ended = run("inspect", file)
        assert ended.returncode == status
        assert not {*"\x1b\x07\u202e"} & {*(ended.stdout + ended.stderr)}
        assert ended.stderr.startswith("gradprism: ") == (status == 2)


def test_a_name_that_begins_with_a_dash_is_given_after_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-rows.jsonl").write_text(GOOD)
    assert run("inspect", "--", "-rows.jsonl").returncode == 0
    assert run("inspect", f".{os.sep}-rows.jsonl").returncode == 0


def test_columns_of_numbers_that_no_table_holds(tmp_path: Path) -> None:
    values = [10**4000, -(10**400), 10**30, *range(20)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"instruction": "a", "output": "b", "x": value}) + "\n" for value in values))
    examples = [*open_examples(str(data), ReadSettings())]
    assert ["x" in example.columns for example in examples[:4]] == [False, False, True, True]
    scored = scored_run(tmp_path / "scored", data, made=[float(i % 7) for i in range(23)])
    assert correlate(scored, ["made", "column:x"]).table["n"].to_list() == [21]
    stored = [{**example.columns} for example in examples]
    measured = measured_run(
        tmp_path / "measured", 23, 2, lambda measure, row, layer, projection: float(row + layer),
        x=[columns.get("x") for columns in stored],
    )  # fmt: skip
    assert correlate(measured, ["length", "column:x"]).table["n"].to_list() == [21]


SCALARS = st.one_of(
    st.none(), st.booleans(), st.floats(), st.integers(), st.just(10**4000),
    st.text(st.characters(exclude_categories=()), max_size=20),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
NAMES = st.sampled_from(
    ["instruction", "input", "output", "messages", "conversations", "system", "tools", "history", "chosen", "rejected",
     "prompt", "response", "role", "content", "from", "value", "id", "documents", "chat_template_kwargs"]
) | st.text(max_size=4)  # fmt: skip
ROWS = st.dictionaries(NAMES, VALUES | st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=3), max_size=5)


def check_opened_or_one_error(path: Path, content: str | bytes) -> None:
    try:
        found = [*opened(path, content)]
    except GradPrismError:
        return
    for example in found:
        example.columns_json.encode()
        assert example.problem or [turn.content.encode() for turn in example.turns]


@given(st.lists(ROWS, min_size=1, max_size=4), st.sampled_from(["\n", "\r\n"]))
@settings(deadline=None, max_examples=40)
def test_any_rows_are_opened_or_are_one_error(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], ending: str
) -> None:
    content = ending.join(json.dumps(row, ensure_ascii=False) for row in [*rows, {"instruction": "a", "output": "b"}])
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    found = open_examples(str(path), ReadSettings())
    assert len(found) == len(rows) + 1 or "\n" in content.replace(ending, "")
    for example in found:
        example.columns_json.encode()


@given(st.binary(max_size=60) | st.text(st.sampled_from('{}[]":,\\un0e9 \n\r\x00\ufefftrfalsinf"'), max_size=60))
@settings(deadline=None, max_examples=80)
def test_any_bytes_are_opened_or_are_one_error(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    for suffix in ("jsonl", "json", "csv"):
        check_opened_or_one_error(tmp_path_factory.getbasetemp() / f"any.{suffix}", content)
