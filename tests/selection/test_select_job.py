"""Selecting from runs and from data: the files that come out hold every row once, as it was."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.conftest import SAMPLE
from tests.made_runs import scored_run

import gradprism
from gradprism import GradPrismError, Run
from gradprism.core.settings import checked
from gradprism.selection import files as select_files
from gradprism.selection.api import run_recipe, select
from gradprism.selection.selection import Selection
from gradprism.selection.settings import SelectRecipe

Row = dict[str, Any]


def made_rows(n: int = 20) -> list[Row]:
    return [
        {
            "id": f"r{i}", "instruction": f"question {i}", "output": "word " * (i + 1), "reward": i / 2,
            "kind": "ab"[i % 2], "nested": {"tags": [{"deep": [i, None]}], "text": "é\u2028\n"}, "row": -i,
        }
        for i in range(n)
    ]  # fmt: skip


def json_lines(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[Row]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def own(row: Row) -> Row:
    return {name: value for name, value in row.items() if not name.startswith("gradprism.")}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return json_lines(tmp_path / "rows.jsonl", made_rows())


@pytest.fixture
def run(tmp_path: Path, data: Path) -> Run:
    ifd = [None if i == 3 else {"value": i / 10, "n_tokens": i + 5, "ppl": 2.0} for i in range(18)]  # two not scored
    return scored_run(
        tmp_path / "run", data, ifd=[score or {"value": None, "reason": "empty response"} for score in ifd]
    )


# Files


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_every_row_is_in_one_file_with_its_own_fields_untouched(data: Path, tmp_path: Path, suffix: str) -> None:
    made = select(data, "column:reward", top=5, bottom="15%", random=True, out=tmp_path / f"new/pick{suffix}")
    assert [path.name for path in made.files] == [
        f"pick.high{suffix}", f"pick.low{suffix}", f"pick.random{suffix}", f"pick.left_out{suffix}", "pick.card.md",
    ]  # fmt: skip
    high, low, random, left_out = map(read, made.files[:4])
    assert [own(row)["id"] for row in high] == ["r15", "r16", "r17", "r18", "r19"]
    assert [own(row)["id"] for row in low] == ["r0", "r1", "r2"]
    whole = sorted([*high, *low, *left_out], key=lambda row: row["gradprism.row"])
    assert [own(row) for row in whole] == made_rows()
    assert [row["gradprism.row"] for row in whole] == [*range(20)]
    assert len(random) == 5
    assert all(own(row) in made_rows() for row in random)
    assert {row["gradprism.reason"] for row in left_out} == {"between the two groups"}
    assert not any("gradprism.reason" in row for row in [*high, *low, *random])
    assert not [path for path in (tmp_path / "new").iterdir() if path.name.startswith(".")]


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            ("prompt", pa.string()), ("completion", pa.large_string()), ("n", pa.int8()), ("at", pa.timestamp("ms")),
            ("kind", pa.dictionary(pa.int32(), pa.string())), ("half", pa.float32()),
            ("turns", pa.list_(pa.struct([("role", pa.string()), ("n", pa.int16())]))),
        ]
    )  # fmt: skip
    rows = [
        {
            "prompt": "a",
            "completion": "b",
            "n": i,
            "at": None,
            "kind": "x",
            "half": 0.1,
            "turns": [{"role": "u", "n": i}],
        }
        for i in range(5)
    ]
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, tmp_path / "rows.parquet")
    made = select(tmp_path / "rows.parquet", "column:n", top=2, out=tmp_path / "pick.parquet")
    chosen = pq.read_table(made.files[0])
    assert chosen.schema.names[-2:] == ["gradprism.row", "gradprism.response_characters"]
    assert chosen.select(schema.names).schema.remove_metadata() == schema
    assert chosen.select(schema.names).to_pylist() == table.to_pylist()[3:]


def test_rows_that_cannot_be_read_are_left_out_with_their_problem(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(
        '{"prompt": "a", "completion": "b", "m": 1}\n{torn\n{"prompt": "c", "completion": 7, "m": 2}\n[1]\n'
    )
    made = select(data, "column:m", top=3, out=tmp_path / "pick.jsonl")
    assert [own(row)["prompt"] for row in read(made.files[0])] == ["a", "c"]
    left_out = read(made.files[1])
    assert [row["gradprism.row"] for row in left_out] == [1, 3]
    assert [own(row) for row in left_out] == [{}, {}]
    assert "line 2 is not valid JSON" in left_out[0]["gradprism.reason"]


def test_a_selection_can_be_selected_from_again(run: Run, tmp_path: Path) -> None:
    first = select(run, "ifd", top=6, out=tmp_path / "first.jsonl")
    again = select(first.files[0], "column:gradprism.ifd", bottom=2, out=tmp_path / "second.jsonl")
    rows = read(again.files[0])
    assert [row["gradprism.ifd"] for row in rows] == [0.5, 0.6]
    assert [(row["gradprism.row"], row["gradprism2.row"]) for row in rows] == [(5, 0), (6, 1)]


def test_the_same_call_writes_the_same_bytes_and_its_card_redoes_it(run: Run, tmp_path: Path) -> None:
    made = select(run, ["ifd", "-column:reward"], top=4, random=True, seed=7, out=tmp_path / "pick.jsonl")
    before = {path: path.read_bytes() for path in made.files}
    card = made.files[-1].read_text()
    for path in made.files:
        path.unlink()
    recipe = checked(SelectRecipe, yaml.safe_load(card.split("```yaml\n")[1].split("```")[0]))
    assert {path: path.read_bytes() for path in run_recipe(recipe).files} == before
    options = "--by ifd --by=-column:reward --top 4 --random --seed 7"
    assert f"gradprism select {run.path} {options} --out {tmp_path}/pick.jsonl\n" in card


def test_the_card_says_what_happened(run: Run, tmp_path: Path) -> None:
    made = select(run, "ifd", top="50%", stratify="kind", out=tmp_path / "pick.jsonl")
    card = made.files[-1].read_text()
    for line in (
        "| selected | 5 | `pick.jsonl` |",
        "| left out | 15 | `pick.left_out.jsonl` |",
        "| left out: ifd is above 1 | 7 |  |",
        "| left out: ifd: not scored yet | 2 |  |",
        "| left out: ifd: empty response | 1 |  |",
        "| selected | a | ifd | 0.6 | 1 | 1 |",
        "## Length of the response, in tokens",
        "| all rows | 20 |",
        "equal value stand in the order of BLAKE2b",
    ):
        assert line in card, line


def test_a_write_that_fails_leaves_nothing_half_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        yield None, {"a": 1}, {"reason": None, "gradprism.reason": None}, ["selected"]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(select_files, "_rows_with_files", fails)
    with pytest.raises(GradPrismError, match="No space left"):
        select(data, "column:reward", top=5, out=tmp_path / "out/pick.jsonl")
    assert [*(tmp_path / "out").iterdir()] == []


def test_the_data_is_never_replaced(data: Path, tmp_path: Path) -> None:
    before = data.read_bytes()
    high = data.rename(tmp_path / "rows.high.jsonl")
    for source, out in ((high, "rows.high.jsonl"), (high, "../" + tmp_path.name + "/rows.jsonl")):
        with pytest.raises(GradPrismError, match="holds the data that is read"):
            select(source, "column:reward", top=5, bottom=5 if "high" not in out else None, out=tmp_path / out)
    assert high.read_bytes() == before


@pytest.mark.parametrize("name", ["pick", "pick.csv", "pick.jsonl.gz"])
def test_other_formats_are_refused_before_anything_is_read(name: str) -> None:
    with pytest.raises(GradPrismError, match=r"ends in \.jsonl or \.parquet"):
        select("/no/such/file.jsonl", "column:reward", top=5, out=name)


# What is selected by


def test_metrics_and_columns_side_by_side(run: Run, tmp_path: Path) -> None:
    where = 'ifd < 0.9 AND kind = \'b\' AND "column:reward" > 1 AND "row" < 0'
    made = select(run, ["ifd", "ifd.n_tokens"], top=10, where=where, out=tmp_path / "pick.jsonl")
    assert [row["id"] for row in read(made.files[0])] == ["r5", "r7"]
    assert [*read(made.files[0])[0]][-5:] == [
        "gradprism.row", "gradprism.response_tokens", "gradprism.ifd", "gradprism.ifd.n_tokens", "gradprism.mean rank",
    ]  # fmt: skip
    assert made.length_unit == "tokens"
    assert made.selected["response_length"].to_list() == [10, 12]
    assert made.reasons == {
        "--where does not hold": 8,
        "ifd is above 1": 7,
        "ifd: not scored yet": 2,
        "ifd: empty response": 1,
    }


def test_rows_of_a_run_can_be_cut_by_perplexity(data: Path, tmp_path: Path) -> None:
    losses = [None if row == 19 else row / 4 for row in range(20)]
    run = scored_run(tmp_path / "scored", data, loss=losses)
    kept = [row for row in range(19) if math.exp(row / 4) <= 20]
    made = select(run, "column:reward", top="100%", max_perplexity=20, out=tmp_path / "pick.jsonl")
    assert made.selected["row"].to_list() == kept
    assert made.reasons == {"perplexity is above 20": 19 - len(kept), "perplexity: made up": 1}
    (high,) = [row for row in read(made.files[0]) if row["id"] == "r4"]
    assert high["gradprism.perplexity"] == pytest.approx(math.e)
    card = (tmp_path / "pick.card.md").read_text("utf-8")
    assert "left out: perplexity is above 20" in card
    assert "--max-perplexity 20.0" in card


def test_a_cut_by_perplexity_needs_a_run_that_holds_losses(run: Run, data: Path) -> None:
    with pytest.raises(GradPrismError, match=r"--max-perplexity needs perplexities, and the run .* holds no loss"):
        select(run, "ifd", top=3, max_perplexity=20)
    with pytest.raises(GradPrismError, match="the data alone have none"):
        select(data, "column:reward", top=3, max_perplexity=20)


@pytest.mark.slow  # half a second or more
def test_a_run_of_spectra(tiny_checkpoint: Path, tmp_path: Path) -> None:
    run = gradprism.spectra(SAMPLE, tiny_checkpoint, out=tmp_path / "run", limit=12, max_length=200)
    made = select(run.path, "effective_rank:q@0-1", top=3, stratify="kind", out=tmp_path / "pick.parquet")
    ranks = run.spectra.filter((pl.col("projection") == "q") & (pl.col("layer") <= 1))
    means = dict(ranks.group_by("row").agg(pl.col("effective_rank").mean()).iter_rows())
    chosen = read(made.files[0])
    for row in chosen:
        assert row["gradprism.effective_rank:q@0-1"] == pytest.approx(means[row["gradprism.row"]])
    kinds = Counter(row["kind"] for row in chosen)
    assert max(kinds.values()) == 1
    budget = select(run, "-loss", tokens=500)
    assert sum(budget.selected["response_length"]) <= 500
    lengths = run.examples.select("row", "n_response_tokens")
    joined = budget.table.join(lengths, on="row")
    assert joined["response_length"].to_list() == joined["n_response_tokens"].to_list()
    median = run.examples["loss"].median()
    cut = select(run, "effective_rank:q", top=12, max_perplexity=math.exp(median))
    assert set(cut.selected["row"]) == set(run.examples.filter(pl.col("loss") <= median)["row"])


@pytest.mark.parametrize("kind", [list, pl.DataFrame, lambda rows: pl.DataFrame(rows).to_pandas()])
def test_objects_in_memory(kind: Callable[[list[Row]], Any], tmp_path: Path) -> None:
    rows = [{key: value for key, value in row.items() if key != "nested"} for row in made_rows()]
    made = select(kind(rows), "column:reward", bottom=2, out=tmp_path / "pick.jsonl")
    assert [own(row) for row in read(made.files[0])] == rows[:2]
    assert select(kind(rows), "length", top=1).selected["row"].to_list() == [19]
    recipe = SelectRecipe(data=("(Python objects)",), select=made.settings)
    with pytest.raises(GradPrismError, match="made of Python objects"):
        run_recipe(recipe)


def test_csv_cells_are_numbers_where_all_are(tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_text("prompt,response,score,grade\na,b,10,x\na,b,9,1\na,b,,2\n")
    assert select(data, where="score > 9").selected["row"].to_list() == [0]
    made = select(data, "column:grade", top=5)
    assert made.selected["row"].to_list() == [1, 2]
    assert made.reasons == {"column:grade: not a number": 1}
    assert select(data, "column:score", top=5).reasons == {"column:score: the row has no such value": 1}


def test_which_rows_of_the_data(data: Path) -> None:
    made = select(data, "column:reward", top=2, rows="5:15")
    assert made.table["row"].to_list() == [*range(5, 15)]
    assert made.selected["row"].to_list() == [13, 14]


def test_near_duplicates_by_their_texts(tmp_path: Path) -> None:
    rows = made_rows(6)
    rows[2]["output"] = rows[5]["output"] = "the very same answer to what was asked, word for word"
    rows[5]["instruction"] = rows[2]["instruction"]
    made = select(json_lines(tmp_path / "rows.jsonl", rows), "column:reward", top=6, dedup=0.9)
    assert made.left_out.select("row", "reason").rows() == [
        (2, "near-duplicate (of row 5, which ranks better; similarity 1.00)")
    ]


# Refusals


def test_what_there_is_not(data: Path, run: Run) -> None:
    for source in (data, run):
        with pytest.raises(GradPrismError, match=r"Unknown metric 'reward'. Did you mean 'column:reward'"):
            select(source, "reward", top=2)
        with pytest.raises(GradPrismError, match=r"Unknown metric 'column:rewrd'. Did you mean 'column:reward'"):
            select(source, "column:rewrd", top=2)
        with pytest.raises(GradPrismError, match=r"Unknown column 'knd'. Did you mean 'kind'"):
            select(source, "column:reward", top=2, stratify="knd")
        with pytest.raises(GradPrismError, match=r"Unknown metric or column 'rewad'. Did you mean 'reward'"):
            select(source, where="rewad > 3")
        with pytest.raises(GradPrismError, match="column:kind holds no numbers; the first value is 'a'"):
            select(source, "column:kind", top=2)
    with pytest.raises(GradPrismError, match="There are length, column:reward, column:row"):
        select(data, "effective_rank:q", top=2)
    with pytest.raises(GradPrismError, match="--metric length"):
        select(data, "column:reward", tokens=100)


def test_data_that_changed_or_moved(run: Run, data: Path, tmp_path: Path) -> None:
    moved = data.rename(tmp_path / "moved.jsonl")
    with pytest.raises(GradPrismError, match="No such file"):
        select(run, "ifd", top=2)
    assert select(run, "ifd", top=2, data=moved).selected["row"].to_list() == [9, 10]
    json_lines(data, made_rows(19))
    with pytest.raises(GradPrismError, match=r"has changed since: .* now has 19 rows.*the run is of 20"):
        select(run, "ifd", top=2)


def test_rows_of_a_run_are_those_of_the_run(run: Run, data: Path) -> None:
    with pytest.raises(GradPrismError, match="were chosen when it was made"):
        select(run, "ifd", top=2, limit=5)
    with pytest.raises(GradPrismError, match="Expected one run, or data"):
        select([str(run.path), str(data)], "ifd", top=2)
    with pytest.raises(GradPrismError, match="none was given"):
        select(data, "column:reward", top=2, data=data)


def test_a_run_of_python_objects(tiny_checkpoint: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b " * i} for i in range(1, 4)]
    run = gradprism.spectra(rows, tiny_checkpoint, out=tmp_path / "run")
    with pytest.raises(GradPrismError, match="made of Python objects"):
        select(run, "loss", top=1)
    assert select(run, "length", top=1, data=rows).selected["row"].to_list() == [2]


# The published sets, where they are beside the checkout


@pytest.fixture(scope="module", params=["wiz", "her"])
def published(
    request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, str]:
    """Every published row of one data set, each once, in a temporary file."""
    rows: dict[tuple[str, str], Row] = {}
    quality = shared / "data" / "quality"
    for path in sorted(quality.glob(f"*/{request.param}_*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            rows.setdefault((row["instruction"], row["output"]), row)
    folder = tmp_path_factory.mktemp("published")
    return json_lines(folder / f"{request.param}.jsonl", [*rows.values()]), quality, request.param


@pytest.mark.parametrize(("published_end", "end", "sign"), [("highest", "top", 1), ("lowest", "bottom", -1)])
@pytest.mark.slow
def test_the_published_200_are_found_again_up_to_ties(
    published: tuple[Path, Path, str], published_end: str, end: str, sign: int, tmp_path: Path
) -> None:
    data, quality, name = published
    reference = json.loads((quality / "reward" / f"{name}_10k_{published_end}_200.json").read_text(encoding="utf-8"))
    made = select(data, "column:reward", **{end: 200}, out=tmp_path / "pick.jsonl")
    chosen = {(row["instruction"], row["output"]): row["reward"] for row in read(made.files[0])}
    expected = {(row["instruction"], row["output"]): row["reward"] for row in reference}
    assert len(chosen) == 200
    common = chosen.keys() & expected.keys()
    print(f"{name} {published_end}: {len(common)} of {len(expected)} rows found again; ties {made.ties.rows()}")
    cut = min(sign * value for value in chosen.values())
    strictly = {key for key, value in expected.items() if sign * value > cut}
    assert strictly <= chosen.keys()
    assert all(sign * chosen[key] == cut for key in chosen.keys() - expected.keys())
    assert sorted(chosen.values()) == sorted(expected.values())


@pytest.mark.parametrize("ends", [200, "25%"])
@pytest.mark.slow
def test_published_groups_of_equal_length(published: tuple[Path, Path, str], ends: Any) -> None:
    made = select(published[0], "column:reward", top=ends, bottom=ends, match_length=True)
    high, low = (_median(made, name) for name in made.groups)
    raw = select(published[0], "column:reward", top=ends, bottom=ends)
    print(f"{published[2]} {ends}: {made.notes[0]}; before {_median(raw, 'high')} and {_median(raw, 'low')}")
    assert max(high, low) <= 1.05 * min(high, low)
    assert re.search(r"\d+ rows in each group remain", made.notes[0])


def _median(made: Selection, group: str) -> float:
    return float(made.rows_of(group)["response_length"].median())  # type: ignore[arg-type]
