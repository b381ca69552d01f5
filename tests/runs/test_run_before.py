"""A run written by the version before the folders were moved: it opens, resumes and replays."""

import shutil
import tarfile
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal
from tests.command import run as command
from tests.conftest import ROOT

from gradprism import Run, open_run

ARCHIVE = ROOT / "tests" / "fixtures" / "before-the-house.tar.xz"
PREFIX = "/srv/gradprism"  # where the version before had them
TABLES = {
    "examples": ["row"],
    "spectra": ["row", "layer", "projection"],
    "similarity": ["row", "kind", "layer", "pair"],
}
METRICS = ("ifd", "length")
ANOTHER_CPU = 6e-5  # twice what `test_reference.py` asks for against fp64: the run was made on one without AVX-512


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """Return the folder in which the run lies beside its data, as if it had been made there."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    for file in tmp_path.rglob("*"):
        if file.suffix in (".json", ".yaml", ".md"):
            file.write_text(file.read_text(encoding="utf-8").replace(PREFIX, str(tmp_path)), encoding="utf-8")
    return tmp_path


def replayed(recipe: Path, *options: object) -> None:
    done = command("run", recipe, "-q", *options)
    assert done.returncode == 0, done.stderr


def assert_same_tables(found: Run, expected: Run) -> None:
    for table, key in TABLES.items():
        ours, theirs = (run.scan(table).sort(key).collect() for run in (found, expected))
        assert_frame_equal(ours, theirs, rel_tol=ANOTHER_CPU, abs_tol=1e-5)  # the latter of cosines and values near 0


def assert_same_scores(found: Run, expected: Run) -> None:
    for metric in METRICS:
        assert_frame_equal(found.scores(metric), expected.scores(metric), rel_tol=ANOTHER_CPU)


def test_it_opens(before: Path) -> None:
    run = open_run(before / "run")
    assert run.is_complete
    assert (run.counts.rows, run.counts.ok, run.counts.tokens, run.counts.response_tokens) == (8, 8, 96, 48)
    assert run.examples["example_id"].to_list()[:2] == ["photosynthesis-careful", "photosynthesis-careless"]
    assert run.spectra.select("layer", "projection").n_unique() == 30 * 2
    assert run.spectra.height == 8 * 30 * 2
    assert run.similarity["kind"].unique().to_list() == ["adjacent"]  # of q and k alone there is no other pair
    assert run.columns["kind"].to_list() == ["careful", "careless"] * 4
    assert set(run.metrics) == {*METRICS}
    assert all(run.scores(metric)["status"].to_list() == ["ok"] * 8 for metric in METRICS)
    assert "complete" in command("show", before / "run").stdout


@pytest.mark.slow  # smollm2-135m
def test_a_lost_part_comes_again(before: Path) -> None:
    whole = shutil.copytree(before / "run", before / "whole")
    for table in TABLES:
        (before / "run" / table / "part-00001.parquet").unlink()
    untouched = {part: part.stat().st_mtime_ns for part in (before / "run").rglob("part-*.parquet")}
    assert open_run(before / "run").counts.done == 4
    replayed(before / "run" / "recipe.yaml")
    assert open_run(before / "run").is_complete
    assert all(part.stat().st_mtime_ns == written for part, written in untouched.items())
    assert_same_tables(open_run(before / "run"), open_run(whole))
    assert_same_scores(open_run(before / "run"), open_run(whole))


@pytest.mark.slow  # smollm2-135m
def test_recipes_replay_into_a_new_folder(before: Path) -> None:
    replayed(before / "run" / "recipe.yaml", "--out", before / "again")
    for metric in METRICS:
        replayed(before / "run" / "scores" / metric / "recipe.yaml", "--out", before / "again")
    assert_same_tables(open_run(before / "again"), open_run(before / "run"))
    assert_same_scores(open_run(before / "again"), open_run(before / "run"))
