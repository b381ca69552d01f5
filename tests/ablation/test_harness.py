"""Tasks of lm-evaluation-harness: items scored one by one, compared with random rows, and kept apart from the pool."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

import gradprism
from gradprism.ablation.harness import open_tasks
from gradprism.ablation.result import BETTER, OPEN, UNKNOWN, WORSE, _verdict
from gradprism.ablation.settings import AblateRecipe, HarnessSettings
from gradprism.core.errors import GradPrismError
from gradprism.stats.arm_difference import arm_difference
from tests.ablation.made_ablations import WORDS, rows, write

pytestmark = pytest.mark.slow  # they train models

HOW: dict[str, Any] = {
    "tokens": 400, "step_tokens": 100, "seeds": 2, "eval_points": 1, "learning_rate": 3e-3, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two tasks of our own: the first word of a question, among choices, and to be written."""
    pytest.importorskip("lm_eval", reason="needs the extra `evals`")
    folder = tmp_path_factory.mktemp("tasks")
    items = []
    for row in rows(10, 7):
        word = row["prompt"].split()[0]
        choices = [word, *[other for other in WORDS if other != word][:3]]
        items.append({"asked": row["prompt"], "choices": choices, "word": word})
    data = write(folder / "items.jsonl", items)
    common = {
        "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test",
        "doc_to_text": "{{asked}}", "metadata": {"version": 1.0},
    }  # fmt: skip
    choice = {
        "task": "first_word", "output_type": "multiple_choice", "doc_to_choice": "{{choices}}", "doc_to_target": 0,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    written = {
        "task": "first_word_written", "output_type": "generate_until", "doc_to_target": "{{word}}",
        "generation_kwargs": {"max_gen_toks": 4, "until": ["\n"]},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    for own in (choice, written):
        (folder / f"{own['task']}.yaml").write_text(yaml.safe_dump(common | own))
    return folder


def settings(folder: Path, *tasks: str, **more: Any) -> HarnessSettings:
    return HarnessSettings(tasks=tasks or ("first_word",), task_folder=str(folder), **more)


def test_choices_are_scored_as_their_likelihoods_are(folder: Path, tiny_checkpoint: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    opened = open_tasks(settings(folder))
    assert opened
    found = opened.scores(model, tokenizer)
    expected = []
    for line in (folder / "items.jsonl").read_text().splitlines():
        item = json.loads(line)
        asked = tokenizer(item["asked"])["input_ids"]
        likelihoods = []
        for choice in item["choices"]:
            ids = tokenizer(f"{item['asked']} {choice}")["input_ids"]
            with torch.no_grad():
                logs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
            likelihoods.append(sum(logs[place - 1, ids[place]].item() for place in range(len(asked), len(ids))))
        expected.append(float(np.argmax(likelihoods) == 0))
    assert [value for _, metric, _, value, _ in found if metric == "acc"] == expected
    assert {(task, higher) for task, _, _, _, higher in found} == {("first_word", True)}


def test_the_limit_and_the_items_are_known(folder: Path, tiny_checkpoint: Path) -> None:
    opened = open_tasks(settings(folder, "first_word", "first_word_written", task_limit=3))
    assert opened
    assert {name: len(items) for name, items in opened.examples.items()} == {
        "task first_word": 3, "task first_word_written": 3,
    }  # fmt: skip
    assert set(opened.identity) == {"first_word", "first_word_written"}
    whole = open_tasks(settings(folder))
    assert whole
    assert whole.identity["first_word"] != opened.identity["first_word"]


@pytest.fixture(scope="module")
def made(folder: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An ablation with a task and no evaluation rows; one row of the pool is an item of the task."""
    out = tmp_path_factory.mktemp("ablation")
    item = json.loads((folder / "items.jsonl").read_text().splitlines()[0])
    leaked = {"id": "leaked", "kind": "true", "prompt": item["asked"], "response": item["word"]}
    pool = write(out / "pool.jsonl", [*rows(40, 0), *rows(40, 0, kind="noise"), leaked])
    return gradprism.ablate(
        pool, str(tiny_checkpoint), arms={"true": {"where": "kind = 'true'"}}, tasks="first_word,first_word_written",
        task_folder=str(folder), out=out / "out", **HOW,
    )  # fmt: skip


def test_every_arm_is_compared_on_every_metric(made: Any) -> None:
    assert made.problems == []
    assert made.effects.is_empty()
    table = made.score_effects
    assert table.select("task", "metric", "arm").rows() == [
        ("first_word", "acc", "true"), ("first_word_written", "exact_match", "true"),
    ]  # fmt: skip
    own = made.scores.filter(task="first_word")
    last = own["step"].max()

    def matrix(arm: str) -> Any:
        return np.array([own.filter(step=last, arm=arm, seed=seed).sort("row")["value"] for seed in (0, 1)])

    expected = arm_difference(matrix("true"), matrix("random"), np.ones(10))
    assert table["difference"][0] == pytest.approx(expected.value)
    assert table["score"][0] - table["score_random"][0] == pytest.approx(expected.value)
    if not math.isnan(expected.p):
        assert table["p"][0] == pytest.approx(expected.p)
    before = own.filter(step=0)
    assert before.group_by("row").agg(pl.col("value").n_unique())["value"].to_list() == [1] * 10


def test_items_of_a_task_are_kept_out_of_the_pool(made: Any) -> None:
    assert made.record["pool"]["near"]["task first_word"] == 1
    assert "leaked" not in set(made.rows["example_id"])


def test_page_figure_and_tables_show_it(made: Any) -> None:
    text = (made.path / "README.md").read_text()
    assert "first_word (acc)" in text
    assert (made.path / "figures/tasks.png").is_file()
    assert not (made.path / "figures/arms.png").exists()
    assert pl.read_parquet(made.path / "tables/score_effects.parquet").equals(made.score_effects)
    assert gradprism.open_ablation(made.path).score_effects.equals(made.score_effects)
    assert "first_word (acc)" in repr(made)


@pytest.mark.parametrize(
    ("difference", "p", "higher", "verdict"),
    [(0.2, 0.01, True, BETTER), (0.2, 0.01, False, WORSE), (-0.2, 0.01, True, WORSE), (-0.2, 0.01, False, BETTER),
     (0.2, 0.2, True, OPEN), (0.2, None, True, UNKNOWN), (0.2, 0.01, None, UNKNOWN)],
)  # fmt: skip
def test_better_is_what_the_task_says(difference: float, p: float | None, higher: bool | None, verdict: str) -> None:
    schema = {"difference": pl.Float64, "p_holm": pl.Float64, "higher": pl.Boolean}
    table = pl.DataFrame([(difference, p, higher)], schema=schema, orient="row")
    assert table.select(_verdict(pl.col("higher"))).item() == verdict


def test_unknown_tasks_and_nothing_to_evaluate_on_are_refused_by_name(folder: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(GradPrismError, match=r"--tasks first_words: .* no such task; did you mean first_word"):
        open_tasks(settings(folder, "first_words"))
    with pytest.raises(GradPrismError, match="expected --eval NAME=FILE, or --tasks NAME"):
        AblateRecipe.from_options(("data.jsonl",), "out", arms="longest", model=str(tiny_checkpoint), tokens=100)


def test_items_that_cannot_be_had_are_said(folder: Path, tmp_path: Path) -> None:
    own = yaml.safe_load((folder / "first_word.yaml").read_text())
    own |= {"task": "gone", "dataset_kwargs": {"data_files": {"test": str(tmp_path / "gone.jsonl")}}}
    (tmp_path / "gone.yaml").write_text(yaml.safe_dump(own))
    with pytest.raises(GradPrismError, match=r"The tasks of lm-evaluation-harness .* cannot be had: .*gone"):
        open_tasks(HarnessSettings(tasks=("gone",), task_folder=str(tmp_path)))
