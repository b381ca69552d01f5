"""Records: written with a checksum, and read only as they were written."""

import random
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradprism.core.errors import GradPrismError
from gradprism.files.records import RecordModel, read_record_file, record_bytes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
VALUES = {"rows": 72, "text": "weiß 𝔘 \\ud800", "nested": {"2": [1.5, None, True]}}


class Rows(RecordModel):
    rows: int


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "record.json"
    path.write_bytes(record_bytes(VALUES))
    return path


@pytest.mark.slow  # many cases
@given(values=st.dictionaries(st.text(), JSON, max_size=4))
def test_it_is_read_as_it_was_written(values: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    try:
        path.write_bytes(record_bytes(values))
    except UnicodeEncodeError:  # lone surrogates, which no file holds
        return
    assert read_record_file(path, RecordModel) == {name: values[name] for name in values if name != "sha256"}


def test_a_record_of_an_earlier_version_has_no_checksum(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text('{"rows": 72}')
    assert read_record_file(path, Rows) == {"rows": 72}


@pytest.mark.parametrize("seed", range(40))
def test_a_changed_byte_is_found(file: Path, seed: int) -> None:
    rng, whole = random.Random(seed), file.read_bytes()
    place = rng.randrange(len(whole))
    changed = bytearray(whole)
    changed[place] ^= 1 << rng.randrange(8)
    file.write_bytes(changed)
    found = None
    with suppress(GradPrismError):
        found = read_record_file(file, Rows)
    if found is not None:  # white space was hit, or the name of the checksum's own entry
        assert {name: found.get(name) for name in VALUES} == VALUES


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "Cannot read"),
        ('{"rows": 72', "Cannot read"),
        ("[" * 100_000, "Cannot read"),
        ('{"rows": ' + "9" * 5_000 + "}", "Cannot read"),
        ("\x00\x00", "Cannot read"),
        ("[]", "damaged"),
        ("7", "damaged"),
        ("{}", "rows: field required"),
        ('{"rows": "72"}', "rows: input should be a valid integer, given '72'"),
        ('{"rows": 72.5}', "rows: input should be a valid integer, given '72.5'"),
        ('{"rows": null}', "rows: input should be a valid integer"),
    ],
)
def test_what_is_no_record_is_one_line(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(content)
    with pytest.raises(GradPrismError) as caught:
        read_record_file(path, Rows)
    said = str(caught.value)
    assert words in said
    assert str(path) in said
    assert "\n" not in said


def test_a_record_that_is_a_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match="it is no file"):
        read_record_file(tmp_path, Rows)
