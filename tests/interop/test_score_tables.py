"""A run's numbers in other tools: as a table, as their scores, as a data set, and in SQL."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.command import run as command
from tests.made_papers import paper_rows, written

import gradprism
from gradprism import GradPrismError, Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An imported run with scores that another tool has written; the last row has none."""
    folder = tmp_path_factory.mktemp("run")
    paper = written(folder / "paper.jsonl", paper_rows(5, tokens=[4, 5, 6, 7, 8]))
    made = gradprism.import_paper(paper, out=folder / "run")
    scores = pl.DataFrame({"row": range(5), "quality": [0.5, 0.25, 1.0, 2.0, None]})
    scores.write_parquet(folder / "scores.parquet")
    return gradprism.score(from_file=folder / "scores.parquet", on="row", out=made.path)


def test_one_table_of_every_number(run: Run, tmp_path: Path) -> None:
    expected = run.table()
    assert {"effective_rank:mean", "quality", "loss"} <= set(expected.columns)
    assert_frame_equal(pl.read_parquet(gradprism.export_table(run, tmp_path / "t.parquet")), expected)
    csv = pl.read_csv(gradprism.export_table(run.path, tmp_path / "t.csv"))
    assert csv["effective_rank:mean"].to_list() == pytest.approx(expected["effective_rank:mean"].to_list(), rel=1e-12)
    assert csv["quality"].to_list() == [0.5, 0.25, 1.0, 2.0, None]


def test_scores_as_open_data_arena_writes_them_come_back(run: Run, tmp_path: Path) -> None:
    file = gradprism.export_table(run, tmp_path / "pointwise_scores.jsonl", "oda")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[1]["scores"]["quality"] == {"score": 0.25}
    assert "quality" not in lines[4]["scores"]
    again = gradprism.score(
        run.path.parent / "paper.jsonl", from_file=file, on="id=row", column="scores.effective_rank:mean.score",
        name="rank", out=tmp_path / "run",
    )  # fmt: skip
    expected = run.table()["effective_rank:mean"].to_list()
    assert again.scores("rank")["value"].to_list() == pytest.approx(expected, rel=1e-14)


def test_a_data_set(run: Run) -> None:
    data = run.to_datasets()
    assert data.num_rows == 5
    assert data["quality"][:2] == [0.5, 0.25]


def test_views_in_sql(run: Run) -> None:
    duckdb = pytest.importorskip("duckdb", reason="needs the extra `sql`")
    own = duckdb.connect()
    own.execute("CREATE TABLE mine AS SELECT 1 AS row")
    views = run.to_duckdb(own)
    assert views is own
    mean = views.execute("SELECT avg(value) FROM scores_quality").fetchone()
    assert mean == (0.9375,)
    joined = "SELECT s.row, max(effective_rank) FROM spectra s JOIN mine USING (row) GROUP BY ALL"
    assert views.execute(joined).fetchall() == [(1, run.spectra.filter(row=1)["effective_rank"].max())]
    assert views.execute("SELECT count(*) FROM wide").fetchone() == (5,)


def test_names_that_say_no_form_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match=r"ends in \.csv, \.parquet, \.jsonl"):
        gradprism.export_table(run, tmp_path / "table.xlsx")
    with pytest.raises(GradPrismError, match=r"ends in \.csv\."):
        gradprism.export_table(run, tmp_path / "table.parquet", "csv")


def test_the_command(run: Run, tmp_path: Path) -> None:
    told: Any = command("export", run.path, "--format", "csv", "-o", tmp_path / "t.csv")
    assert told.returncode == 0, told.stderr
    assert "t.csv" in told.stdout
    assert (tmp_path / "t.csv").is_file()
