"""The command, killed and resumed."""

import json
import random
import signal
import time
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from gradprism import open_ablation
from gradprism.ablation.api import run_recipe
from gradprism.ablation.settings import AblateRecipe
from gradprism.core.settings import checked, read_yaml
from tests.ablation.made_ablations import rows, write
from tests.command import run, start


@pytest.fixture(scope="module")
def words(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("data")
    pool = write(folder / "pool.jsonl", [*rows(30, 0), *rows(30, 0, kind="noise")])
    evaluation = write(folder / "eval.jsonl", rows(8, 9))
    return [
        "ablate", str(pool), "--model", str(tiny_checkpoint), "--arms", "longest,shortest", "--tokens", "600",
        "--step-tokens", "100", "--seeds", "2", "--learning-rate", "3e-3", "--eval", f"held={evaluation}",
        "--device", "cpu",
    ]  # fmt: skip


def test_a_dry_run_says_what_it_takes_and_writes_nothing(words: list[str], tmp_path: Path) -> None:
    done = run(*words, "--out", str(tmp_path / "out"), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "6, of them 0 done; 6 steps each" in done.stdout
    assert "held: 8 rows" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.slow  # starts the command many times
@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.exhaustive)])
def test_killed_at_random_moments_it_comes_to_the_same(words: list[str], tmp_path: Path, kills: int) -> None:
    rng, folder = random.Random(kills), tmp_path / "killed"
    for _ in range(kills):
        process = start(*words, "--out", str(folder), "--quiet")
        time.sleep(rng.uniform(3, 12))
        process.send_signal(signal.SIGKILL)
        process.wait()
    ended = run(*words, "--out", str(folder), "--json")
    assert ended.returncode == 0, ended.stderr
    whole = run(*words, "--out", str(tmp_path / "whole"), "--json")
    first, second = (json.loads(each.stdout)["effects"] for each in (ended, whole))
    assert first == second
    for name in ("losses", "rows", "steps"):
        assert_frame_equal(getattr(open_ablation(folder), name), getattr(open_ablation(tmp_path / "whole"), name))


@pytest.mark.slow
def test_a_torn_table_is_trained_again(words: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert run(*words, "--out", str(folder), "--quiet").returncode == 0
    before = open_ablation(folder)
    torn = folder / "arms/longest/seed-1/losses.parquet"
    torn.write_bytes(torn.read_bytes()[:-40])
    after = run_recipe(checked(AblateRecipe, dict(read_yaml(folder / "recipe.yaml"))))
    assert_frame_equal(after.losses, before.losses)


def test_a_spread_model_is_refused(words: list[str], tmp_path: Path) -> None:
    done = run(
        *[word for word in words if word not in ("--device", "cpu")], "--device-map", "auto", "--out", tmp_path / "o"
    )
    assert done.returncode == 2
    assert "A training has one device" in done.stderr


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (["--eval", "held"], "expected NAME=FILE"),
        (["--arms", "+"], "names no arm"),
        (["--tokens", "0"], "greater than or equal to 1"),
        (["--arms", "all"], "with --epochs 1"),
    ],
)
def test_what_cannot_be_understood_is_refused(
    words: list[str], tmp_path: Path, changes: list[str], problem: str
) -> None:
    option, value = changes
    at = words.index(option)
    done = run(*words[:at], option, value, *words[at + 2 :], "--out", str(tmp_path / "out"))
    assert done.returncode != 0
    assert problem in done.stderr
    assert not (tmp_path / "out").exists()
