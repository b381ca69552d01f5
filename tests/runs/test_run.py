from pathlib import Path
from typing import Any
from unittest.mock import Mock

import polars as pl
import pytest
from filelock import FileLock
from polars.testing import assert_frame_equal
from tests.conftest import SAMPLE
from tests.made_runs import measured_run

import gradprism
from gradprism import GradPrismError, Run, open_run
from gradprism.prism.tables import EXAMPLES, SIMILARITY, SPECTRA
from gradprism.runs.layout import part_path
from gradprism.runs.writer import RunWriter

DATA = {"sources": ["made up"], "rows": 4, "fingerprint": "f"}


@pytest.fixture(scope="module")
def run(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("run") / "sample"
    return gradprism.spectra(SAMPLE, tiny_checkpoint, out=out, limit=12, part_rows=5, max_length=400)


@pytest.mark.slow
def test_the_files_hold_the_public_format(run: Run) -> None:
    for table, schema in (("examples", EXAMPLES), ("spectra", SPECTRA), ("similarity", SIMILARITY)):
        assert sorted(path.name for path in (run.path / table).iterdir()) == [f"part-0000{i}.parquet" for i in range(3)]
        assert run.scan(table).collect_schema() == schema
    assert run.examples["row"].to_list() == list(range(12))
    assert run.scan("spectra").collect().height == 12 * 4 * 4
    assert run.similarity.height == 12 * (4 * 3 + 2 * 4)


def test_pandas_duckdb_style_readers_get_plain_parquet(run: Run) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(part_path(run.path, "spectra", 0))
    assert table.schema.field("layer").type == "int16"
    assert str(table.schema.field("singular_values").type.value_type) == "float"
    frame = run.to_pandas("examples")
    assert list(frame.columns) == EXAMPLES.names()


def test_a_part_counts_only_when_its_examples_are_there(run: Run, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    part_path(copy, "examples", 1).unlink()
    partial = open_run(copy)
    assert not partial.is_complete
    assert partial.counts.done == 7
    assert set(partial.spectra["row"].unique()) == {0, 1, 2, 3, 4, 10, 11}
    again = gradprism.spectra(SAMPLE, run.record["model"]["name"], out=copy, limit=12, part_rows=5, max_length=400)
    assert again.is_complete
    assert_frame_equal(again.spectra, run.spectra, rel_tol=1e-5, abs_tol=1e-9)


def test_the_datas_own_columns_come_along(run: Run) -> None:
    assert set(run.columns["kind"]) == {"careful", "careless", "bare", "steps"}
    assert run.examples["example_id"][0] == "photosynthesis-careful"


def test_it_shows_itself_in_a_terminal_and_a_notebook(run: Run) -> None:
    text, page = repr(run), run._repr_html_()
    for words in ("12 ok, 0 skipped, 0 failed", "LlamaForCausalLM", "complete", "instruction / input / output"):
        assert words in text
        assert words in page
    assert page.count("<table") >= 2


def test_html_escapes_what_comes_from_outside(run: Run) -> None:
    run.record["model"]["name"], kept = "<img src=x>", run.record["model"]["name"]
    try:
        assert "<img" not in run._repr_html_()
    finally:
        run.record["model"]["name"] = kept


def test_singular_values_agree_with_the_measures(run: Run) -> None:
    joined = run.singular_values.join(run.spectra, on=["row", "layer", "projection"])
    total = joined["singular_values"].list.sum()
    assert (total / joined["nuclear_norm"] - 1).abs().max() < 1e-5
    assert (joined["singular_values"].list.first() / joined["spectral_norm"] - 1).abs().max() < 1e-6
    assert joined["singular_values"].list.eval(pl.element().diff().drop_nulls() <= 0).list.all().all()


def test_layer_means_are_means_over_examples(run: Run) -> None:
    means = run.layer_means
    assert means.height == 16
    values = run.spectra.filter((pl.col("projection") == "v") & (pl.col("layer") == 2))["effective_rank"]
    found = means.filter((pl.col("projection") == "v") & (pl.col("layer") == 2))["effective_rank"][0]
    assert found == pytest.approx(sum(values.to_list()) / 12)


def test_two_processes_cannot_write_one_run(run: Run, tiny_checkpoint: Path) -> None:
    with FileLock(run.path / ".lock"), pytest.raises(GradPrismError, match="Another process is writing"):
        gradprism.spectra(SAMPLE, tiny_checkpoint, out=run.path, limit=12, part_rows=5, max_length=400)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match="is not a run"):
        open_run(tmp_path)
    (tmp_path / "run.json").write_text("{ torn")
    with pytest.raises(GradPrismError, match="Cannot read"):
        open_run(tmp_path)
    (tmp_path / "run.json").write_text('{"format_version": 99}')
    with pytest.raises(GradPrismError, match="format version 99"):
        open_run(tmp_path)


def test_unknown_tables_name_the_known(run: Run) -> None:
    with pytest.raises(GradPrismError, match="examples, spectra, similarity"):
        run.scan("scores")


def test_keys_and_environment_do_not_reach_the_record(run: Run, monkeypatch: Any) -> None:
    text = (run.path / "run.json").read_text() + (run.path / "recipe.yaml").read_text()
    assert "TOKEN" not in text.upper().replace("TOKENS", "").replace("TOKENIZER", "")


def test_a_run_json_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"precious": 1}')
    with pytest.raises(GradPrismError, match="format version None"):
        RunWriter(tmp_path, {"identity": {}, "data": DATA})
    assert (tmp_path / "run.json").read_text() == '{"precious": 1}'


def test_a_kill_while_the_folder_is_made_leaves_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunWriter, "_write_record", killed)
        with pytest.raises(KeyboardInterrupt):
            RunWriter(tmp_path / "run", {"identity": {}, "data": DATA})
    with RunWriter(tmp_path / "run", {"identity": {}, "data": DATA}) as writer:
        assert writer.done == frozenset()


def test_the_datas_own_row_column_does_not_get_in_the_way(tiny_checkpoint: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b", "row": 7, "kind": "x"}]
    columns = gradprism.spectra(rows, tiny_checkpoint, out=tmp_path / "run").columns
    assert columns.select("row", "row (data)", "kind").rows() == [(0, 7, "x")]


def test_a_record_that_is_written_anew_is_there_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends before it has written it leaves the damaged one, and with it a run."""
    run = tmp_path / "run"
    measured_run(run, 8, 1, lambda measure, row, layer, name: row + 0.5)
    about = open_run(run).record
    (run / "run.json").write_text("<html>")
    with monkeypatch.context() as killed:
        killed.setattr(RunWriter, "_write_record", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            RunWriter(run, about)
    assert (run / "run.json").read_text() == "<html>"
    with RunWriter(run, about) as writer:
        assert writer.done == {0, 1}
    assert open_run(run).counts.done == 8
    assert len(list((run / "damaged").glob("run*.json"))) == 2
