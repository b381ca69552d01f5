"""Folders of files: by split, by configuration, without their metadata; never several splits in silence."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gradprism.core.errors import GradPrismError
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings


def written(folder: Path, *names: str) -> Path:
    """Files of two rows each, whose answers are their names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"prompt": "Which file?", "completion": name}] * 2
        if path.suffix == ".parquet":
            pl.DataFrame(rows).write_parquet(path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def files_read(data: Path, **settings: Any) -> list[str]:
    examples = open_examples(str(data), ReadSettings(**settings))
    return list(dict.fromkeys(example.turns[-1].content for example in examples))


SHARDED = ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet")
LAYOUTS = {
    "files": ("train.jsonl", "test.jsonl"),
    "names with more": ("ferries_train_v2.jsonl", "ferries-test.jsonl"),
    "folders": ("train/a.jsonl", "train/b.jsonl", "test/a.jsonl"),
    "shards": SHARDED,
    "folders in data": ("data/train/a.jsonl", "data/test/a.jsonl"),
    "compressed and other names": ("training.jsonl", "eval.jsonl"),
}


@pytest.mark.parametrize("names", LAYOUTS.values(), ids=LAYOUTS)
def test_a_split_is_chosen_by_name_and_none_is_refused_with_the_list(names: tuple[str, ...], tmp_path: Path) -> None:
    folder = written(tmp_path, *names)
    tests = {name for name in names if "test" in name or "eval" in name}
    assert files_read(folder, split="test") == sorted(tests)
    assert files_read(folder, split="train") == sorted({*names} - tests)
    with pytest.raises(GradPrismError, match=r"has the splits 'test', 'train'.*--split|'train', 'test'.*--split"):
        files_read(folder)
    with pytest.raises(GradPrismError, match=r"--split nonsense: .*the splits .*'train'"):
        files_read(folder, split="nonsense")


def test_splits_of_any_name_that_shards_have(tmp_path: Path) -> None:
    names = [f"data/{split}-00000-of-00001.parquet" for split in ("train_gen", "train_sft", "test_sft")]
    folder = written(tmp_path, *names)
    assert files_read(folder, split="train_sft") == ["data/train_sft-00000-of-00001.parquet"]
    with pytest.raises(GradPrismError, match="'test_sft', 'train_gen', 'train_sft'"):
        files_read(folder)


def test_validation_has_several_names(tmp_path: Path) -> None:
    folder = written(tmp_path, "train.jsonl", "dev.jsonl")
    for split in ("validation", "valid", "val", "dev"):
        assert files_read(folder, split=split) == ["dev.jsonl"]


def test_files_without_a_split_are_read_together_or_by_their_names(tmp_path: Path) -> None:
    folder = written(tmp_path, "a.jsonl", "b.jsonl")
    assert files_read(folder) == ["a.jsonl", "b.jsonl"]
    assert files_read(folder, split="b") == ["b.jsonl"]
    assert files_read(written(folder, "train.jsonl")) == ["a.jsonl", "b.jsonl", "train.jsonl"]
    with pytest.raises(GradPrismError, match="'a', 'b', 'test'"):
        files_read(written(folder, "test.jsonl"))


def test_one_split_alone_needs_no_name(tmp_path: Path) -> None:
    assert files_read(written(tmp_path, "data/test-00000-of-00001.parquet")) == ["data/test-00000-of-00001.parquet"]


METADATA = ("dataset_infos.json", "dataset_info.json", "config.json", "my_infos.json", ".hidden.jsonl", "a.jsonl.lock",
            "README.md")  # fmt: skip


def test_metadata_is_passed_over(tmp_path: Path) -> None:
    for name in METADATA:
        (tmp_path / name).write_text('{"default": {"features": {}}}', encoding="utf-8")
    assert files_read(written(tmp_path, "rows.jsonl")) == ["rows.jsonl"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    written(tmp_path, "a.jsonl")
    (tmp_path / "b.json").write_text('[{"file": "a.jsonl"}]', encoding="utf-8")
    examples = open_examples(str(tmp_path), ReadSettings())
    assert examples.unread_sources == (str(tmp_path / "b.json"),)
    (tmp_path / "c.parquet").write_bytes(b"no table")
    with pytest.raises(GradPrismError, match=r"c\.parquet is not a readable Parquet file"):
        open_examples(str(tmp_path), ReadSettings())


def test_configurations_are_folders(tmp_path: Path) -> None:
    folder = written(tmp_path, "ferry/train.jsonl", "ferry/test.jsonl", "tram/train-00000-of-00001.parquet")
    assert files_read(folder, config="ferry", split="train") == ["ferry/train.jsonl"]
    assert files_read(folder, config="tram") == ["tram/train-00000-of-00001.parquet"]
    for settings in ({}, {"config": "bus"}):
        with pytest.raises(GradPrismError, match="the configurations 'ferry', 'tram'"):
            files_read(folder, **settings)
    assert files_read(written(tmp_path / "one", "only/train.jsonl")) == ["only/train.jsonl"]


def test_folders_beside_files_are_not_read(tmp_path: Path) -> None:
    assert files_read(written(tmp_path, "rows.jsonl", "old/rows.jsonl")) == ["rows.jsonl"]


def test_a_file_is_of_the_split_that_its_name_says_or_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, "train.jsonl", "rows.jsonl", "test/a.jsonl")
    assert files_read(folder / "train.jsonl", split="train") == ["train.jsonl"]
    assert files_read(folder / "rows.jsonl", split="rows") == ["rows.jsonl"]
    assert files_read(folder / "test" / "a.jsonl", split="test") == ["test/a.jsonl"]
    for file, said in (("rows.jsonl", "no split in its name"), ("train.jsonl", "of the split 'train'")):
        with pytest.raises(GradPrismError, match=f"--split validation: .*{said}"):
            files_read(folder / file, split="validation")
    with pytest.raises(GradPrismError, match="--config x: the file"):
        files_read(folder / "rows.jsonl", config="x")
