"""A run as a published file: exact there and back, and what our own runs have of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.command import run
from tests.made_papers import Fields, paper_rows, summarised, weight, written

import gradprism
from gradprism import GradPrismError, Run, export_paper, import_paper

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

TABLES = ("examples", "spectra", "similarity")


def lines(path: Path) -> list[Fields]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def equal(one: Run, other: Run) -> bool:
    return all(one.scan(table).collect().equals(other.scan(table).collect()) for table in TABLES)


def there_and_back(folder: Path, rows: list[Fields], **options: Any) -> tuple[Run, Run]:
    first = import_paper(written(folder / "first.jsonl", rows), out=folder / "first", **options)
    export_paper(first, folder / "second.jsonl")
    return first, import_paper(folder / "second.jsonl", out=folder / "second", **options)


@pytest.mark.parametrize("form", ["spectra", "sums", "no cosines"])
@pytest.mark.slow
def test_there_and_back_is_exact(tmp_path: Path, form: str) -> None:
    rows = paper_rows(7, tokens=[4, 5, 6, 7, 20, 30, 3])
    rows[2]["id"], rows[3]["reward"] = "an id", float("nan")
    if form != "spectra":
        rows = [summarised(row) for row in rows]
    if form == "sums":
        some = {"0": {"k_proj_x_v_proj": 0.1}, "1": {}, "2": {}}  # of shapes that differ there is no cosine
        rows = [row | {"cosine_sim_qkvo": some} for row in rows]
    assert equal(*there_and_back(tmp_path, rows, part_rows=3))


def test_only_neighbours_known_and_zero_gradients(tmp_path: Path) -> None:
    rows = paper_rows(3)
    zero = {"M_mean": 0.0, "M_max": 0.0, "M_min": 0.0, "frobenius_norm": 0.0, "S_list": [0.0] * 8}
    for row in rows:
        row[weight(1, "k")] = zero
        for entry in row["cosine_sim"].values():
            entry["matrix"][0][2] = entry["matrix"][2][0] = None
        row["cosine_sim"]["k_proj"]["matrix"][0][1] = float("nan")
        row["cosine_sim_qkvo"]["1"]["k_proj_x_v_proj"] = None
    first, second = there_and_back(tmp_path, rows)
    assert equal(first, second)
    assert "all_layers" not in set(first.scan("similarity").collect()["kind"])
    nothing = first.spectra.filter(layer=1, projection="k")
    assert nothing["nuclear_norm"].to_list() == [0.0] * 3
    assert nothing["effective_rank"].to_list() == [None] * 3


@pytest.mark.slow  # files of any values and texts, there and back
@given(
    st.lists(st.floats(0, 2.0**100, width=32), max_size=8),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.floats(-1, 1),
)
@settings(max_examples=25, deadline=None)
def test_any_values_and_texts_come_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], text: str, cosine: float
) -> None:
    row = paper_rows(1, layers=2)[0] | {"instruction": text, "output": f"{text}.", "note": text}
    row[weight(0, "q")]["S_list"] = values
    row["cosine_sim"]["q_proj"]["matrix"][0][1] = cosine
    first, second = there_and_back(tmp_path_factory.mktemp("any"), [row])
    assert first.counts.ok == 1
    assert equal(first, second)


def test_failed_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = paper_rows(3)
    del rows[1]["loss"]
    made = import_paper(written(tmp_path / "a.jsonl", rows), out=tmp_path / "run")
    done = run("export", made.path, "--out", tmp_path / "b.jsonl")
    assert done.returncode == 0, done.stderr
    assert "(rows: 2; left out, without gradients: 1)" in done.stdout
    assert [line["instruction"] for line in lines(tmp_path / "b.jsonl")] == ["Question 0", "Question 2"]


def test_rows_that_are_numbered_anew_keep_their_ids(tmp_path: Path) -> None:
    """A line was left out, or only some rows were imported: the line's number is not the row's."""
    rows = paper_rows(5)
    del rows[1]["loss"]
    for chosen, ids in ((None, ["0", "2", "3", "4"]), ("2:5", ["2", "3", "4"])):
        folder = tmp_path / str(chosen).replace(":", "-")
        folder.mkdir()
        first = import_paper(written(folder / "first.jsonl", rows), out=folder / "first", rows=chosen)
        export_paper(first, folder / "second.jsonl")
        second = import_paper(folder / "second.jsonl", out=folder / "second")
        assert first.examples.filter(status="ok")["example_id"].to_list() == ids
        assert second.examples["example_id"].to_list() == ids
        assert second.spectra["effective_rank"].to_list() == first.spectra["effective_rank"].to_list()


def test_the_file_that_a_run_was_imported_from_is_never_replaced(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", paper_rows(2))
    made, before = import_paper(path, out=tmp_path / "run"), path.read_bytes()
    (tmp_path / "link.jsonl").symlink_to(path)
    for target in (path, tmp_path / "run" / ".." / "a.jsonl", tmp_path / "link.jsonl"):
        with pytest.raises(GradPrismError, match="holds the data that is read"):
            export_paper(made, target)
    assert path.read_bytes() == before


@pytest.fixture(scope="module")
def own(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, sample_rows: list[dict[str, str]]) -> Any:
    """`own(...)`: the lines of our own run with these options."""

    def make(**options: Any) -> tuple[Run, list[Fields]]:
        folder = tmp_path_factory.mktemp("own")
        data = written(folder / "data.jsonl", [*sample_rows[:2], {"instruction": "a", "output": ""}])
        made = gradprism.spectra(data, str(tiny_checkpoint), out=folder / "run", **options)
        export_paper(made, folder / "out.jsonl")
        return made, lines(folder / "out.jsonl")

    return make


def test_our_own_run_has_every_key_of_the_published_files(own: Any, sample_rows: list[dict[str, str]]) -> None:
    made, found = own(all_layers=True, entry_stats=True)
    published = paper_rows(1, layers=4)[0]
    assert [line["output"] for line in found] == [row["output"] for row in sample_rows[:2]]
    for line in found:
        assert {*published} - {"reward", "kind"} <= {*line}
        name = weight(2, "v")
        assert {*line[name]} == {*published[name]}
        stored = made.scan("spectra").filter(row=0, layer=2, projection="v").collect().row(0, named=True)
        if line is found[0]:
            assert line[name]["S_list"] == stored["singular_values"]
            assert line[name]["M_max"] == stored["grad_max"]
        for entry in line["cosine_sim"].values():
            matrix = np.array(entry["matrix"], dtype=float)
            assert entry["layer_indices"] == [0, 1, 2, 3]
            assert (matrix == matrix.T).all()
            assert (matrix.diagonal() == 1).all()
        assert {*line["cosine_sim_qkvo"]["0"]} == {"q_proj_x_o_proj", "k_proj_x_v_proj"}


def test_what_was_not_measured_is_null(own: Any) -> None:
    made, found = own(spectrum=False)
    for line in found:
        stored = line[weight(0, "k")]
        assert {*stored} == {"M_mean", "M_max", "M_min", "frobenius_norm", "S_sum", "S_max", "S_min"}
        assert stored["M_max"] is None
        matrix = line["cosine_sim"]["q_proj"]["matrix"]
        assert matrix[0][2] is None
        assert matrix[0][0] == 1
        assert matrix[1][2] == matrix[2][1] is not None
    expected = made.spectra.filter(pl.col("row") == 0, layer=0, projection="k").row(0, named=True)
    assert found[0][weight(0, "k")]["S_sum"] == expected["nuclear_norm"]


def test_conversations_are_written_as_the_paper_template_has_them(tiny_checkpoint: Path, tmp_path: Path) -> None:
    turns = [("system", "S"), ("user", "One?"), ("assistant", "One."), ("user", "Two?"), ("assistant", "Two. Yes.")]
    messages = [{"role": role, "content": content} for role, content in turns]
    data = [{"messages": messages}, {"messages": [messages[0], messages[1], messages[2]]}]
    made = gradprism.spectra(data, str(tiny_checkpoint), out=tmp_path / "run")
    export_paper(made, tmp_path / "out.jsonl", data=data)
    first, second = lines(tmp_path / "out.jsonl")
    assert (first["instruction"], first["output"]) == ("S\nOne?\nOne.\nTwo?", "Two. Yes.")
    assert (second["system"], second["instruction"], second["output"]) == ("S", "One?", "One.")


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", paper_rows(2))
    made = import_paper(path, out=tmp_path / "run")
    for out, says in (("b.csv", "ends in .jsonl"), ("no/folder/b.jsonl", "there is no folder")):
        done = run("export", made.path, "--out", tmp_path / out)
        assert done.returncode == 2
        assert says in done.stderr
    written(path, paper_rows(3))
    with pytest.raises(GradPrismError, match="has changed since"):
        export_paper(made, tmp_path / "b.jsonl")
    assert not (tmp_path / "b.jsonl").exists()
