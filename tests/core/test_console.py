"""What data hold reaches the terminal as text, and never acts on it."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Group
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text
from tests.command import run

from gradprism.core.console import HarmlessConsole, escaped
from gradprism.core.terminal_tables import plain_table, summary_table

HARM = "\x1b[31mred\x1b[0m \x1b]0;owned\x07 \u202egnol\u2066 \x00 \x9b2J \r \ud83d \u2028 [bold]x[/bold] :smile:"
SAFE = r"\x1b[31mred\x1b[0m \x1b]0;owned\x07 \u202egnol\u2066 \x00 \x9b2J \x0d \ud83d \u2028 [bold]x[/bold] :smile:"


def printed(*renderables: object, width: int = 200, **options: object) -> str:
    console = HarmlessConsole(file=io.StringIO(), width=width, **options)
    console.print(*renderables)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_escapes_are_written_out() -> None:
    assert escaped(HARM) == SAFE
    assert escaped("line\n\ttab é 👨‍👩‍👧 漢") == "line\n\ttab é 👨‍👩‍👧 漢"
    assert escaped("\U000e0041") == r"\U000e0041"


def test_text_tables_panels_and_titles_are_harmless() -> None:
    table = plain_table(HARM, ["a", HARM])
    table.add_row(HARM, Text(HARM))
    for renderable in (HARM, Text(HARM), table, Panel(Text(HARM), title=Text(HARM)), Group(HARM, Padding(HARM, 1)),
                       summary_table([("name", HARM)])):  # fmt: skip
        output = printed(renderable)
        output.encode()
        assert r"\x1b[31mred\x1b[0m" in output
        assert "[bold]x[/bold] :smile:" in output
        assert not {*"\x1b\x07\u202e\u2066\x00\x9b\ud83d\u2028\r"} & {*output}


def test_the_style_of_a_character_is_that_of_its_escape() -> None:
    text = Text.assemble("a", ("\x1bb", "bold"), "\x00c")
    output = printed(text, force_terminal=True, color_system="standard")
    assert output == "a\x1b[1m\\x1b\x1b[0m\x1b[1mb\x1b[0m\\x00c\n"


def test_a_panel_keeps_its_sides() -> None:
    lines = printed(Panel(Text("\x1b" * 30 + "\u202e" * 30), title=Text("\x1b" * 9)), width=40).splitlines()
    assert {len(line) for line in lines} == {40}


@pytest.mark.slow  # many cases
@given(st.text(st.characters(exclude_categories=())))
@settings(deadline=None, max_examples=200)
def test_any_text_can_be_printed(text: str) -> None:
    output = printed(Panel(Text(text), title=text), summary_table([(text, text)]))
    output.encode()
    assert not any(ord(letter) < 32 and letter not in "\n\t" for letter in output)


@pytest.mark.parametrize("word", ["\x1b[31mverb", "--\x1b[31m=3", "--rows=\x1b\x9b", "--sample=\x1b\u202e"])
def test_words_of_the_command_line_in_errors_are_harmless(word: str) -> None:
    for words in ([word], ["inspect", "none.jsonl", word]):
        ended = run(*words)
        assert ended.returncode != 0
        assert not {*"\x1b\x9b\u202e"} & {*(ended.stdout + ended.stderr)}


@pytest.mark.parametrize("text", ["[/bold]", "[link=x]y", "[", "[[b]]"])
def test_markup_in_data_is_text(text: str) -> None:
    table = plain_table("t", ["a"])
    table.add_row(text)
    assert text in printed(table)
    assert text in printed(text)
