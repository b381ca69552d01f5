"""No row larger than `--max-row-bytes` is held: it is left out with its reason, and the rows after it are read."""

import gzip
import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.command import run

from gradprism.core.errors import GradPrismError
from gradprism.data import row_size
from gradprism.data.example_set import open_examples
from gradprism.data.formats import read_file
from gradprism.data.row_size import DEFAULT_ROW_BYTES
from gradprism.data.settings import ReadSettings
from gradprism.measurement.settings import SpectraRecipe

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

SMALL, LARGE = {"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": "x" * 2000}
ROWS = [SMALL, LARGE, SMALL]
MOST = 1000
TOO_LARGE = "more than 1,000 bytes; --max-row-bytes N reads larger rows"


def as_lines(rows: list[dict[str, str]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def as_csv(rows: list[dict[str, str]], cell: str = "{}") -> bytes:
    lines = (f"{row['prompt']},{cell.format(row['completion'])}\n" for row in rows)
    return ("prompt,completion\n" + "".join(lines)).encode()


def as_parquet(rows: list[dict[str, str]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([*rows, *[SMALL] * 9]), file)
    return file.getvalue()


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows", content)
    return file.getvalue()


def records(path: Path, content: bytes, most: int = MOST) -> list[Any]:
    path.write_bytes(content)
    return [record.problem or record.fields for record in read_file(path, most)]


@pytest.mark.parametrize("pack", [("", bytes), (".gz", gzip.compress), (".zst", zstandard.compress), (".zip", zipped)])
def test_a_large_row_is_left_out_and_those_after_it_are_read(
    pack: tuple[str, Callable[[bytes], bytes]], tmp_path: Path
) -> None:
    found = records(tmp_path / f"r.jsonl{pack[0]}", pack[1](as_lines(ROWS)))
    assert found == [SMALL, f"line 2: {TOO_LARGE}", SMALL]
    found = records(tmp_path / f"r.csv{pack[0]}", pack[1](as_csv(ROWS)))
    assert found == [SMALL, f"line 3: {TOO_LARGE}", SMALL]
    if pack[0] in ("", ".gz"):
        found = records(tmp_path / f"r.parquet{pack[0]}", pack[1](as_parquet(ROWS)))
        assert found == [SMALL, f"row 1: {TOO_LARGE}", *[SMALL] * 10]


def test_a_cell_of_many_lines_counts_as_one_row(tmp_path: Path) -> None:
    content = as_csv([SMALL, {"prompt": "a", "completion": "x\n" * 900}, SMALL], '"{}"')
    found = records(tmp_path / "r.csv", content)
    assert found[:2] == [SMALL, f"line 501: {TOO_LARGE}"]
    assert found[-1] != SMALL or len(found) > 3  # where the cell ends is not known any more


def test_an_array_and_objects_end_at_a_large_element(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for content, where in (
        (json.dumps(ROWS), r"element 1 \(counted from 0\)"),
        ("\n".join(json.dumps(row, indent=1) for row in ROWS), r"object 1 \(from 0\), line 5 on"),
    ):
        path.write_text(content)
        read = read_file(path, MOST)
        assert next(read).fields == SMALL
        with pytest.raises(GradPrismError, match=f"r.json: {where}: {TOO_LARGE}. As JSON Lines the rows after it"):
            next(read)


def test_a_parquet_file_of_large_rows_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    pq.write_table(pa.Table.from_pylist([{"prompt": "a", "completion": str(i) * 9000} for i in range(9)]), path)
    with pytest.raises(GradPrismError, match=r"r\.parquet: rows of 9,0\d\d bytes on average, more than 1,000 bytes"):
        list(read_file(path, MOST))


def test_rows_of_a_saved_data_set(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    found = [*open_examples(str(tmp_path / "saved"), ReadSettings(max_row_bytes=MOST))]
    assert [example.problem for example in found] == [None, f"row 1: {TOO_LARGE}", None]


@pytest.mark.parametrize("name", ["r.jsonl.gz", "r.json.gz", "r.csv.gz"])
def test_memory_does_not_grow_with_a_row(name: str, tmp_path: Path) -> None:
    row = {"prompt": "a", "completion": "x" * (30 * 2**20)}
    whole = as_csv([row]) if "csv" in name else json.dumps([row] if ".json." in name else row).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(whole, 6))
    del row, whole
    tracemalloc.start()
    try:
        with pytest.raises(GradPrismError, match="more than 1,048,576 bytes"):
            open_examples(str(path), ReadSettings(max_row_bytes=2**20))
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_white_space_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b" " * 200_000)
    with pytest.raises(GradPrismError, match=r"begins with more than 1,000 bytes of white space, expected rows\."):
        list(read_file(path, MOST))
    monkeypatch.setattr(row_size, "_MOST_EMPTY", 99)
    path.write_bytes(as_lines([SMALL]) + b"\n" * 99 + as_lines([SMALL]))
    assert [record.fields for record in read_file(path, MOST)] == [SMALL, SMALL]
    path.write_bytes(as_lines([SMALL]) + b"\n" * 100 + as_lines([SMALL]))
    with pytest.raises(GradPrismError, match="more than 99 empty lines in a row"):
        list(read_file(path, MOST))


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=8),
    st.integers(20, 90),
)
@settings(deadline=None, max_examples=100)  # fmt: skip
def test_rows_up_to_the_limit_are_read_whole(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], most: int
) -> None:
    path = tmp_path_factory.mktemp("rows") / "r.jsonl"
    lines = [json.dumps({"text": text}, ensure_ascii=False).encode() + b"\n" for text in texts]
    found = records(path, b"".join(lines), most)
    expected = [json.loads(line) if len(line) <= most else None for line in lines]
    assert [each if isinstance(each, dict) else None for each in found] == expected


def test_the_option(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(as_lines(ROWS))
    refused = run("inspect", path, "--max-row-bytes", 20)
    assert refused.returncode == 2
    assert "No row of" in refused.stderr
    assert "line 1: more than 20 bytes; --max-row-bytes N reads larger rows" in refused.stderr
    assert "more than 1,000 bytes" in run("inspect", path, "--max-row-bytes", MOST).stdout
    assert "more than" not in run("inspect", path).stdout


def test_the_limit_decides_nothing_but_the_rows() -> None:
    recipe = SpectraRecipe.from_options(("a",), "out", model="m", max_row_bytes=99)
    assert recipe.read.max_row_bytes == 99
    assert recipe.identity() == SpectraRecipe.from_options(("a",), "out", model="m").identity()
    assert DEFAULT_ROW_BYTES == 64 * 2**20
