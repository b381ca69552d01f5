"""CSV that a spreadsheet opens without computing what stands in it; numbers stay numbers."""

import csv
import io

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradprism.files.csv_tables import csv_bytes

FORMULAS = ("=1+1", '=HYPERLINK("http://evil.example")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1")


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_a_spreadsheet_would_compute_gets_a_quote_in_front(text: str) -> None:
    table = pl.DataFrame({"group": [text, "a=b", ""], text: [-0.5, 1.0, None], "list": [[text], ["b", "c"], None]})
    rows = [*csv.reader(io.StringIO(csv_bytes(table).decode(), newline=""))]
    assert rows[0] == ["group", f"'{text}", "list"]
    assert rows[1] == [f"'{text}", "-0.5", f"'{text}"]
    assert rows[2] == ["a=b", "1.0", "b c"]


def test_numbers_flags_and_lists_of_numbers_are_as_they_are() -> None:
    table = pl.DataFrame({"gap": [-0.5, None], "n": [-3, 4], "flag": [True, False], "layers": [[-1, 2], []]})
    assert csv_bytes(table) == b'gap,n,flag,layers\n-0.5,-3,true,-1 2\n,4,false,""\n'


def test_categories_are_text() -> None:
    table = pl.DataFrame(
        {"c": pl.Series(["=1", "b"], dtype=pl.Categorical), "e": pl.Series(["@a", "b"], dtype=pl.Enum(["@a", "b"]))}
    )
    assert csv_bytes(table) == b"c,e\n'=1,'@a\nb,b\n"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_no_cell_of_any_text_begins_a_formula(texts: list[str]) -> None:
    rows = csv.reader(io.StringIO(csv_bytes(pl.DataFrame({"text": texts})).decode(), newline=""))
    for row, text in zip([*rows][1:], texts, strict=False):
        assert not "".join(row).startswith(tuple("=+-@\t\r"))
        assert "".join(row) in (text, f"'{text}")
