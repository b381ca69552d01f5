"""Which rows are taken, from where, under which ids; and the fingerprint that tells data sets apart."""

import csv
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradprism.core.errors import GradPrismError
from gradprism.data.example import Example
from gradprism.data.example_set import ExampleSet, open_examples
from gradprism.data.settings import ReadSettings

Row = dict[str, Any]


def numbered(n: int) -> list[Row]:
    return [{"instruction": f"question {i}", "output": f"answer {i}"} for i in range(n)]


def opened(data: Any, **settings: Any) -> ExampleSet:
    return open_examples(data, ReadSettings(**settings))


def rows_of(data: Any, **settings: Any) -> list[int]:
    """Numbers of the chosen rows, checked against what they hold and against the count."""
    examples = opened(data, **settings)
    numbers = [example.row for example in examples]
    assert len(examples) == len(numbers)
    assert [example.turns[-1].content for example in examples] == [f"answer {row}" for row in numbers]
    return numbers


def ids_of(data: Any, **settings: Any) -> list[str]:
    return [example.example_id for example in opened(data, **settings)]


def contents(data: Any, **settings: Any) -> list[tuple[str, ...]]:
    return [tuple(turn.content for turn in example.turns) for example in opened(data, **settings)]


def json_lines(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# Choosing rows


@pytest.mark.parametrize(
    ("rows", "expected"),
    [("0:3", [0, 1, 2]), ("7:", [7, 8, 9]), (":2", [0, 1]), (":", [*range(10)]), ("8:99", [8, 9]), ("9:10", [9])],
)
def test_rows_takes_a_range_counted_from_zero(rows: str, expected: list[int]) -> None:
    assert rows_of(numbered(10), rows=rows) == expected


@pytest.mark.parametrize("rows", ["3", "a:b", "-3:5", "5:5", "6:2", "1:2:3", "1.0:2", "", "0:-1"])
def test_a_range_that_is_none_is_refused(rows: str) -> None:
    with pytest.raises(GradPrismError, match="expected A:B"):
        opened(numbered(10), rows=rows)


@pytest.mark.parametrize("rows", ["10:", "10:20", "500:600"])
@pytest.mark.parametrize("limit", [None, 3])
def test_a_range_beyond_the_data_is_an_error_that_says_how_many_rows_there_are(rows: str, limit: int | None) -> None:
    with pytest.raises(GradPrismError, match="10 rows"):
        opened(numbered(10), rows=rows, limit=limit)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"limit": 3}, [0, 1, 2]),
        ({"limit": 99}, [*range(10)]),
        ({"rows": "4:", "limit": 2}, [4, 5]),
        ({"rows": "4:6", "limit": 9}, [4, 5]),
    ],
)
def test_limit_takes_the_first_of_the_rows_chosen_so_far(chosen: Row, expected: list[int]) -> None:
    assert rows_of(numbered(10), **chosen) == expected


@given(total=st.integers(1, 40), data=st.data(), seed=st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_a_sample_is_distinct_ordered_and_reproducible(total: int, data: st.DataObject, seed: int) -> None:
    size = data.draw(st.integers(1, total))
    sample = rows_of(numbered(total), sample=size, seed=seed)
    assert sample == sorted(set(sample))
    assert len(sample) == size
    assert set(sample) <= set(range(total))
    assert rows_of(numbered(total), sample=size, seed=seed) == sample


def test_another_seed_gives_another_sample() -> None:
    samples = {tuple(rows_of(numbered(50), sample=10, seed=seed)) for seed in range(8)}
    assert len(samples) == 8


def test_every_row_is_as_likely_to_be_sampled() -> None:
    counts = [0] * 10
    for seed in range(400):
        for row in rows_of(numbered(10), sample=3, seed=seed):
            counts[row] += 1
    assert min(counts) > 80  # the mean is 120 and the standard deviation 9
    assert max(counts) < 160


def test_a_sample_is_drawn_from_the_range_and_the_limit_cuts_it() -> None:
    sample = rows_of(numbered(40), rows="10:30", sample=8, seed=3)
    assert set(sample) <= set(range(10, 30))
    assert rows_of(numbered(40), rows="10:30", sample=8, seed=3, limit=5) == sample[:5]


@pytest.mark.parametrize("chosen", [{"sample": 11}, {"sample": 4, "rows": "7:"}, {"sample": 1, "rows": "20:30"}])
def test_a_sample_larger_than_the_data_is_refused(chosen: Row) -> None:
    with pytest.raises(GradPrismError, match="there are only"):
        opened(numbered(10), **chosen)


def test_the_rows_may_be_read_any_number_of_times() -> None:
    examples = opened(numbered(20), sample=5)
    assert list(examples) == list(examples)


# Several sources


def test_several_files_of_different_schemas_are_numbered_on(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "why?"}, {"role": "assistant", "content": "because"}]
    first = json_lines(tmp_path / "a.jsonl", numbered(2))
    second = tmp_path / "b.json"
    second.write_text(json.dumps([{"messages": messages, "score": 3}]), encoding="utf-8")
    third = tmp_path / "c.csv"
    third.write_text("question,answer\nhow?,so\n", encoding="utf-8")
    examples = list(opened([first, str(second), third]))
    assert [example.row for example in examples] == [0, 1, 2, 3]
    assert [example.turns[-1].content for example in examples] == ["answer 0", "answer 1", "because", "so"]
    assert [example.columns for example in examples] == [{}, {}, {"score": 3}, {}]


def test_a_range_runs_over_the_border_of_two_files(tmp_path: Path) -> None:
    rows = numbered(6)
    parts = [json_lines(tmp_path / "a.jsonl", rows[:3]), json_lines(tmp_path / "b.jsonl", rows[3:])]
    assert rows_of(parts, rows="2:5") == [2, 3, 4]
    assert rows_of(parts, sample=6) == [0, 1, 2, 3, 4, 5]


def test_a_folder_of_files_is_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    rows = numbered(4)
    json_lines(tmp_path / "b.jsonl", rows[2:])
    pl.DataFrame(rows[:2]).write_parquet(tmp_path / "a.parquet")
    (tmp_path / "README.md").write_text("no data", encoding="utf-8")
    assert rows_of(tmp_path) == [0, 1, 2, 3]
    assert rows_of(str(tmp_path), rows="1:3") == [1, 2]


def test_a_folder_without_data_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no data", encoding="utf-8")
    with pytest.raises(GradPrismError, match=r"neither a saved .* folder"):
        opened(tmp_path)


@pytest.mark.parametrize("name", ["gone.jsonl", "./gone", "/nowhere/rows.bin", "~/nowhere/rows"])
def test_a_path_that_is_not_there_is_no_hub_id(name: str) -> None:
    with pytest.raises(GradPrismError, match="No such file"):
        opened(name)


# Ids


def test_ids_of_the_data_are_used_where_they_are_unique() -> None:
    rows = [{"id": f"r{i}", **row} for i, row in enumerate(numbered(3))]
    assert ids_of(rows) == ["r0", "r1", "r2"]
    assert all("id" not in example.columns for example in opened(rows))


@pytest.mark.parametrize("ids", [["a", "b", "a"], ["1", None, "b"], ["", "", ""]])
def test_ids_that_are_not_unique_give_way_to_row_numbers(ids: list[str | None]) -> None:
    """A row without an id is called by its number, which another row may bear as its id."""
    assert ids_of([{**row, "id": own} for row, own in zip(numbered(3), ids, strict=True)]) == ["0", "1", "2"]


def test_only_the_chosen_rows_need_unique_ids() -> None:
    rows = [{**row, "id": own} for row, own in zip(numbered(3), ["a", "b", "a"], strict=True)]
    assert ids_of(rows, rows="1:") == ["b", "a"]


def test_a_row_without_an_id_among_others_is_called_by_its_number() -> None:
    rows = [{**row, "id": own} for row, own in zip(numbered(3), ["x", None, 7], strict=True)]
    assert ids_of(rows) == ["x", "1", "7"]


def test_the_column_of_the_ids_can_be_named() -> None:
    rows = [{"key": f"k{i}", "id": "same", **row} for i, row in enumerate(numbered(2))]
    assert ids_of(rows, columns="id=key") == ["k0", "k1"]


def test_a_missing_id_of_a_pandas_frame_is_no_id() -> None:
    frame = pd.DataFrame([{**row, "id": own} for row, own in zip(numbered(2), ["x", None], strict=True)])
    assert ids_of(frame) == ["x", "1"]


def test_an_id_with_half_a_surrogate_pair_does_not_end_the_reading(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "rows.jsonl", [{**row, "id": f"{i}\ud800"} for i, row in enumerate(numbered(2))])
    assert len(list(opened(path))) == 2
    for example_id in ids_of(path):
        example_id.encode()  # a table can hold it


# What a row becomes


def test_a_bad_row_keeps_its_number_its_id_and_its_columns() -> None:
    good = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = [{"messages": good, "id": "g", "n": 1}, {"messages": [{"role": "x", "content": ""}], "id": "b", "n": 2}]
    examples = opened(rows)
    bad = list(examples)[1]
    assert (bad.row, bad.example_id, bad.columns, bad.turns) == (1, "b", {"n": 2}, ())
    assert "unknown role 'x'" in str(bad.problem)
    assert examples.n_unreadable == 1


def test_unreadable_lines_are_counted_and_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('broken\n{"prompt": "a", "response": "b"}\n{"prompt": \n', encoding="utf-8")
    examples = opened(path)
    assert [example.problem is None for example in examples] == [False, True, False]
    assert (len(examples), examples.n_unreadable) == (3, 2)


@pytest.mark.parametrize("text", ["broken\n{broken}\n", "[1]\n", '["a", 3]'])
def test_data_without_one_readable_row_is_an_error_with_the_first_problem(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(GradPrismError, match=r"No row of .*rows\.jsonl can be read\. The first problem: .+ \w+"):
        opened(path)


@pytest.mark.parametrize(("name", "text"), [("rows.json", "[]"), ("rows.csv", "prompt,response\n")])
def test_data_without_any_row_is_an_error(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(GradPrismError, match="holds no rows"):
        opened(tmp_path / name)


def test_a_file_without_a_readable_row_does_not_hide_the_next(tmp_path: Path) -> None:
    broken = tmp_path / "a.jsonl"
    broken.write_text("broken\n", encoding="utf-8")
    examples = opened([broken, json_lines(tmp_path / "b.jsonl", numbered(1))])
    assert [example.problem is None for example in examples] == [False, True]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "half a pair: \ud800", "é😀"])
def test_columns_are_stored_as_json_that_any_reader_understands(value: Any) -> None:
    text = Example(0, "0", columns={"value": value}).columns_json
    assert pl.DataFrame({"columns": [text]}).height == 1  # a table can hold it
    parsed = json.loads(text, parse_constant=pytest.fail)
    assert list(parsed) == ["value"]


# The fingerprint


def save_json(path: Path, rows: Sequence[Row]) -> None:
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def save_csv(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


FORMATS: dict[str, Callable[[Path, Sequence[Row]], object]] = {
    ".json": save_json,
    ".jsonl": json_lines,
    ".csv": save_csv,
    ".parquet": lambda path, rows: pl.DataFrame(rows).write_parquet(path),
}


def test_the_fingerprint_does_not_depend_on_the_format(tmp_path: Path) -> None:
    rows = [{"id": i, **row} for i, row in enumerate(numbered(5), start=7)]
    for suffix, save in FORMATS.items():
        save(tmp_path / f"rows{suffix}", rows)
    found = {opened(tmp_path / f"rows{suffix}").fingerprint for suffix in FORMATS}
    found |= {opened(rows).fingerprint, opened(pl.DataFrame(rows)).fingerprint, opened(pd.DataFrame(rows)).fingerprint}
    assert len(found) == 1


@pytest.mark.slow  # half a second or more
def test_the_fingerprint_is_the_same_in_another_process(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "rows.jsonl", numbered(5))
    code = (
        "import sys; from gradprism.data.example_set import open_examples\n"
        "from gradprism.data.settings import ReadSettings\n"
        "print(open_examples(sys.argv[1], ReadSettings(sample=3)).fingerprint)"
    )
    command = [sys.executable, "-c", code, str(path)]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert answer.stdout.strip() == opened(path, sample=3).fingerprint


def test_the_fingerprint_tells_content_order_ids_and_choice_apart() -> None:
    rows = numbered(6)
    messages = [{"role": "user", "content": "question 0"}, {"role": "assistant", "content": "answer 0"}]
    other_role = [{**messages[0], "role": "system"}, messages[1]]
    sets = [
        opened(rows),
        opened(rows[::-1]),
        opened([{**rows[0], "output": "answer 0 "}, *rows[1:]]),
        opened([{**row, "id": f"r{i}"} for i, row in enumerate(rows)]),
        opened(rows, rows="0:5"),
        opened(rows, rows="1:6"),
        opened(rows, sample=3, seed=0),
        opened(rows, sample=3, seed=1),
        opened([{"messages": messages}]),
        opened([{"messages": other_role}]),
        opened([{"messages": messages[:1] + messages}]),
    ]
    assert len({examples.fingerprint for examples in sets}) == len(sets)


def test_the_same_choice_told_in_two_ways_has_one_fingerprint() -> None:
    rows = numbered(6)
    told = [{"rows": "0:2"}, {"limit": 2}, {"rows": "0:4", "limit": 2}]
    assert len({opened(rows, **chosen).fingerprint for chosen in told} | {opened(rows[:2]).fingerprint}) == 1


def test_moving_text_between_prompt_and_response_changes_the_content_hash() -> None:
    pairs = [("ab", "c"), ("a", "bc"), ("", "abc"), ("a\0", "bc")]
    examples = opened([{"prompt": prompt, "response": response} for prompt, response in pairs])
    assert len({example.content_hash for example in examples}) == len(pairs)


# Python objects


@pytest.mark.parametrize(
    "make",
    [list, tuple, datasets.Dataset.from_list, pl.DataFrame, pd.DataFrame],
    ids=["list", "tuple", "datasets", "polars", "pandas"],
)
def test_rows_of_python_objects_are_read(make: Callable[[list[Row]], Any]) -> None:
    rows = [{**row, "score": float(i)} for i, row in enumerate(numbered(4))]
    assert rows_of(make(rows), rows="1:") == [1, 2, 3]
    assert [example.columns for example in opened(make(rows))] == [{"score": float(i)} for i in range(4)]


def test_lists_of_turns_survive_a_frame() -> None:
    messages = [{"role": "user", "content": "why?"}, {"role": "assistant", "content": "because"}]
    rows = [{"messages": messages}]
    made = (rows, pl.DataFrame(rows), pd.DataFrame(rows), datasets.Dataset.from_list(rows))
    assert {tuple(map(tuple, contents(data))) for data in made} == {(("why?", "because"),)}


def test_an_empty_cell_of_a_frame_adds_nothing_to_the_prompt() -> None:
    rows = [{"instruction": "add", "input": "2 3", "output": "5"}, {"instruction": "hi", "input": None, "output": "yo"}]
    for data in (rows, pl.DataFrame(rows), pd.DataFrame(rows)):
        assert contents(data) == [("add\n2 3", "5"), ("hi", "yo")]


@pytest.mark.parametrize(
    "data",
    [
        iter(numbered(3)),
        (row for row in numbered(3)),
        map(dict, numbered(3)),
        {"train": numbered(3)},
        pl.LazyFrame(numbered(3)),
        b"rows.jsonl",
        None,
        3,
        threading.Lock(),
    ],
    ids=lambda data: type(data).__name__,
)
def test_what_cannot_be_read_twice_or_has_no_rows_is_refused(data: Any) -> None:
    with pytest.raises(GradPrismError, match=f"{type(data).__name__}: expected"):
        opened(data)


@pytest.mark.parametrize("data", [[], (), pl.DataFrame(), pd.DataFrame(), pl.DataFrame(schema={"prompt": pl.String})])
def test_no_rows_at_all_is_an_error(data: Any) -> None:
    with pytest.raises(GradPrismError, match="holds no rows"):
        opened(data)


def test_an_object_that_is_no_dict_is_one_bad_row() -> None:
    examples = list(opened([*numbered(2), 5, ["a"]]))
    assert [example.problem for example in examples[:2]] == [None, None]
    assert "a int" in str(examples[2].problem)
    assert "a list" in str(examples[3].problem)


# Saved `datasets` folders and the hub


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    rows = numbered(6)
    made = {"train": datasets.Dataset.from_list(rows), "test": datasets.Dataset.from_list(rows[:2])}
    datasets.DatasetDict(made).save_to_disk(tmp_path / "splits")
    return tmp_path / "splits"


def test_a_saved_data_set_is_read(tmp_path: Path) -> None:
    datasets.Dataset.from_list(numbered(4)).save_to_disk(tmp_path / "saved")
    assert rows_of(tmp_path / "saved", sample=4) == [0, 1, 2, 3]
    assert opened(tmp_path / "saved").fingerprint == opened(numbered(4)).fingerprint


def test_a_split_of_a_saved_data_set_is_chosen_by_name(splits: Path) -> None:
    assert rows_of(splits, split="test") == [0, 1]
    assert len(rows_of(splits, split="train")) == 6


@pytest.mark.parametrize("split", [None, "validation"])
def test_splits_are_listed_where_none_or_an_unknown_one_is_chosen(splits: Path, split: str | None) -> None:
    with pytest.raises(GradPrismError, match=r"'train', 'test'.*--split"):
        opened(splits, split=split)


def test_the_only_split_needs_no_name(tmp_path: Path) -> None:
    datasets.DatasetDict(train=datasets.Dataset.from_list(numbered(3))).save_to_disk(tmp_path / "one")
    assert rows_of(tmp_path / "one") == [0, 1, 2]


def test_a_damaged_saved_data_set_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}", encoding="utf-8")
    with pytest.raises(GradPrismError, match="Cannot read the saved data set"):
        opened(tmp_path)


@pytest.mark.parametrize("name", ["nobody/no-such-data", "rows.txt", "no-such-data"])
def test_a_hub_id_that_cannot_be_reached_says_what_was_expected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # both were read when imported
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(GradPrismError, match=rf"'{name}' is no file or folder here(.|\n)*Expected a data file"):
        opened(name)


def test_records_are_the_rows_as_they_were_read(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b", "deep": {"er": [i, None]}} for i in range(5)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:4]) + "{torn\n" + json.dumps(rows[4]))
    pairs = [*opened(path, rows="1:").records()]
    assert [(example.row, record.fields) for example, record in pairs] == [
        (1, rows[1]), (2, rows[2]), (3, rows[3]), (4, None), (5, rows[4]),
    ]  # fmt: skip
    assert [example.problem for example, _ in pairs] == [record.problem for _, record in pairs]
