"""Parquet files that say whose they are, and notice every changed byte."""

import json
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradprism.files.parquet import DamagedFileError, Label, check_content, parquet_bytes, read_label, read_parquet

TABLE = pl.DataFrame({"row": [0, 1, 2, 5], "value": [0.5, None, 1e-300, 2.0], "text": ["a", "0" * 64, "", None]})
LABEL = Label("ab" * 16, "scores/ifd", 7, (0, 1, 2, 5))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "part.parquet"
    path.write_bytes(parquet_bytes(TABLE, LABEL))
    return path


def test_the_label_and_the_table_are_read_back(file: Path) -> None:
    assert read_label(file) == LABEL
    assert read_parquet(file).equals(TABLE)
    check_content(file)


@given(rows=st.sets(st.integers(0, 2**40), max_size=30))
def test_any_rows_are_read_back(rows: set[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    label = Label("r", "examples", 0, tuple(sorted(rows)))
    path.write_bytes(parquet_bytes(TABLE, label))
    assert read_label(path) == label


def test_a_text_like_a_label_in_the_statistics_of_a_column_is_none(tmp_path: Path) -> None:
    from pyarrow import parquet

    text = json.dumps({"run": "x", "table": "examples", "part": 0, "rows": "0", "sha256": "0" * 64})
    path = tmp_path / "part.parquet"
    label = json.dumps({"run": "mine", "table": "examples", "part": 3, "rows": "0", "sha256": "a" * 64})
    table = pl.DataFrame({"row": [0], "example_id": [text]}).to_arrow().replace_schema_metadata({"gradprism": label})
    parquet.write_table(table, path, write_statistics=True)
    assert path.read_bytes().count(text.encode()) > 1  # in the statistics, too
    assert read_label(path) == Label("mine", "examples", 3, (0,))


def test_a_file_of_an_earlier_version_has_no_label(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    path.write_bytes(parquet_bytes(TABLE))
    assert read_label(path) is None
    check_content(path)


def test_a_changed_byte_is_found(file: Path) -> None:
    whole = file.read_bytes()
    rng = random.Random(0)
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.randrange(8)
        file.write_bytes(changed)
        try:
            check_content(file)
            assert read_label(file) is None  # then the label itself was hit, and a run asks for one
        except DamagedFileError:
            pass


@pytest.mark.parametrize("keep", [0, 3, 11, 12, 100, -1])
def test_a_shortened_file_is_found(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DamagedFileError, match="empty" if keep == 0 else "no whole Parquet file"):
        check_content(file)
    with pytest.raises(DamagedFileError):
        read_label(file)


def test_garbage_is_found(file: Path) -> None:
    for seed in range(50):
        file.write_bytes(random.Random(seed).randbytes(seed * 7) + b"PAR1" * (seed % 2))
        with pytest.raises(DamagedFileError):
            check_content(file)
