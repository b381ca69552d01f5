"""A file that is not what its name says is named for what it is; indented objects are read."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gradprism.core.errors import GradPrismError
from gradprism.data import json_files
from gradprism.data.formats import file_format, read_file

LINES = b'{"prompt": "a", "completion": "b"}\n' * 50
TABLE = pa.table({"prompt": ["a"], "completion": ["b"]})
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def made(write: Any) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def zipped(file: io.BytesIO) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("rows.jsonl", LINES)


def arrow(file: io.BytesIO) -> None:
    with pa.ipc.new_file(file, TABLE.schema) as writer:
        writer.write_table(TABLE)


def arrow_stream(file: io.BytesIO) -> None:
    with pa.ipc.new_stream(file, TABLE.schema) as writer:
        writer.write_table(TABLE)


WRONG = {
    "gzip": (gzip.compress(LINES), "gzip-compressed.*ends in .gz"),
    "zstd": (zstandard.compress(LINES), "zstd-compressed.*ends in .zst"),
    "xz": (lzma.compress(LINES), "xz-compressed.*ends in .xz"),
    "bz2": (bz2.compress(LINES), "bzip2-compressed.*ends in .bz2"),
    "zip": (made(zipped), "zip archive.*ends in .zip"),
    "Parquet": (made(lambda file: pq.write_table(TABLE, file)), "a Parquet file.*ends in .parquet"),
    "Arrow": (made(arrow), "an Arrow file.*`datasets` folder"),
    "Arrow stream": (made(arrow_stream), "an Arrow stream"),
    "LFS": (LFS, "Git LFS pointer.*git lfs pull"),
    "HTML": (b"\n<!DOCTYPE html><html><body>404</body></html>", "HTML page.*download the file again"),
    "NumPy": (made(lambda file: np.save(file, np.zeros(3))), "a NumPy array"),
    "pickle": (pickle.dumps([{"prompt": "a"}]), "a Python pickle"),
}


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".tsv"])
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_ending_is_told_in_one_line(kind: str, suffix: str, tmp_path: Path) -> None:
    content, said = WRONG[kind]
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(content)
    with pytest.raises(GradPrismError, match=rf"rows\{suffix} is {said}|rows\{suffix} is a.*{said}") as error:
        list(read_file(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [kind for kind in WRONG if kind != "Parquet"])
def test_what_is_no_parquet_file_is_named_too(kind: str, tmp_path: Path) -> None:
    content, said = WRONG[kind]
    path = tmp_path / "rows.parquet"
    path.write_bytes(content)
    with pytest.raises(GradPrismError, match=rf"not a readable Parquet file: it is .*{said}"):
        list(read_file(path))


def test_what_was_compressed_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(gzip.compress(LINES)))
    with pytest.raises(GradPrismError, match="is gzip-compressed"):
        list(read_file(path))


# Indented objects, one after the other


def streamed(path: Path, rows: Any, indent: int = 2, end: str = "\n") -> Path:
    path.write_bytes("".join(json.dumps(row, indent=indent, ensure_ascii=False) + end for row in rows).encode())
    return path


ROWS = [{"prompt": f"é {i} {{", "completion": ["}\n{", {"a": i}]} for i in range(5)]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("end", ["\n", "", "\r\n\n", " "])
def test_indented_objects_are_read_with_their_places(suffix: str, end: str, tmp_path: Path) -> None:
    path = streamed(tmp_path / f"rows{suffix}", ROWS, end=end)
    assert file_format(path) == "JSON objects"
    records = list(read_file(path))
    assert [record.fields for record in records] == ROWS
    text = path.read_bytes().decode()
    lines = [record.where for record in records]
    starts, at = [], 0
    for row in ROWS:
        at = text.index(json.dumps(row, indent=2, ensure_ascii=False), at)
        starts.append(f"line {text.count(chr(10), 0, at) + 1}")
        at += 1
    assert lines == starts


@given(
    st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=8) | st.integers(), max_size=3), min_size=1),
    st.integers(1, 50),
)
@settings(deadline=None, max_examples=60)
def test_any_indented_objects_come_back_wherever_the_chunks_split(rows: list[dict[str, Any]], chunk: int) -> None:
    rows = [{"first": 1}, *rows]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_files, "_CHUNK", chunk)
        path = streamed(Path(folder) / "rows.json", rows)
        assert [record.fields for record in read_file(path)] == rows


def test_a_broken_object_is_named_and_the_rows_before_it_are_read(tmp_path: Path) -> None:
    path = streamed(tmp_path / "rows.json", ROWS[:2])
    path.write_text(path.read_text(encoding="utf-8") + '{\n "a": 1\n "b": 2\n}\n', encoding="utf-8")
    records = read_file(path)
    assert [next(records).fields, next(records).fields] == ROWS[:2]
    n_lines = sum(len(json.dumps(row, indent=2).splitlines()) for row in ROWS[:2])
    with pytest.raises(GradPrismError, match=rf"object 2 \(from 0\), line {n_lines + 1} on"):
        next(records)


def test_json_lines_with_a_first_line_that_is_cut_short_stay_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1, \n{"a": 2}\n{"a": 3}\n', encoding="utf-8")
    assert file_format(path) == "JSON Lines"
    assert [record.fields for record in read_file(path)] == [None, {"a": 2}, {"a": 3}]


@pytest.mark.parametrize(("offset", "value", "says"), [(6, 1, "is encrypted"), (8, 99, "is not supported")])
def test_a_zip_archive_that_python_cannot_unpack_says_so(offset: int, value: int, says: str, tmp_path: Path) -> None:
    content = bytearray(made(zipped))
    content[offset] = content[content.index(b"PK\x01\x02") + offset + 2] = value
    path = tmp_path / "rows.jsonl.zip"
    path.write_bytes(content)
    with pytest.raises(GradPrismError, match=rf"Cannot read .*{says}.*\. Unpack it and give the file\."):
        file_format(path)
