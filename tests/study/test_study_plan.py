"""The plan of a study: its numbers against a tokenizer asked directly; nothing written, nobody asked."""

import json
import math
import random
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.command import run
from tests.conftest import SAMPLE
from tests.made_studies import ROWS, loaded_study, written_study

from gradprism.core.errors import GradPrismError
from gradprism.study.api import plan_study, run_recipe
from gradprism.study.plan import Plan, PlannedStep, Total, total

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

ROOT = Path(__file__).resolve().parents[2]


def whole(row: dict[str, str]) -> str:
    """The text that the `paper` template makes."""
    return "\n".join(row[name] for name in ("instruction", "input", "output") if row.get(name))


def step_of(plan: Plan, name: str) -> PlannedStep:
    return next(step for step in plan.steps if step.name == name)


def runs_of(plan: Plan) -> Total:
    return total(step for step in plan.steps if step.name.startswith("runs/"))


def test_tokens_are_those_of_the_models_own_tokenizer(tiny_checkpoint: Path, tokenizer: Any, tmp_path: Path) -> None:
    texts = {"whole": {"max_length": 40}, "first-8": {"response_tokens": 8, "sets": ["l*"]}}
    study = loaded_study(written_study(tmp_path, tiny_checkpoint, texts=texts))
    plan = plan_study(study)
    lengths = [len(tokenizer(whole(row))["input_ids"]) for row in ROWS]
    prompts = [len(tokenizer(f"{row['instruction']}\n")["input_ids"]) for row in ROWS[3:]]
    assert plan.groups["runs/tiny/whole"].tokens == sum(min(length, 40) for length in lengths)
    assert plan.groups["runs/tiny/first-8"].tokens == sum(prompt + 8 for prompt in prompts)
    assert {step.basis for step in plan.steps} == {"counted"}
    assert (runs_of(plan).steps, runs_of(plan).rows) == (3, 9)
    assert not step_of(plan, "comparisons/tiny/whole/length").is_done
    assert not plan.missing
    assert not (tmp_path / "out").exists()


def test_rows_that_would_be_skipped_have_no_tokens(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = written_study(tmp_path, tiny_checkpoint)
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    whole_rows = step_of(plan_study(loaded_study(path)), "runs/tiny/whole/long")
    rows = [*ROWS, {"instruction": "nothing", "output": ""}, {"instruction": ["?"], "output": "x"}]
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n", encoding="utf-8")
    more = step_of(plan_study(loaded_study(path)), "runs/tiny/whole/long")
    assert (whole_rows.rows, more.rows) == (6, 9)
    assert more.tokens == pytest.approx(whole_rows.tokens)


def test_a_sample_of_many_rows_is_scaled(tiny_checkpoint: Path, tokenizer: Any, tmp_path: Path) -> None:
    path = written_study(tmp_path, tiny_checkpoint)
    rows = ROWS * 100  # each sixth one is alike
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    planned = step_of(plan_study(loaded_study(path)), "runs/tiny/whole/long")
    taken = [min(len(tokenizer(whole(row))["input_ids"]), 64) for row in rows[::3]]
    assert (planned.rows, planned.basis) == (600, "estimated")
    assert planned.tokens == pytest.approx(600 * sum(taken) / len(taken))


def test_characters_stand_in_for_a_tokenizer_that_is_not_here(tmp_path: Path) -> None:
    models = {"far": {"model": "owner/name", "parameters": 1e6}}
    plan = plan_study(loaded_study(written_study(tmp_path, models=models)))
    expected = sum(min(math.ceil(len(whole(row).encode()) / 4), 64) for row in ROWS)
    assert total(plan.steps).tokens == expected
    assert total(plan.steps).basis == "estimated"
    assert total(plan.steps).seconds > 0
    assert [(item.kind, item.name, item.given) for item in plan.missing] == [("model", "far", "owner/name")]


@pytest.mark.slow  # a study is run first
def test_what_is_done_is_counted_and_times_the_rest(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = written_study(tmp_path, tiny_checkpoint)
    run_recipe(loaded_study(path, limit=2))
    (tmp_path / "out/runs/tiny/whole/short/examples/part-00000.parquet").unlink()
    plan = plan_study(loaded_study(path, limit=2))
    done = {step.name: (step.rows_done, step.is_done) for step in plan.steps}
    assert done["runs/tiny/whole/long"] == (2, True)
    assert done["runs/tiny/whole/short"] == (0, False)
    assert done["comparisons/tiny/whole/length"] == (0, True)
    records = [json.loads(file.read_text()) for file in (tmp_path / "out/runs").rglob("run.json")]
    sessions = [session for record in records for session in record["sessions"]]
    pace = sum(session["seconds"] for session in sessions) / sum(session["tokens"] for session in sessions)
    short = step_of(plan, "runs/tiny/whole/short")
    assert short.seconds == pytest.approx(pace * short.tokens)
    assert plan.rate
    assert plan.rate.measured


@pytest.mark.slow  # a study is run first
def test_runs_that_would_be_refused_are_named(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = written_study(tmp_path, tiny_checkpoint)
    run_recipe(loaded_study(path, limit=2))
    extended = plan_study(loaded_study(path))
    assert (runs_of(extended).rows, runs_of(extended).rows_done, extended.missing) == (6, 4, ())
    plan = plan_study(loaded_study(path, limit=1))
    assert runs_of(plan).rows_done == 0
    assert {item.name for item in plan.missing} == {"runs/tiny/whole/long", "runs/tiny/whole/short"}
    assert all("read.limit" in item.reason for item in plan.missing)
    with pytest.raises(GradPrismError, match="fewer are asked for"):
        run_recipe(loaded_study(path, limit=1))
    assert run_recipe(loaded_study(path)).failed == {}
    assert runs_of(plan_study(loaded_study(path))).rows_done == 6


def test_sets_of_a_pool_are_expected_from_its_rows(tiny_checkpoint: Path, tmp_path: Path) -> None:
    score = {"metric": "length", "checkpoint": {"model": str(tiny_checkpoint)}}
    judged = {"metric": "instag", "judge": {"judge": "someone", "base_url": "http://localhost:9/v1"}}
    more = {"pools": {"pool": {"data": "pool.jsonl"}}, "scores": {"size": score, "tags": judged}, "ends": 2}
    path = written_study(tmp_path, tiny_checkpoint, **more)
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    plan = plan_study(loaded_study(path))
    chosen = [step for step in plan.steps if step.name.startswith("runs/tiny/whole/pool-")]
    assert [(step.rows, step.basis) for step in chosen] == [(2, "at most")] * 4
    scores = plan.groups["pools/pool/scores"]
    assert (scores.steps, scores.rows) == (2, 12)
    assert step_of(plan, "pools/pool/scores/tags").seconds is None  # a judge's
    assert [step.is_done for step in plan.steps if step.name.startswith("sets/")] == [False, False]


@pytest.mark.slow  # a study is run first
def test_a_set_that_is_yet_to_be_selected_has_at_most_its_source(tiny_checkpoint: Path, tmp_path: Path) -> None:
    sets = {
        "some": {"data": "long.jsonl", "select": {"where": "id != 'r4'"}},
        "short": {"data": "short.jsonl"},
    }
    contrasts = {"c": {"first": "some", "second": "short"}}
    path = written_study(tmp_path, tiny_checkpoint, sets=sets, contrasts=contrasts)
    plan = plan_study(loaded_study(path))
    names = [f"runs/tiny/whole/{name}" for name in sets]
    assert [(step.name, step.rows, step.basis) for step in plan.steps if step.name in names] == [
        (names[0], 3, "at most"), (names[1], 3, "counted"),
    ]  # fmt: skip
    assert not step_of(plan, "sets/some").is_done
    run_recipe(loaded_study(path))
    plan = plan_study(loaded_study(path))
    assert [(step.rows, step.rows_done) for step in plan.steps if step.name in names] == [(2, 2), (3, 3)]
    assert all(step.is_done for step in plan.steps)
    assert plan.rate is None  # nothing is left to time


def test_a_template_that_the_tokenizer_has_not_is_named(tiny_checkpoint: Path, tmp_path: Path) -> None:
    texts = {"whole": {"template": str(tmp_path / "none.jinja")}}
    plan = plan_study(loaded_study(written_study(tmp_path, tiny_checkpoint, texts=texts)))
    assert {item.kind for item in plan.missing} == {"run"}
    assert total(plan.steps).tokens


def test_the_papers_study_is_planned_without_asking_anybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import config
    from huggingface_hub import constants

    asked: list[Any] = []

    def ask(*address: Any, **_: Any) -> None:
        asked.append(address)
        raise OSError("no network")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # as it is for a user without a network
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", ask)
    monkeypatch.setattr(socket.socket, "connect", ask)
    study = loaded_study(ROOT / "studies" / "paper.yaml").model_copy(update={"out": str(tmp_path / "out")})
    plan = plan_study(study)
    assert not asked
    assert not constants.HF_HUB_OFFLINE
    named = {item.name for item in plan.missing}
    assert named >= {*study.models, *study.pools, *study.sets, "ifd-gpt2", "ifd-qwen7b", "reward"}
    assert total(plan.steps).basis == "at most"
    assert all(step.seconds for step in plan.steps if step.name.startswith("runs/"))
    assert not (tmp_path / "out").exists()


def test_as_json(tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = run("study", written_study(tmp_path, tiny_checkpoint), "--dry-run", "--json", "--limit", 1, "-q")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    runs = {each["name"]: each["rows"] for each in plan["steps"] if each["rows"]}
    assert runs == {"runs/tiny/whole/long": 1, "runs/tiny/whole/short": 1}
    assert plan["total"]["rows"] == 2


def test_as_a_table(tiny_checkpoint: Path, tmp_path: Path) -> None:
    models = {"tiny": {"model": str(tiny_checkpoint)}, "far": {"model": "owner/name"}}
    done = run("study", written_study(tmp_path, models=models), "--dry-run", "-q")
    assert done.returncode == 0, done.stderr
    for words in ("runs/tiny/whole", "~", "not on this machine", "owner/name", "?"):
        assert words in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.slow  # the real tokenizer of smollm2-135m
def test_the_small_study_on_the_embedded_sample(
    sample_rows: list[dict[str, str]], smollm2: tuple[Any, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    small = loaded_study(ROOT / "studies" / "small.yaml")
    for name in small.sets:
        (folder / f"{name}.jsonl").write_bytes(SAMPLE.read_bytes())
    study = loaded_study(ROOT / "studies" / "small.yaml", data=str(folder), models=["smollm2-135m"], limit=10)
    plan = plan_study(study.model_copy(update={"out": str(tmp_path / "out")}))
    tokenizer = smollm2[1]
    drawn = random.Random(0).sample(range(len(sample_rows)), 10)
    tokens = sum(min(len(tokenizer(whole(sample_rows[i]))["input_ids"]), 1024) for i in drawn)
    each = plan.groups["runs/smollm2-135m/whole"]
    assert (each.steps, each.rows, each.tokens) == (34, 340, 34 * tokens)
    assert plan.groups["runs/smollm2-135m/window-9"].steps == 12
    assert plan.rate
    assert each.seconds == pytest.approx(each.tokens * 134_515_008 * plan.rate.seconds / 1e12)


def test_what_is_unknown_is_counted_and_left_out_of_sums() -> None:
    known = PlannedStep("a", False, 10, 5, 100.0, "counted", 25.0)
    finished = PlannedStep("b", True, 3, 3, 30.0, "estimated")
    unknown = PlannedStep("c", False, None, 0, None, "at most", None)
    both = total([known, finished])
    assert (both.rows, both.rows_done, both.seconds, both.basis) == (13, 8, 25.0, "estimated")
    assert (both.steps, both.steps_done, both.unknown_seconds) == (2, 1, 0)
    everything = total([known, finished, unknown])
    assert (everything.unknown_rows, everything.unknown_seconds) == (1, 1)
