"""What a study would do: its numbers against a tokenizer asked directly; nothing written, nobody asked."""

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
from gradprism.study.plan import Pace, PlannedRun, Reading, estimated_pace, line, measured_pace

ROOT = Path(__file__).resolve().parents[2]


def whole(row: dict[str, str]) -> str:
    """The text that the `paper` template makes."""
    return "\n".join(row[name] for name in ("instruction", "input", "output") if row.get(name))


def test_tokens_are_those_of_the_models_own_tokenizer(tiny_checkpoint: Path, tokenizer: Any, tmp_path: Path) -> None:
    texts = {"whole": {"max_length": 40}, "first-8": {"response_tokens": 8, "sets": ["l*"]}}
    study = loaded_study(written_study(tmp_path, tiny_checkpoint, texts=texts))
    plan = plan_study(study)
    lengths = [len(tokenizer(whole(row))["input_ids"]) for row in ROWS]
    prompts = [len(tokenizer(f"{row['instruction']}\n")["input_ids"]) for row in ROWS[3:]]
    lines = plan.lines
    assert lines["tiny", "whole"].tokens == sum(min(length, 40) for length in lengths)
    assert lines["tiny", "first-8"].tokens == sum(prompt + 8 for prompt in prompts)
    assert {each.basis for each in lines.values()} == {"counted"}
    assert (plan.total.sets, plan.total.rows, plan.comparisons) == (3, 9, (1, 0))
    assert not plan.unseen
    assert not (tmp_path / "out").exists()


def test_rows_that_would_be_skipped_are_counted(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = written_study(tmp_path, tiny_checkpoint)
    rows = [*ROWS, {"instruction": "nothing", "output": ""}, {"instruction": ["?"], "output": "x"}]
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n", encoding="utf-8")
    plan = plan_study(loaded_study(path))
    by_set = {run.set: run.reading for run in plan.runs}
    assert (by_set["long"].rows, by_set["long"].skipped) == (9, 3)
    assert by_set["short"].skipped == 0


def test_a_part_of_many_rows_is_scaled(tiny_checkpoint: Path, tokenizer: Any, tmp_path: Path) -> None:
    path = written_study(tmp_path, tiny_checkpoint)
    rows = ROWS * 100  # each sixth one is alike
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    reading = next(run.reading for run in plan_study(loaded_study(path)).runs if run.set == "long")
    taken = [min(len(tokenizer(whole(row))["input_ids"]), 64) for row in rows[::3]]
    assert (reading.rows, reading.basis) == (600, "scaled")
    assert reading.tokens == pytest.approx(600 * sum(taken) / len(taken))


def test_characters_stand_in_for_a_tokenizer_that_is_not_here(tmp_path: Path) -> None:
    models = {"far": {"model": "owner/name", "parameters": 1e6}}
    plan = plan_study(loaded_study(written_study(tmp_path, models=models)))
    expected = sum(min(math.ceil(len(whole(row).encode()) / 4), 64) for row in ROWS)
    assert plan.total.tokens == expected
    assert plan.total.basis == "characters"
    assert plan.total.seconds > 0
    assert [(item.kind, item.name, item.given) for item in plan.unseen] == [("model", "far", "owner/name")]


@pytest.mark.slow  # a study is run first
def test_what_is_done_is_counted_and_times_the_rest(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = written_study(tmp_path, tiny_checkpoint)
    run_recipe(loaded_study(path, limit=2))
    (tmp_path / "out/runs/tiny/whole/short/examples/part-00000.parquet").unlink()
    plan = plan_study(loaded_study(path, limit=2))
    assert {run.set: run.done for run in plan.runs} == {"long": 2, "short": 0}
    assert plan.comparisons == (1, 1)
    records = [json.loads(file.read_text()) for file in (tmp_path / "out/runs").rglob("run.json")]
    sessions = [session for record in records for session in record["sessions"]]
    pace = sum(session["seconds"] for session in sessions) / sum(session["tokens"] for session in sessions)
    short = next(run for run in plan.runs if run.set == "short")
    assert short.pace == Pace(pytest.approx(pace), measured=True)
    assert short.seconds == pytest.approx(pace * short.reading.tokens)
    assert not plan.rates  # nothing was estimated


@pytest.mark.slow  # a study is run first
def test_runs_that_would_be_refused_are_named(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = written_study(tmp_path, tiny_checkpoint)
    run_recipe(loaded_study(path, limit=2))
    plan = plan_study(loaded_study(path))
    assert {run.done for run in plan.runs} == {0}
    assert {item.name for item in plan.unseen} == {"runs/tiny/whole/long", "runs/tiny/whole/short"}
    assert all("read.limit" in item.reason for item in plan.unseen)
    with pytest.raises(GradPrismError, match="made with other settings"):
        run_recipe(loaded_study(path))


def test_sets_of_a_pool_are_expected_from_its_rows(tiny_checkpoint: Path, tmp_path: Path) -> None:
    score = {"metric": "length", "checkpoint": {"model": str(tiny_checkpoint)}}
    judged = {"metric": "instag", "judge": {"judge": "someone", "base_url": "http://localhost:9/v1"}}
    more = {"pools": {"pool": {"data": "pool.jsonl"}}, "scores": {"size": score, "tags": judged}, "ends": 2}
    path = written_study(tmp_path, tiny_checkpoint, **more)
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    plan = plan_study(loaded_study(path))
    chosen = [run.reading for run in plan.runs if run.set.startswith("pool-")]
    assert [(reading.rows, reading.basis) for reading in chosen] == [(2, "scaled")] * 4
    assert [(score.score, score.reading.rows) for score in plan.scores] == [("size", 6), ("tags", 6)]
    assert plan.selections == (2, 0)
    assert plan.requests == 6
    assert plan.total.rows == 6 + 4 * 2 + 6  # what the judge is asked is not computed here


@pytest.mark.slow  # a study is run first
def test_a_set_that_is_yet_to_be_selected_has_at_most_its_source(tiny_checkpoint: Path, tmp_path: Path) -> None:
    sets = {
        "some": {"data": "long.jsonl", "select": {"where": "id != 'r4'"}},
        "short": {"data": "short.jsonl"},
    }
    contrasts = {"c": {"first": "some", "second": "short"}}
    path = written_study(tmp_path, tiny_checkpoint, sets=sets, contrasts=contrasts)
    plan = plan_study(loaded_study(path))
    assert [(run.set, run.reading.rows, run.reading.basis) for run in plan.runs] == [
        ("some", 3, "bound"), ("short", 3, "counted"),
    ]  # fmt: skip
    assert plan.selections == (1, 0)
    run_recipe(loaded_study(path))
    plan = plan_study(loaded_study(path))
    assert [(run.reading.rows, run.done) for run in plan.runs] == [(2, 2), (3, 3)]
    assert plan.selections == (1, 1)


def test_a_template_that_the_tokenizer_has_not_is_named(tiny_checkpoint: Path, tmp_path: Path) -> None:
    texts = {"whole": {"template": str(tmp_path / "none.jinja")}}
    plan = plan_study(loaded_study(written_study(tmp_path, tiny_checkpoint, texts=texts)))
    assert {item.kind for item in plan.unseen} == {"run"}
    assert plan.total.tokens


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
    named = {item.name for item in plan.unseen}
    assert named >= {*study.models, *study.pools, *study.sets, "ifd-gpt2", "ifd-qwen7b", "reward"}
    assert plan.total.basis == "bound"
    assert all(each.seconds > 0 for each in plan.lines.values())
    assert not (tmp_path / "out").exists()


def test_as_json(tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = run("study", written_study(tmp_path, tiny_checkpoint), "--plan", "--json", "--limit", 1, "-q")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert [(each["set"], each["reading"]["rows"]) for each in plan["runs"]] == [("long", 1), ("short", 1)]
    assert plan["total"]["rows"] == 2


def test_as_a_table(tiny_checkpoint: Path, tmp_path: Path) -> None:
    models = {"tiny": {"model": str(tiny_checkpoint)}, "far": {"model": "owner/name"}}
    done = run("study", written_study(tmp_path, models=models), "--plan", "-q")
    assert done.returncode == 0, done.stderr
    for words in ("model, text", "tiny", "≈", "not on this machine", "owner/name", "?"):
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
    each = plan.lines["smollm2-135m", "whole"]
    assert (each.sets, each.rows, each.tokens) == (34, 340, 34 * tokens)
    assert plan.lines["smollm2-135m", "window-9"].sets == 12
    assert each.seconds == pytest.approx(each.tokens * 6 * 134_515_008 * 0.9 / (0.5 * plan.rates["float32"]))


def test_times_of_parts_are_added_and_what_has_none_is_told() -> None:
    known = PlannedRun("m", "t", "a", Reading(10, 0, 100.0, "counted"), 5, Pace(0.5, measured=True))
    finished = PlannedRun("m", "t", "b", Reading(3, 0, 30.0, "scaled"), 3, None)
    unknown = PlannedRun("m", "t", "c", Reading(None), 0, None)
    both = line([known, finished])
    assert (both.rows, both.done, both.seconds, both.basis) == (13, 8, 25.0, "scaled")
    assert (both.untold_time, both.estimated) == (0, False)
    everything = line([known, finished, unknown])
    assert (everything.untold_rows, everything.untold_tokens, everything.untold_time) == (1, 1, 1)


def test_paces() -> None:
    assert estimated_pace(1e8, 12e9) == Pace(pytest.approx(0.09), measured=False)  # 0.9 of an ordinary pass
    assert estimated_pace(2e9, 12e9) == Pace(pytest.approx(1.0), measured=False)  # wide: half of one
    assert estimated_pace(2e9, 12e9, half_on_gpu=True) == Pace(
        pytest.approx(10.0), measured=False
    )  # fp64 takes the time
    assert estimated_pace(1e8, 8e9, "ifd") == Pace(pytest.approx(0.1), measured=False)
    assert estimated_pace(1e8, 4e9, "instag") is None
    assert measured_pace([(3.0, 10), (9.0, 0), (1.0, 10)]) == Pace(0.2, measured=True)
    assert measured_pace([(9.0, 0)]) is None
