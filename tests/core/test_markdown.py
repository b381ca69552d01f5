"""Text of data, models and files stays text in the Markdown that is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradprism.core.markdown import code, code_block, inline, table_row, without_html

HARM = {
    "<script>alert(1)</script>": "&lt;script>alert(1)&lt;/script>",
    "<img src=x onerror=y>": "&lt;img src=x onerror=y>",
    "<!-- -->": "&lt;!-- -->",
    "<https://evil.example>": "&lt;https://evil.example>",
    "![p](http://evil.example/pixel.png)": r"![p]\(http://evil.example/pixel.png)",
    "[x](javascript:alert(1))": r"[x]\(javascript:alert(1))",
    "a\n\n# heading\r\n- item": "a  # heading - item",
    "\x1b[31mred\x07\u202e": r"\x1b[31mred\x07\u202e",
    "p <0.001, 1 < 2, a<b>c": "p <0.001, 1 < 2, a&lt;b>c",
    "1.2 [1.1, 1.3] **bold** `code`": "1.2 [1.1, 1.3] **bold** `code`",
}


@pytest.mark.parametrize("text", HARM)
def test_one_line_in_which_nothing_of_the_text_acts(text: str) -> None:
    assert inline(text) == HARM[text]


def test_cells_of_a_table() -> None:
    assert table_row(["a|b\nc", "<b>x</b>", 3, "one<br>two"]) == r"| a\|b c | &lt;b>x&lt;/b> | 3 | one<br>two |"


def test_markdown_of_its_own_lines_has_no_html() -> None:
    assert without_html("- one\n- <iframe>\x00") == "- one\n- &lt;iframe>\\x00"


def test_code_cannot_be_left() -> None:
    assert code("a.jsonl") == "`a.jsonl`"
    assert code("a`<b>`\n") == "`` a`<b>` ``"
    assert code_block("x: 1\n```\n<b>", "yaml") == "````yaml\nx: 1\n```\n<b>\n````"
    assert code_block("gradprism", "sh") == "```sh\ngradprism\n```"


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_one_line_without_html_or_links(text: str) -> None:
    for shown in (inline(text), table_row([text]), code(text)):
        shown.encode()
        assert len(shown.splitlines()) <= 1
    assert "](" not in inline(text)
    assert "<a" not in inline(f"<a{text}")
