"""Scores of another tool's file: joined by id or row, whole or not at all, and then a metric like any other."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.command import run as command

import gradprism
from gradprism.core.errors import GradPrismError

N = 6


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    rows = [{"id": f"r{i}", "prompt": f"question {i}?", "response": f"answer {i}"} for i in range(N)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table(**more: Any) -> pl.DataFrame:
    """Scores in another order than the data, with one row that the data lacks."""
    order = [3, 1, 5, 0, 9, 2, 4]
    return pl.DataFrame({"id": [f"r{i}" for i in order], "quality": [i / 10 for i in order], **more})


def written(path: Path, frame: pl.DataFrame) -> Path:
    getattr(frame, {".parquet": "write_parquet", ".jsonl": "write_ndjson", ".csv": "write_csv"}[path.suffix])(path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_every_row_gets_its_own_score(data: Path, tmp_path: Path, suffix: str) -> None:
    file = written(tmp_path / f"scores{suffix}", table())
    run = gradprism.score(data, from_file=file, out=tmp_path / "run")
    found = run.scores("quality")
    assert found.select("row", "value").rows() == [(i, i / 10) for i in range(N)]
    assert set(found["status"]) == {"ok"}
    assert run.score_record("quality")["about"] == f"column quality of {file.name}"


def test_fields_of_structures_and_columns_of_truths(data: Path, tmp_path: Path) -> None:
    more = {"QA_scores": [{"depth": float(i), "note": "x"} for i in range(7)], "right": [i % 2 == 0 for i in range(7)]}
    file = written(tmp_path / "scores.jsonl", table(**more))
    run = gradprism.score(data, from_file=file, column="QA_scores.depth,right", out=tmp_path / "run")
    assert run.scores("QA_scores_depth")["value"].to_list() == [3.0, 1.0, 5.0, 0.0, 6.0, 2.0]
    assert run.scores("right")["value"].to_list() == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]


def test_row_numbers_under_another_name(data: Path, tmp_path: Path) -> None:
    file = written(
        tmp_path / "samples.jsonl", pl.DataFrame({"doc_id": [5, 4, 3, 2, 1, 0], "acc": [5.0, 4, 3, 2, 1, 0]})
    )
    run = gradprism.score(data, from_file=file, on="doc_id=row", name="right", out=tmp_path / "run")
    assert run.scores("right")["value"].to_list() == [0, 1, 2, 3, 4, 5]


def test_ids_of_a_csv_file_are_read_as_they_are_written(tmp_path: Path) -> None:
    ids = ["7", "007", "9007199254740993", "1.0"]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"id": i, "prompt": f"{i}?", "response": i}) + "\n" for i in ids))
    file = written(tmp_path / "scores.csv", pl.DataFrame({"id": ids, "quality": [1.0, 2.0, 3.0, 4.0]}))
    run = gradprism.score(data, from_file=file, out=tmp_path / "run")
    assert run.scores("quality")["value"].to_list() == [1.0, 2.0, 3.0, 4.0]


def test_what_is_missing_is_null_with_a_reason(data: Path, tmp_path: Path) -> None:
    values = [0.3, None, float("nan"), float("inf"), 0.9, 0.2, 0.4]
    file = written(tmp_path / "scores.parquet", table().with_columns(quality=pl.Series(values)))
    found = gradprism.score(data, from_file=file, out=tmp_path / "run").scores("quality")
    assert found["value"].to_list() == [None, None, 0.2, 0.3, 0.4, None]
    assert found["reason"].to_list() == ["not a finite number (inf)", "no value in the column quality", None, None,
                                         None, "no value in the column quality"]  # fmt: skip


REFUSED = {
    "a row without score": (table()[1:], {}, r"no score of 1 of the 6 rows: 'r3'"),
    "a key twice": (pl.concat([table(), table()[:1]]), {}, r"1 keys are there more than once: 'r3'"),
    "no key": (table().rename({"id": "name"}), {}, r"no column example_id or id, .* It has name, quality"),
    "words": (table(label=["a"] * 7), {"column": "label"}, r"column label is String, and no number"),
    "another column": (table(), {"column": "qualty"}, r"column qualty is not there\. The file has quality"),
    "several columns": (table(depth=[1.0] * 7), {}, r"expected --column with some of quality, depth"),
    "a metric's name": (table().rename({"quality": "ifd"}), {}, r"would be called ifd.*Expected --name"),
    "two of one name": (
        table(**{"a.b": [1.0] * 7, "a/b": [2.0] * 7}),
        {"column": "a.b,a/b"},
        r"columns a\.b, a/b would all be called a_b\. Expected each column once",
    ),
    "no such key": (table(), {"on": "uuid"}, r"--on uuid: expected id or row"),
    "rows as words": (table(), {"on": "id=row"}, r"expected row numbers, counted from 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name_and_nothing_is_written(case: str, data: Path, tmp_path: Path) -> None:
    frame, options, words = REFUSED[case]
    file = written(tmp_path / "scores.parquet", frame)
    with pytest.raises(GradPrismError, match=words):
        gradprism.score(data, from_file=file, out=tmp_path / "run", **options)
    assert not (tmp_path / "run" / "run.json").exists()


def test_unreadable_files_and_both_ways_at_once(data: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(GradPrismError, match=r"scores\.parquet cannot be read"):
        gradprism.score(data, from_file=tmp_path / "scores.parquet", out=tmp_path / "run")
    with pytest.raises(GradPrismError, match=r"expected a file that ends in \.parquet"):
        gradprism.score(data, from_file=tmp_path / "scores.xlsx", out=tmp_path / "run")
    with pytest.raises(GradPrismError, match="expected --metric, or --from FILE, and not both"):
        gradprism.score(data, "length", from_file=tmp_path / "scores.csv", out=tmp_path / "run")


def test_other_values_under_the_same_name_are_refused(data: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "scores.parquet", table())
    gradprism.score(data, from_file=file, out=tmp_path / "run")
    written(file, table().with_columns(pl.col("quality") + 1))
    with pytest.raises(GradPrismError, match="values of joined: "):
        gradprism.score(data, from_file=file, out=tmp_path / "run")


def test_the_command_joins_and_replays_and_selects_by_it(data: Path, tmp_path: Path) -> None:
    written(tmp_path / "scores.csv", table())
    told = command("score", data, "--from", tmp_path / "scores.csv", "-o", tmp_path / "run")
    assert told.returncode == 0, told.stderr
    assert "quality" in told.stdout
    chosen = gradprism.select(tmp_path / "run", by="quality", top=2, out=tmp_path / "chosen.jsonl")
    assert chosen.selected["row"].sort().to_list() == [4, 5]
    again = command("run", tmp_path / "run/scores/quality/recipe.yaml")
    assert again.returncode == 0, again.stderr
