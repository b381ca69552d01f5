"""Rows written and read back: nothing of them changes, and no half of a file is ever seen."""

import datetime
import decimal
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradprism.core.errors import GradPrismError
from gradprism.data.formats import read_file
from gradprism.data.sources import Source
from gradprism.data.writing import arrow_schema, written_whole

Row = dict[str, Any]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def write(path: Path, rows: Sequence[Row], schema: pa.Schema | None = None) -> Path:
    with written_whole(path, schema) as writer:
        for row in rows:
            writer.write(row)
    return path


def found(rows: Sequence[Row]) -> pa.Schema:
    return arrow_schema([Source("objects", "list", lambda: iter(()))], rows)


@pytest.mark.slow  # many cases
@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.text(st.characters(), max_size=5), json_values, max_size=4), max_size=5))
def test_json_lines_hold_any_row_as_it_is(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    path = write(tmp_path_factory.mktemp("rows") / "rows.jsonl", rows)
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line] == rows


def test_what_json_has_no_form_for(tmp_path: Path) -> None:
    row = {
        "when": datetime.datetime(2024, 5, 6, 7, 8, tzinfo=datetime.UTC), "day": datetime.date(2024, 5, 6),
        "price": decimal.Decimal("1.10"), "raw": b"\xff", "array": np.arange(2), "number": np.float32(0.5),
    }  # fmt: skip
    assert json.loads(write(tmp_path / "rows.jsonl", [row]).read_text()) == {
        "when": "2024-05-06T07:08:00+00:00", "day": "2024-05-06", "price": "1.10",
        "raw": "/w==", "array": [0, 1], "number": 0.5,
    }  # fmt: skip
    with pytest.raises(GradPrismError, match="type object has no form in JSON"):
        write(tmp_path / "never.jsonl", [{"x": object()}])
    assert not (tmp_path / "never.jsonl").exists()


def test_parquet_is_the_same_after_many_batches(tmp_path: Path) -> None:
    rows = [
        {"n": i, "turns": [{"role": "user", "content": "x" * i}], "late": None if i < 400 else 1.5} for i in range(600)
    ]
    path = write(tmp_path / "rows.parquet", rows, found(rows))
    assert [record.fields for record in read_file(path)] == rows
    assert pq.read_schema(path).field("late").type == "double"


def test_rows_with_different_columns_share_a_schema(tmp_path: Path) -> None:
    rows = [{"a": 1}, {"b": {"x": 1}}, {"b": {"y": "z"}, "a": 2.5}]
    path = write(tmp_path / "rows.parquet", rows, found(rows))
    assert [record.fields for record in read_file(path)] == [
        {"a": 1.0, "b": None},
        {"a": None, "b": {"x": 1, "y": None}},
        {"a": 2.5, "b": {"x": None, "y": "z"}},
    ]


@pytest.mark.parametrize("values", [[1, "x"], [[1], 2], [2**80], [{"a": 1}, "x"], [True, 3], [{}]])
def test_what_parquet_has_no_column_for(tmp_path: Path, values: list[Any]) -> None:
    rows = [{"a": value} for value in values]
    with pytest.raises(GradPrismError, match=r"ends in \.jsonl"):
        write(tmp_path / "rows.parquet", rows, found(rows))
    assert not [*tmp_path.iterdir()]


def test_what_is_stopped_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("precious")
    with pytest.raises(ZeroDivisionError), written_whole(path, None) as writer:
        writer.write({"a": 1 // 0})
    assert path.read_text() == "precious"
    assert [*tmp_path.iterdir()] == [path]


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match=r"Cannot write .*rows\.jsonl"):
        write(tmp_path / "absent" / "rows.jsonl", [])
