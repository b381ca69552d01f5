"""YAML of strangers is read, or is one line that names the place: never a traceback, never a long wait."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.command import run

from gradprism import GradPrismError
from gradprism.core.settings import read_yaml
from gradprism.core.yaml_text import YamlProblemError, parse_yaml

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
HOSTILE = {
    "limit: 1\nread: 2\nlimit: 3": "line 3: the key 'limit' is given twice, expected once",
    "read:\n  rows: 0:9\n  rows: 0:99": "line 3: the key 'rows' is given twice, expected once",
    "read:\n  day: 2001-13-45": "line 2, read.day: '2001-13-45' is no date",
    "limit: " + "1" * 5000: f"line 1, limit: '{'1' * 40}' is no int",
    "limit: 0x" + "1" * 10_000: f"line 1, limit: an integer of more than 64 bits ('0x{'1' * 38}')",
    "limit: " + ":".join("1" * 3000): f"line 1, limit: an integer of more than 64 bits ('{'1:' * 20}')",
    "limit: !!int ''": "line 1, limit: '' is no int",
    "on: !!bool maybe": "line 1, on: 'maybe' is no bool",
    "day: !!timestamp soon": "line 1, day: 'soon' is no date",
    "[" * 100_000: "line 1: lists and mappings stand more than 32 deep in each other",
    "{a: " * 5000: "line 1: lists and mappings stand more than 32 deep in each other",
    "a0: &a0 [x]\n" + "\n".join(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 99)):
        "line 31, a31: lists and mappings stand more than 32 deep in each other",
    BOMB: "line 5, a4: more than 20,000 values, those of aliases counted where they stand",
    "[" + "x," * 30_000 + "]": "line 1: more than 20,000 values, those of aliases counted where they stand",
    "a: &a [*a]": "line 1, a: an alias stands for the value that it is part of",
    "a: *b": "line 1, column 4: found undefined alias 'b'",
    "? [a]\n: b": "line 1: a key is a list or a mapping, expected text",
    "a: !!python/object/apply:os.system [id]":
        "line 1, column 4: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.system'",
    "a: \x00": "unacceptable character #x0000: special characters are not allowed",
    "a: \ud800": "unacceptable character #xd800: special characters are not allowed",
    "a: 1\n---\nb: 2":
        "line 2, column 1: expected a single document in the stream, but found another document",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20])
def test_hostile_yaml_is_one_line_that_names_the_place(text: str) -> None:
    began = time.process_time()
    with pytest.raises(YamlProblemError) as caught:
        parse_yaml(text)
    message = str(caught.value)
    assert message.startswith(HOSTILE[text])
    assert "\n" not in message
    assert len(message) < 400
    assert time.process_time() - began < 5


def test_aliases_and_merged_mappings_are_read() -> None:
    assert parse_yaml("a: &a {x: 1}\nb:\n  <<: *a\n  y: 2\nc: [*a, *a]\n") == {
        "a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}]
    }  # fmt: skip
    assert parse_yaml("\ufeffa: 1") == {"a": 1}
    assert parse_yaml("") is None


def test_files_of_bytes_that_are_no_text_and_of_any_size(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"verb: spectra\nx: \xff")
    with pytest.raises(GradPrismError, match=r"recipe\.yaml: line 2: byte 0xff is not UTF-8$"):
        read_yaml(path)
    with path.open("wb") as file:
        file.truncate(100 * 2**20)
    with pytest.raises(GradPrismError, match=r"recipe\.yaml: it has more than 1,048,576 bytes$"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("verb: select\nverb: spectra", "recipe.yaml: line 2: the key 'verb' is given twice, expected once"),
        ("verb: spectra\ndata: [x]\nout: o\ncheckpoint: {model: m}\nread: {limit: 1e999}",
         "read.limit: Input should be a valid integer, unable to parse string as an integer (given: '1e999')"),
        ("verb: spectra\ndata: [x]\nout: o\ncheckpoint: {model: m}\nread: {limit: 1.0e+999}",
         "read.limit: Input should be a finite number (given: inf)"),
        ("verb: spectra\nout: " + "x" * 100_000, "data: Field required"),
        (f"verb: {'x' * 1000}", "is not a recipe"),
    ],
)  # fmt: skip
def test_the_command_shows_one_error_and_leaves_with_2(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    for verb in ("run", "study"):
        ended = run(verb, path)
        assert ended.returncode == 2
        assert len(ended.stderr) < 2000
        assert ended.stderr.startswith("gradprism: ")
    assert message in run("run", path).stderr


def test_own_settings_on_the_command_line(tmp_path: Path) -> None:
    for value in ("[", "!!python/name:os.system", "2001-13-45"):
        ended = run("score", "none.jsonl", "--metric", "length", "--out", tmp_path / "o", "--set", f"minimum={value}")
        assert ended.returncode == 2
        assert ended.stderr.startswith(f"gradprism: --set minimum={value}: line 1")


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(exclude_categories=())),
    st.dates().map(str), st.from_regex(r"[0-9:_.xeE+-]{1,30}"), st.just("9" * 5000), st.just("2001-99-99"),
)  # fmt: skip
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS, inner, max_size=4), max_leaves=12
)


@given(st.text(st.sampled_from("ab:-[]{}&*!?|>'\"#%@`,\n \t<0.1x\x00\ud800\ufeff~=")) | st.text())
@settings(deadline=None, max_examples=200)
def test_any_text_is_read_or_is_one_problem(text: str) -> None:
    read_or_one_problem(text)


@given(TREES, st.booleans())
@settings(deadline=None, max_examples=150)
def test_any_structure_is_read_or_is_one_problem(tree: Any, flow: bool) -> None:
    read_or_one_problem(yaml.safe_dump(tree, default_flow_style=flow, allow_unicode=True))


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12))
@settings(deadline=None, max_examples=200)
def test_any_tag_is_read_or_is_one_problem(content: str) -> None:
    for tag in ("int", "float", "bool", "null", "timestamp", "binary", "set", "omap", "pairs", "merge", "seq", "map"):
        read_or_one_problem(f"a: !!{tag} {content}")
        read_or_one_problem(f"? !!{tag} {content}\n: b")


def read_or_one_problem(text: str) -> None:
    problem = ""
    try:
        parse_yaml(text)
    except YamlProblemError as error:
        problem = str(error)
    assert "\n" not in problem
