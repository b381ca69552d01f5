"""Every format gives the same rows; whatever is wrong with a file is said, and costs no other row."""

import bz2
import csv
import gzip
import io
import json
import lzma
import math
import random
import tempfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gradprism.core.errors import GradPrismError
from gradprism.data import json_files
from gradprism.data.formats import file_format, read_file

Rows = Sequence[dict[str, Any]]

ROWS = [
    {"instruction": "commas, ; | and\ttabs", "output": "[brackets] {braces}"},
    {"instruction": 'quotes " and \\" and \\', "output": "two\nlines\r\nand a third"},
    {"instruction": "ünïcödé 漢字", "output": "an astral letter: 😀 𝔘"},
    {"instruction": "'single' and trailing comma,", "output": ""},
    {"instruction": "separators \u2028 \u2029 \x85 of lines", "output": "]},[{"},
]


def as_json_array(rows: Rows) -> bytes:
    return json.dumps(list(rows), ensure_ascii=False).encode()


def as_json_lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_parquet(rows: Rows) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(list(rows)).write_parquet(file)
    return file.getvalue()


def as_separated(rows: Rows, delimiter: str = ",") -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def as_zip(content: bytes, *names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("rows",):
            archive.writestr(name, b"" if name.endswith("/") else content)
    return file.getvalue()


WRITERS: dict[str, Callable[[Rows], bytes]] = {
    ".json": as_json_array,
    ".jsonl": as_json_lines,
    ".ndjson": as_json_lines,
    ".parquet": as_parquet,
    ".pq": as_parquet,
    ".csv": as_separated,
    ".tsv": lambda rows: as_separated(rows, "\t"),
}
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
    ".zip": as_zip,
}


def saved(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(path: Path) -> list[Any]:
    """Rows of a file in which every row is readable."""
    records = list(read_file(path))
    assert [record.problem for record in records if record.problem] == []
    return [record.fields for record in records]


def good_and_bad(path: Path) -> tuple[list[Any], list[str]]:
    records = list(read_file(path))
    good = [record.fields for record in records if record.problem is None]
    return good, [record.problem for record in records if record.problem is not None]


# The same rows from every format


@pytest.mark.parametrize("compression", COMPRESSORS)
@pytest.mark.parametrize("suffix", WRITERS)
def test_the_same_rows_are_read_from_every_format(suffix: str, compression: str, tmp_path: Path) -> None:
    content = COMPRESSORS[compression](WRITERS[suffix](ROWS))
    assert rows_of(saved(tmp_path, f"rows{suffix}{compression}", content)) == ROWS


@pytest.mark.parametrize("name", ["ROWS.JSON.GZ", "rows.v1.2.json.gz", "50% [a] #1 *.json.gz", "größe 漢.json.gz"])
def test_unusual_file_names_are_read(name: str, tmp_path: Path) -> None:
    assert rows_of(saved(tmp_path, name, gzip.compress(as_json_array(ROWS)))) == ROWS


def test_a_file_name_with_two_colons_is_no_chain_of_file_systems(tmp_path: Path) -> None:
    assert rows_of(saved(tmp_path, "a::b.json", as_json_array(ROWS))) == ROWS


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".tsv"])
def test_a_byte_order_mark_is_dropped(suffix: str, tmp_path: Path) -> None:
    assert rows_of(saved(tmp_path, f"rows{suffix}", b"\xef\xbb\xbf" + WRITERS[suffix](ROWS))) == ROWS


@pytest.mark.parametrize(
    ("content", "named"),
    [('[{"a": 1}]', "JSON array"), (' \n\t [{"a": 1}]', "JSON array"), ('{"a": 1}\n', "JSON Lines")],
)
def test_json_is_told_apart_by_its_first_character(content: str, named: str, tmp_path: Path) -> None:
    path = saved(tmp_path, "rows.json", content)
    assert file_format(path) == named
    assert rows_of(path) == [{"a": 1}]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_nan_and_infinity_as_python_writes_them_are_read(suffix: str, tmp_path: Path) -> None:
    rows = [{"a": math.nan}, {"a": math.inf}, {"a": [-math.inf, 1.5]}]
    first, second, third = rows_of(saved(tmp_path, f"rows{suffix}", WRITERS[suffix](rows)))
    assert math.isnan(first["a"])
    assert (second, third) == (rows[1], rows[2])


def test_a_list_a_null_and_a_number_keep_their_types(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "a"}], "n": 3, "x": 0.5, "none": None, "yes": True}]
    read = {suffix: rows_of(saved(tmp_path, f"rows{suffix}", WRITERS[suffix](rows))) for suffix in (".json", ".jsonl")}
    assert read == {".json": rows, ".jsonl": rows}
    assert rows_of(saved(tmp_path, "rows.parquet", as_parquet(rows))) == rows


# A JSON array, element by element


def test_elements_longer_than_the_chunk_are_read_whole(tmp_path: Path) -> None:
    rows = [{"text": "é😀[,]" * 100_000}, {"text": "short"}, {"text": '"\\' * 200_000}, {"text": "end"}]
    assert rows_of(saved(tmp_path, "rows.json", as_json_array(rows))) == rows


def test_an_empty_array_has_no_rows(tmp_path: Path) -> None:
    assert rows_of(saved(tmp_path, "rows.json", " [ \n ] \n")) == []


def test_white_space_before_the_array_may_be_longer_than_a_chunk(tmp_path: Path) -> None:
    assert rows_of(saved(tmp_path, "rows.json", " " * 70_000 + '[{"a": 1}]')) == [{"a": 1}]


def test_surrogate_pairs_are_joined_and_lone_surrogates_are_kept(tmp_path: Path) -> None:
    content = r'[{"a": "\ud83d\ude00"}, {"a": "\ud83d"}, {"a": "\ude00\ud83d"}]'
    assert rows_of(saved(tmp_path, "rows.json", content)) == [{"a": "😀"}, {"a": "\ud83d"}, {"a": "\ude00\ud83d"}]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.one_of(
    texts, st.integers(), st.floats(allow_nan=False), st.booleans(), st.none(), st.lists(texts, max_size=2)
)
json_rows = st.lists(st.dictionaries(texts, values, max_size=3), min_size=1, max_size=5)


@given(rows=json_rows, chunk=st.integers(1, 40), escaped=st.booleans(), indent=st.sampled_from([None, 0, 3]))
@example(rows=[{"😀": '\\"😀]},{'}, {"": -math.inf}], chunk=1, escaped=True, indent=None)
@settings(deadline=None, max_examples=120)
@pytest.mark.slow
def test_any_json_array_comes_back_wherever_the_chunks_split(
    rows: Rows, chunk: int, escaped: bool, indent: int | None
) -> None:
    text = json.dumps(rows, ensure_ascii=escaped, indent=indent)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_files, "_CHUNK", chunk)
        assert rows_of(saved(Path(folder), "rows.json", text)) == rows


@given(rows=json_rows, ending=st.sampled_from(["\n", "\r\n", "\n\n"]), escaped=st.booleans())
@settings(deadline=None, max_examples=60)
def test_any_json_lines_come_back(rows: Rows, ending: str, escaped: bool) -> None:
    text = ending.join(json.dumps(row, ensure_ascii=escaped) for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        assert rows_of(saved(Path(folder), "rows.jsonl", text)) == rows


# One bad row costs that row


def test_a_truncated_json_line_is_one_problem_and_the_others_are_read(tmp_path: Path) -> None:
    path = saved(tmp_path, "rows.jsonl", '{"a": 1}\n\n{"a": "tru\n{"a": 3}\n')
    good, bad = good_and_bad(path)
    assert good == [{"a": 1}, {"a": 3}]
    assert len(bad) == 1
    assert bad[0].startswith("line 3 ")


@pytest.mark.parametrize("row", ["5", '"text"', "[1, 2]", "null", "NaN"])
def test_a_row_that_is_no_object_is_a_problem_in_its_place(row: str, tmp_path: Path) -> None:
    for name, content in (
        ("a.jsonl", f'{{"a": 1}}\n{row}\n{{"a": 3}}'),
        ("a.json", f'[{{"a": 1}}, {row}, {{"a": 3}}]'),
    ):
        records = list(read_file(saved(tmp_path, name, content)))
        assert [record.fields for record in records] == [{"a": 1}, None, {"a": 3}]
        assert "expected an object" in str(records[1].problem)


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("rows.jsonl", b'{"a": "1"}\n{"a": "caf\xe9"}\n{"a": "3"}\n', "line 2"),
        ("rows.json", b'[{"a": "1"}, {"a": "caf\xe9"}, {"a": "3"}]', "element 1"),
        ("rows.csv", b"a\n1\ncaf\xe9\n3\n", "line 3"),
        ("rows.tsv", b"a\n1\ncaf\xe9\n3\n", "line 3"),
    ],
)
def test_bytes_that_are_not_utf8_cost_their_row_alone(name: str, content: bytes, place: str, tmp_path: Path) -> None:
    good, bad = good_and_bad(saved(tmp_path, name, content))
    assert good == [{"a": "1"}, {"a": "3"}]
    assert len(bad) == 1
    assert place in bad[0]
    assert "0xe9" in bad[0]


def test_csv_rows_with_the_wrong_number_of_cells_are_problems(tmp_path: Path) -> None:
    good, bad = good_and_bad(saved(tmp_path, "rows.csv", "a,b\n1,2\n3\n\n4,5,6\n7,8\n"))
    assert good == [{"a": "1", "b": "2"}, {"a": "7", "b": "8"}]
    assert bad == ["line 3: 1 cells, the header names 2", "line 5: 3 cells, the header names 2"]


def test_a_misplaced_quote_costs_its_csv_row_alone(tmp_path: Path) -> None:
    good, bad = good_and_bad(saved(tmp_path, "rows.csv", 'a,b\n"1"x,2\n3,4\n'))
    assert good == [{"a": "3", "b": "4"}]
    assert len(bad) == 1
    assert bad[0].startswith("line 2")


@pytest.mark.parametrize(
    "row", ['{"a": ' + "1" * 5000 + "}", '{"a": ' + "[" * 100_000 + "}"], ids=["a huge integer", "deep nesting"]
)
def test_json_that_python_refuses_costs_its_line_alone(row: str, tmp_path: Path) -> None:
    good, bad = good_and_bad(saved(tmp_path, "rows.jsonl", f'{{"a": 1}}\n{row}\n{{"a": 3}}\n'))
    assert good == [{"a": 1}, {"a": 3}]
    assert len(bad) == 1
    assert bad[0].startswith("line 2 ")


# A file that cannot be read


@pytest.mark.parametrize("rest", ['{"a": ', '{"a": 2}', '{"a": 2} {"a": 3}]', '{"a": "open]', "nul]", "{'a': 2}]", ""])
def test_a_broken_json_array_names_the_element(rest: str, tmp_path: Path) -> None:
    records = read_file(saved(tmp_path, "rows.json", '[{"a": 1}, ' + rest))
    assert next(records).fields == {"a": 1}
    with pytest.raises(GradPrismError, match="element 1 "):
        next(records)


@pytest.mark.parametrize("element", ["1" * 5000, "[" * 100_000], ids=["a huge integer", "deep nesting"])
def test_an_array_element_that_python_refuses_is_named(element: str, tmp_path: Path) -> None:
    records = read_file(saved(tmp_path, "rows.json", '[{"a": 1}, {"a": ' + element + "}]"))
    assert next(records).fields == {"a": 1}
    with pytest.raises(GradPrismError, match="element 1 "):
        next(records)


@pytest.mark.parametrize("rest", ['[{"a": 2}]', "garbage"])
def test_text_after_the_array_is_not_passed_over(rest: str, tmp_path: Path) -> None:
    path = saved(tmp_path, "rows.json", '[{"a": 1}]\n' + rest)
    with pytest.raises(GradPrismError, match="after"):
        list(read_file(path))


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_utf16_file_is_told_to_be_converted(suffix: str, encoding: str, tmp_path: Path) -> None:
    content = ("" if encoding == "utf-16" else "\ufeff") + WRITERS[suffix](ROWS).decode()
    with pytest.raises(GradPrismError, match="UTF-16"):
        list(read_file(saved(tmp_path, f"rows{suffix}", content.encode(encoding))))


@pytest.mark.parametrize("content", [b"", b" \n\n\t", b"\xef\xbb\xbf"], ids=["nothing", "white space", "a BOM"])
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv", "rows.tsv", "rows.json.gz"])
def test_an_empty_file_is_said_to_be_empty(name: str, content: bytes, tmp_path: Path) -> None:
    stored = gzip.compress(content) if name.endswith(".gz") else content
    with pytest.raises(GradPrismError, match="empty"):
        list(read_file(saved(tmp_path, name, stored)))


@pytest.mark.parametrize("name", ["gone.json", "gone.jsonl.gz", "gone.parquet", "gone.csv.zip"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match=f"No such file.*{name}"):
        list(read_file(tmp_path / name))


@pytest.mark.parametrize("name", ["rows.txt", "rows", "rows.gz", "rows.xlsx.zip", ".json"])
def test_an_unknown_suffix_lists_the_known_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match=r"\.jsonl.*\.parquet"):
        list(read_file(saved(tmp_path, name, as_json_array(ROWS))))


ARCHIVES = [suffix for suffix in COMPRESSORS if suffix]


@pytest.mark.parametrize("compression", ARCHIVES)
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_an_archive_that_is_none_is_one_clear_error(suffix: str, compression: str, tmp_path: Path) -> None:
    name = f"rows{suffix}{compression}"
    with pytest.raises(GradPrismError, match=name):
        list(read_file(saved(tmp_path, name, WRITERS[suffix](ROWS))))


def many_rows() -> Rows:
    letters = random.Random(0)
    return [{"text": "".join(letters.choices("abcdefgh \n", k=200))} for _ in range(2000)]


@pytest.mark.parametrize("compression", ARCHIVES)
def test_an_archive_damaged_in_the_middle_is_one_clear_error(compression: str, tmp_path: Path) -> None:
    content = bytearray(COMPRESSORS[compression](as_json_lines(many_rows())))
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    with pytest.raises(GradPrismError, match="Cannot read"):
        list(read_file(saved(tmp_path, f"rows.jsonl{compression}", bytes(content))))


@pytest.mark.parametrize("compression", ARCHIVES)
@pytest.mark.slow
def test_an_archive_that_ends_too_early_is_not_taken_for_whole(compression: str, tmp_path: Path) -> None:
    content = COMPRESSORS[compression](as_json_lines(many_rows()))
    with pytest.raises(GradPrismError, match="Cannot read"):
        list(read_file(saved(tmp_path, f"rows.jsonl{compression}", content[: len(content) // 2])))


@pytest.mark.parametrize("compression", [".gz", ".bz2", ".xz", ".zst"])
def test_archives_put_one_after_the_other_are_read_to_the_end(compression: str, tmp_path: Path) -> None:
    content = COMPRESSORS[compression](as_json_lines(ROWS))
    assert rows_of(saved(tmp_path, f"rows.jsonl{compression}", content + content)) == [*ROWS, *ROWS]


def test_the_one_file_of_a_zipped_folder_is_read(tmp_path: Path) -> None:
    assert rows_of(saved(tmp_path, "rows.jsonl.zip", as_zip(as_json_lines(ROWS), "data/", "data/rows.jsonl"))) == ROWS


def test_a_zip_of_several_files_is_refused_rather_than_read_in_part(tmp_path: Path) -> None:
    path = saved(tmp_path, "rows.jsonl.zip", as_zip(as_json_lines(ROWS), "a.jsonl", "b.jsonl"))
    with pytest.raises(GradPrismError, match=r"rows\.jsonl\.zip"):
        list(read_file(path))


def test_an_empty_zip_is_an_error(tmp_path: Path) -> None:
    file = io.BytesIO()
    zipfile.ZipFile(file, "w").close()
    with pytest.raises(GradPrismError, match=r"rows\.jsonl\.zip"):
        list(read_file(saved(tmp_path, "rows.jsonl.zip", file.getvalue())))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1nonsensePAR1", as_json_array(ROWS), as_parquet(ROWS)[:-20]])
def test_a_parquet_file_that_is_none_is_an_error(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match="not a readable Parquet file"):
        list(read_file(saved(tmp_path, "rows.parquet", content)))


def test_a_parquet_file_with_text_that_is_not_utf8_is_no_bare_exception(tmp_path: Path) -> None:
    buffers = [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
    pq.write_table(pa.table({"a": pa.Array.from_buffers(pa.string(), 1, buffers)}), tmp_path / "rows.parquet")
    assert_read_or_refused(tmp_path / "rows.parquet")


def test_a_parquet_file_with_a_far_date_is_no_bare_exception(tmp_path: Path) -> None:
    far = pa.array([10**15], pa.timestamp("ms"))  # the year 33658, which Python's datetime does not reach
    pq.write_table(pa.table({"a": ["x"], "when": far}), tmp_path / "rows.parquet")
    assert_read_or_refused(tmp_path / "rows.parquet")


def assert_read_or_refused(path: Path) -> None:
    with suppress(GradPrismError):
        assert len(list(read_file(path))) == 1


def test_a_csv_header_with_a_misplaced_quote_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match=r"rows\.csv"):
        list(read_file(saved(tmp_path, "rows.csv", '"a"x,b\n1,2\n')))


def test_a_csv_header_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match="UTF-8"):
        list(read_file(saved(tmp_path, "rows.csv", "größe,b\n1,2\n".encode("latin-1"))))


# Memory and time


@pytest.mark.slow  # large files
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet", ".jsonl.gz"])
def test_memory_does_not_grow_with_the_file(suffix: str, tmp_path: Path) -> None:
    """60 MB of rows of 4 kB are read in less than 6 MB, the decoders' own buffers included."""
    path = tmp_path / f"rows{suffix}"
    write_large(path, n_rows=15_000)
    tracemalloc.start()
    try:
        n_rows = sum(record.problem is None for record in read_file(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n_rows == 15_000
    assert peak < 6_000_000


def write_large(path: Path, n_rows: int) -> None:
    row = {"instruction": "what, then? " * 100, "output": "é[ab]" * 560}
    if path.suffix == ".parquet":
        batch = pa.Table.from_pylist([row] * 500)
        with pq.ParquetWriter(path, batch.schema) as writer:
            for _ in range(n_rows // 500):
                writer.write_table(batch)
        return
    if path.suffix == ".csv":
        header, _, line = as_separated([row]).partition(b"\n")
        pieces = [header + b"\n", *[line * 100] * (n_rows // 100)]
    elif path.suffix == ".json":
        line = as_json_array([row])[1:-1]
        pieces = [b"[" + line, *[(b",\n" + line) * 100] * (n_rows // 100 - 1), (b",\n" + line) * 99, b"]"]
    else:
        pieces = [as_json_lines([row]) * 100] * (n_rows // 100)
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as file:
        file.writelines(pieces)


def test_a_long_element_does_not_slow_down_the_rows_after_it(tmp_path: Path) -> None:
    long, short = [{"text": "x" * 2_150_000}], [{"text": "y" * 80}] * 15_000
    last, first = (
        saved(tmp_path, n, as_json_array(r)) for n, r in (("a.json", short + long), ("b.json", long + short))
    )
    assert seconds_to_read(first) < 10 * max(seconds_to_read(last), 0.02)


def seconds_to_read(path: Path) -> float:
    start = time.perf_counter()
    assert sum(1 for _ in read_file(path)) == 15_001
    return time.perf_counter() - start
