"""A study with other models, other data, fewer rows."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.made_studies import ROWS, loaded_study, written_study

from gradprism import GradPrismError
from gradprism.cli.recipes import load_verb_and_recipe
from gradprism.study.command import located
from gradprism.study.settings import StudyRecipe

POOLS = {
    "pools": {"pool": {"data": "owner/name", "sample": 10_000, "columns": "prompt=question,response=a+b"}},
    "scores": {
        "one": {"metric": "ifd", "checkpoint": {"model": "owner/first", "dtype": "bfloat16"}},
        "two": {"metric": "ifd", "checkpoint": {"model": "owner/second"}},
        "best": {"metric": "reward", "reward": {"reward_model": "owner/third"}},
    },
}


def test_other_models_take_the_place_of_the_recipes(tmp_path: Path) -> None:
    study = loaded_study(written_study(tmp_path, **POOLS), models=["owner/New-1.5B", "b=/some/file.gguf"])
    assert {name: model.model for name, model in study.models.items()} == {
        "New-1.5B": "owner/New-1.5B", "b": "/some/file.gguf",
    }  # fmt: skip
    scored_by = {name: score.checkpoint and score.checkpoint.model for name, score in study.scores.items()}
    assert scored_by == {"one": "owner/New-1.5B", "two": "/some/file.gguf", "best": None}
    assert study.scores["best"].reward.reward_model == "owner/third"


def test_models_of_the_recipe_are_taken_as_they_are(tmp_path: Path) -> None:
    models = {name: {"model": f"owner/{name}", "dtype": "bfloat16"} for name in ("a", "b", "c")}
    study = loaded_study(written_study(tmp_path, models=models, **POOLS), models=["c", "a"])
    assert list(study.models) == ["c", "a"]
    assert study.models["a"].dtype == "bfloat16"
    checkpoint = study.scores["one"].checkpoint
    assert checkpoint is not None
    assert checkpoint.model == "owner/first"


@pytest.mark.parametrize("given", [["a/x", "b/x"], ["=x"], ["x="], ["../=x"], [""]])
def test_names_that_are_none_or_two_are_refused(given: list[str], tmp_path: Path) -> None:
    with pytest.raises(GradPrismError):
        loaded_study(written_study(tmp_path), models=given)


def test_files_of_their_own_names_stand_in_for_sets_and_pools(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "pool.jsonl").write_text(json.dumps(ROWS[0]) + "\n", encoding="utf-8")
    (folder / "long.json").write_text(json.dumps(ROWS), encoding="utf-8")
    study = loaded_study(written_study(tmp_path, **POOLS), data=str(folder))
    assert study.pools["pool"].data == str(folder / "pool.jsonl")
    assert study.pools["pool"].columns == ""  # the file has other ones
    assert study.sets["long"].data == str(folder / "long.json")
    assert study.sets["short"].data == "short.jsonl"
    assert study.root == str(folder)


def test_columns_of_the_recipe_hold_for_a_file_that_has_them(tmp_path: Path) -> None:
    rows = [{"question": "q", "a": "thinking", "b": "answer", "solution": "not this one"}]
    (tmp_path / "pool.json").write_text(json.dumps(rows), encoding="utf-8")
    study = loaded_study(written_study(tmp_path, **POOLS), data=str(tmp_path))
    assert study.pools["pool"].columns == "prompt=question,response=a+b"


def test_a_limit_holds_for_sets_pools_and_ends(tmp_path: Path) -> None:
    texts: dict[str, Any] = {"whole": {}, "few": {"rows": 2}}
    study = loaded_study(written_study(tmp_path, texts=texts, **POOLS), limit=4)
    assert {name: how.rows for name, how in study.texts.items()} == {"whole": 4, "few": 2}
    assert study.ends == 4
    assert (study.pools["pool"].sample, study.pools["pool"].limit) == (None, 40)


def test_no_rows_are_no_limit(tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match="--limit 0"):
        loaded_study(written_study(tmp_path), limit=0)


def test_the_papers_study_can_be_tried_on_small_models(tmp_path: Path) -> None:
    recipe = load_verb_and_recipe(Path(__file__).resolve().parents[2] / "studies" / "paper.yaml")[1]
    assert isinstance(recipe, StudyRecipe)
    study = located(recipe, tmp_path, str(tmp_path), 4, ["smollm2-135m", "gemma-3-270m"])
    loaded = {model.model for model in study.models.values()}
    loaded |= {score.checkpoint.model for score in study.scores.values() if score.checkpoint}
    assert loaded == {"smollm2-135m", "gemma-3-270m"}
