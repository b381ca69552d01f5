"""One wide table of a run: each column against the files and the functions that it stands for."""

import json
from pathlib import Path

import polars as pl
import pytest
from tests.made_runs import measured_run, scored_run

import gradprism


def test_a_run_of_spectra_as_one_row_an_example(tiny_checkpoint: Path, tmp_path: Path) -> None:
    rows = [
        {"id": f"r{i}", "prompt": "why", "completion": "word " * i, "kind": "ab"[i % 2], "stars": i} for i in range(4)
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = gradprism.spectra(data, tiny_checkpoint, out=tmp_path / "run", limit=3)
    gradprism.score(None, "length", out=run.path)
    table = gradprism.open_run(run.path).table()
    assert table["example_id"].to_list() == ["r0", "r1", "r2"]
    assert table["status"].to_list() == ["skipped", "ok", "ok"]
    assert table["reason"][0] == "empty response"
    assert table["column:kind"].to_list() == ["a", "b", "a"]
    assert table["column:stars"].to_list() == [0, 1, 2]
    assert table["length"].to_list() == [None, *table["n_response_tokens"][1:]]
    means = run.spectra.group_by("row").agg(pl.col("effective_rank").mean()).sort("row")
    assert table["effective_rank:mean"].to_list() == pytest.approx([None, *means["effective_rank"]])
    for name in [column for column in table.columns if ":" in column]:
        if not name.startswith("column:kind"):
            values = gradprism.metric_values(run.path, name)["value"].to_list()
            assert table[name].to_list() == pytest.approx(values), name
    assert "gradient_l2:all" in table.columns


def test_a_score_stands_for_the_column_of_its_name(tmp_path: Path) -> None:
    run = measured_run(tmp_path / "run", 5, 2, lambda *_: 1.0)
    assert {"nuclear_norm:mean", "loss"} <= {*run.table().columns}
    assert run.table().height == 5


def test_a_run_of_scores_alone_has_ids_and_scores(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"id": f"r{i}", "prompt": "a", "completion": "b"}) + "\n" for i in range(3)))
    run = scored_run(tmp_path / "run", data, ifd=[0.5, None, 0.7], loss=[1.0, 2.0, 3.0])
    assert run.table().to_dict(as_series=False) == {
        "row": [0, 1, 2],
        "example_id": ["r0", "r1", "r2"],
        "ifd": [0.5, None, 0.7],
        "loss": [1.0, 2.0, 3.0],
    }
