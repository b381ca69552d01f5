"""A study written by the version before the folders were moved: resumed, and no row is measured again."""

import hashlib
import json
import re
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.columns_since import OTHER_SINCE
from tests.conftest import ROOT
from tests.made_studies import loaded_study

from gradprism.study.api import run_recipe
from gradprism.study.result import StudyResult

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
def resumed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Kept, Kept, StudyResult]:
    """The fixture as it was, in whose texts stands where it lies now; the same after a call; and its result."""
    folder = tmp_path_factory.mktemp("before").resolve()
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    for file in (file for kind in ("json", "yaml", "md") for file in folder.rglob(f"*.{kind}")):
        file.write_text(file.read_text(encoding="utf-8").replace(BEFORE, str(folder)), encoding="utf-8")
    before = kept_in(folder / "study")
    result = run_recipe(loaded_study(folder / "study.yaml"), command=COMMAND)
    return before, kept_in(folder / "study"), result


def test_no_row_is_measured_again(resumed: tuple[Kept, Kept, StudyResult]) -> None:
    """Its steps are not known as done, since `steps.json` knows them by the folder they were in; their runs are."""
    before, after, result = resumed
    assert not result.failed
    assert len(before.parts) == 4 * 3  # spectra, similarity, examples of each run
    assert after.parts == before.parts
    assert after.sessions == before.sessions
    assert after.sets == before.sets


def test_tables_and_verdicts_are_the_same(resumed: tuple[Kept, Kept, StudyResult]) -> None:
    before, after, result = resumed
    assert {*after.tables} == {*before.tables} >= {"verdicts", "contrasts", "claim-norm"}
    for name, table in before.tables.items():
        same = [column for column in table.columns if column not in OTHER_SINCE]
        assert_frame_equal(
            after.tables[name].select(same), table.select(same), rel_tol=1e-12
        )  # threads add in any order
    assert_frame_equal(result.verdicts, before.tables["verdicts"], rel_tol=1e-12)


WORDS = {
    "As it is, ": "Raw: ",
    "no control of length decides": "no length control decides",
    "in pairs of like length, by regression and by partial rank correlation": "by overlap weights",
    "has the same gaps to the last digits. Rows are those that were\nmeasured (`status` ok), of each": (
        "has the same gaps, means of the first set less those of the\nsecond, to the last digits. Rows are those that "
        "were measured (`status` ok), of each"
    ),
    "How the words are chosen is said at the end": "The end of the page defines these words",
}
"""Words that the page had before, and those that it has now."""
OTHERS = ("|", "- Beside a model:", "- *length-controlled*", "- *at equal length*")
"""Beginnings of lines that are others since overlap weights decide: rows of tables, and what explains them."""


def test_the_page_is_the_same_in_other_words(resumed: tuple[Kept, Kept, StudyResult]) -> None:
    """All of it but its tables and the last section, which says how verdicts are reached."""
    before, after, _ = resumed
    page, heading, _ = before.page.partition("## How the words are chosen")
    assert heading
    for old, new in WORDS.items():
        page = page.replace(old, new)
    assert _words(after.page.partition("## How verdicts are reached")[0]) == _words(page)


def _words(page: str) -> list[str]:
    """Lines without tables, numbers, and the numbers of pairs and regression that stood beside a claim."""
    page = re.sub(r" \(pairs [^)]*\)", "", page)
    return [re.sub(r"[<×-]?\d[\d.,]*", "#", line) for line in page.splitlines() if not line.startswith(OTHERS)]
