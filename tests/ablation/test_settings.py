from typing import Any

import pytest

from gradprism.ablation.settings import AblateRecipe, Arm, TrainSettings, folder_of, read_arm
from gradprism.core.errors import GradPrismError
from gradprism.core.settings import checked, recipe_text
from gradprism.core.yaml_text import parse_yaml

PLAIN: dict[str, Any] = {
    "data": ("pool.jsonl",), "evals": ("mine=mine.jsonl",), "checkpoint": {"model": "m"}, "train": {"tokens": 100},
    "out": "out",
}  # fmt: skip


def recipe(**changes: Any) -> AblateRecipe:
    return checked(AblateRecipe, PLAIN | {"arms": "longest"} | changes)


@pytest.mark.parametrize(
    ("text", "name", "settings"),
    [
        ("random", "random", {}),
        ("longest", "longest", {"by": ("length",)}),
        ("shortest", "shortest", {"by": ("-length",)}),
        ("all", "all", {"whole": True}),
        ("ids:mine.txt", "ids", {"ids": "mine.txt"}),
        ("ifd", "ifd", {"by": ("ifd",)}),
        ("-ifd", "-ifd", {"by": ("-ifd",)}),
        ("effective_rank:mean@10-19", "effective_rank:mean@10-19", {"by": ("effective_rank:mean@10-19",)}),
        ("ifd+given-length", "ifd+given-length", {"by": ("ifd",), "given": "length"}),
        ("diverse", "diverse", {"diverse": True, "by": ()}),
        ("ifd+diverse", "ifd+diverse", {"by": ("ifd",), "diverse": True}),
        ("both=influence:a+b+round-robin", "both", {"by": ("influence:a", "b"), "round_robin": True}),
    ],
)  # fmt: skip
def test_arms_as_a_command_line_has_them(text: str, name: str, settings: dict[str, Any]) -> None:
    assert read_arm(text) == (name, settings)
    Arm(**settings)


def test_random_is_always_there_and_first() -> None:
    assert list(recipe(arms="ifd,longest").arms) == ["random", "ifd", "longest"]
    assert list(recipe(arms=("random", "ifd")).arms) == ["random", "ifd"]
    assert list(recipe(arms={"mine": {"by": "ifd", "given": "length"}}).arms) == ["random", "mine"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"arms": "ifd,ifd"}, "named twice"),
        ({"arms": "a/b=ifd"}, "is no name|a/b"),
        ({"arms": {"a:b": {"by": "ifd"}, "a-b": {"by": "loss"}}}, "two arms would have one folder"),
        ({"arms": {"mine": {"by": "ifd", "top": "10"}}}, "top: an arm takes rows in one order"),
        ({"arms": {"mine": {"by": "ifd", "combine": "or"}}}, "combine"),
        ({"arms": {"mine": {"by": "ifd", "quality": 3}}}, "--quality weighs"),
        ({"arms": {"random": {"by": "ifd"}}}, "what the others are compared with"),
        ({"arms": "all"}, "with --epochs 1 it is the arm"),
        ({"arms": "+"}, "names no arm"),
        ({"evals": "mine.jsonl"}, "expected NAME=FILE"),
        ({"evals": ("a=1.jsonl", "a=2.jsonl")}, "named twice"),
        ({"evals": ()}, "expected --eval NAME=FILE, or --tasks NAME"),
        ({"train": {"tokens": 0}}, "greater than or equal to 1"),
        ({"train": {"tokens": 10, "warmup": 1.0}}, "less than 1"),
    ],
)
def test_refused_by_name(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(GradPrismError, match=problem):
        recipe(**changes)


def test_a_recipe_reads_back_what_it_writes() -> None:
    made = recipe(
        arms="ifd+given-length,both=a+b", evals={"mine": "mine.jsonl", "other": {"data": "o.jsonl", "rows": "0:5"}}
    )
    assert checked(AblateRecipe, dict(parse_yaml(recipe_text(made)))) == made


def test_evaluations_are_spread_over_the_steps() -> None:
    assert TrainSettings(tokens=10_000, step_tokens=1000, eval_points=5).eval_steps == (0, 2, 4, 6, 8, 10)
    assert TrainSettings(tokens=2000, step_tokens=1000, eval_points=5).eval_steps == (0, 1, 2)
    assert TrainSettings(tokens=10, step_tokens=1000).steps == 1


def test_rates_of_whole_models_and_of_adapters() -> None:
    assert TrainSettings(tokens=1).rate == 2e-5
    assert TrainSettings(tokens=1, lora_rank=8).rate == 2e-4
    assert TrainSettings(tokens=1, lora_rank=8, learning_rate=1e-3).rate == 1e-3


def test_folders_have_no_letters_that_a_disk_refuses() -> None:
    assert folder_of("influence:a+given-length@1-2") == "influence-a-given-length-1-2"
