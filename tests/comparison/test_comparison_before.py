"""A comparison written by the version before the folders were cut by feature: it opens, shows, and is made again."""

import tarfile
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.columns_since import OTHER_SINCE
from tests.command import run as gradprism_command
from tests.conftest import ROOT

import gradprism
from gradprism.comparison.comparison_files import TABLES
from gradprism.comparison.contrast import LENGTHS

WRITTEN_AT = "/srv/gradprism"  # where the fixture was written: its recipes and records name files below it


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with `run/` and its comparison `compared/`, whose recipe names the run where it lies now."""
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(ROOT / "tests" / "fixtures" / "before-the-house.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    recipe = folder / "compared" / "recipe.yaml"
    assert WRITTEN_AT in recipe.read_text(encoding="utf-8")
    recipe.write_text(recipe.read_text(encoding="utf-8").replace(WRITTEN_AT, str(folder)), encoding="utf-8")
    return folder


def test_it_opens_and_shows_itself(before: Path) -> None:
    compared = gradprism.open_comparison(before / "compared")
    assert [group.n for group in compared.groups] == [4, 4]
    assert compared.contrasts == (("careful", "careless"),)
    assert {finding.kind for finding in compared.findings} == {"none"}
    assert "Nuclear norm: no difference between careful and careless can be shown (1.36 against 1.18" in repr(compared)
    for name, schema in TABLES.items():
        table = getattr(compared, name)
        assert table.height, name
        assert {*schema} <= {*table.columns}, name
    assert compared.mad["mad"].null_count() == 0
    assert compared.mad["mad_early"].null_count() == compared.mad.height  # that version did not compute it


@pytest.mark.slow  # half a second or more
def test_its_recipe_makes_the_same_tables(before: Path, tmp_path: Path) -> None:
    done = gradprism_command("run", before / "compared" / "recipe.yaml", "--out", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert "careful against careless" in done.stdout
    old, new = (gradprism.open_comparison(folder) for folder in (before / "compared", tmp_path / "again"))
    for name in TABLES:
        written = pl.read_parquet(before / "compared" / f"{name}.parquet")
        same = [column for column in written.columns if name != "effects" or column not in OTHER_SINCE]
        pair = [table.select(same) for table in (getattr(new, name), written)]
        if name == "effects":  # lengths have a raw effect since then
            pair = [table.filter(~pl.col("measure").is_in(LENGTHS)) for table in pair]
        assert_frame_equal(*pair, rel_tol=1e-12, abs_tol=1e-14)
    assert [(finding.measure, finding.kind) for finding in old.findings] == [
        (finding.measure, finding.kind) for finding in new.findings
    ]
