"""A study written by the version before the folders were moved: resumed, and no row is measured again."""

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from tests.conftest import ROOT
from tests.made_studies import loaded_study

from gradprism.study.api import run_recipe
from gradprism.study.outcome import Outcome

pytestmark = pytest.mark.slow  # a run tells by the digest of smollm2-135m that its model is the same

FIXTURE = ROOT / "tests" / "fixtures" / "before-the-house.tar.xz"
BEFORE = "/srv/gradprism"  # where it was made
COMMAND = "gradprism run study.yaml"


class Kept(NamedTuple):
    """What a study's folder holds at one time."""

    parts: dict[str, tuple[str, int]]  # digest and time of every part of a run
    sessions: dict[str, list[Any]]
    sets: dict[str, str]
    tables: dict[str, pl.DataFrame]
    page: str


def kept_in(study: Path) -> Kept:
    return Kept(
        {str(file): (_digest(file), file.stat().st_mtime_ns) for file in (study / "runs").rglob("*.parquet")},
        {str(file): json.loads(file.read_text())["sessions"] for file in study.rglob("run.json")},
        {file.name: _digest(file) for file in (study / "sets").glob("*.jsonl")},
        {file.stem: pl.read_parquet(file) for file in (study / "tables").glob("*.parquet")},
        (study / "README.md").read_text(encoding="utf-8"),
    )


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Kept, Kept, Outcome]:
    """The fixture as it was, in whose texts stands where it lies now; the same after a call; and its outcome."""
    folder = tmp_path_factory.mktemp("before").resolve()
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    for file in (file for kind in ("json", "yaml", "md") for file in folder.rglob(f"*.{kind}")):
        file.write_text(file.read_text(encoding="utf-8").replace(BEFORE, str(folder)), encoding="utf-8")
    before = kept_in(folder / "study")
    outcome = run_recipe(loaded_study(folder / "study.yaml"), command=COMMAND)
    return before, kept_in(folder / "study"), outcome


def test_no_row_is_measured_again(resumed: tuple[Kept, Kept, Outcome]) -> None:
    """Its steps are not known as done, since `steps.json` knows them by the folder they were in; their runs are."""
    before, after, outcome = resumed
    assert not outcome.failed
    assert len(before.parts) == 4 * 3  # spectra, similarity, examples of each run
    assert after.parts == before.parts
    assert after.sessions == before.sessions
    assert after.sets == before.sets


def test_tables_and_verdicts_are_the_same(resumed: tuple[Kept, Kept, Outcome]) -> None:
    before, after, outcome = resumed
    assert {*after.tables} == {*before.tables} >= {"verdicts", "contrasts", "claim-norm"}
    for name, table in before.tables.items():
        assert after.tables[name].equals(table), name
    assert outcome.verdicts.equals(before.tables["verdicts"])


def test_the_page_is_the_same(resumed: tuple[Kept, Kept, Outcome]) -> None:
    before, after, _ = resumed
    assert after.page == before.page
