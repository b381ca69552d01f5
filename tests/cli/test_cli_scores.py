"""The commands `score` and `select`: what they print, write and refuse, and what a kill costs."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.cli.test_cli import refused
from tests.command import run, start
from tests.conftest import SAMPLE
from tests.faulty_server import FaultyServer

from gradprism import open_run

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Twelve rows that say which they are."""
    path = tmp_path / "rows.jsonl"
    texts = [{"id": f"r{n}", "instruction": f"Say row {n}.", "output": "It is said. " * (n + 1)} for n in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in texts))
    return path


def test_scores_are_shown_and_stored(tiny_checkpoint: Path, rows: Path, tmp_path: Path) -> None:
    done = run("score", rows, "--metric", "ifd", "--metric", "length,loss", "--model", tiny_checkpoint,
               "--out", tmp_path / "run", "--max-length", 30)  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in ("ifd", "length", "loss", "median", "rows were truncated"):
        assert words in done.stdout
    scored = open_run(tmp_path / "run")
    assert scored.metrics == ("ifd", "length", "loss")
    assert scored.score_record("ifd")["sessions"][0]["device"] == "cpu"
    shown = run("show", tmp_path / "run")
    assert shown.returncode == 0
    assert "scores alone" in shown.stdout
    refused(run("show", tmp_path / "run", "--by", "id"), "holds scores only")


def test_the_summary_as_json(tiny_checkpoint: Path, rows: Path, tmp_path: Path) -> None:
    done = run("score", rows, "--metric", "loss", "--model", tiny_checkpoint, "--out", tmp_path / "run", "--json")
    (summary,) = json.loads(done.stdout)
    values = open_run(tmp_path / "run").scores("loss")["value"]
    assert (summary["metric"], summary["rows"], summary["ok"]) == ("loss", 12, 12)
    assert summary["mean"] == pytest.approx(values.mean())
    assert summary["quantiles"]["median"] == pytest.approx(values.median())


@pytest.mark.slow  # starts the command several times
def test_what_it_would_take_is_said_and_nothing_is_done(rows: Path, tmp_path: Path) -> None:
    with FaultyServer() as server:
        asked = ["score", rows, "--metric", "difficulty", "--judge", "m", "--base-url", server.url]
        planned = run(*asked, "--out", tmp_path / "run", "--dry-run", "--price", "10,30", "--judge-max-tokens", 100)
        assert planned.returncode == 0, planned.stderr
        assert not server.arrived
        assert not (tmp_path / "run").exists()
        assert "1,200" in planned.stdout  # tokens to write, at most
        assert "0.0" in planned.stdout  # the price
        run(*asked, "--out", tmp_path / "run", "--limit", 12)
        again = json.loads(run(*asked, "--out", tmp_path / "run", "--dry-run", "--json").stdout)
    assert again["difficulty"]["rows"] == 0  # all is published


@pytest.mark.slow  # starts the command several times
def test_a_judge_into_a_run_and_nothing_asked_twice(rows: Path, tmp_path: Path) -> None:
    with FaultyServer("500", "malformed") as server:
        asked = ["score", rows, "--metric", "difficulty", "--judge", "m", "--base-url", server.url, "--concurrency", 1,
                 "--out", tmp_path / "run", "--part-rows", 5]  # fmt: skip
        first = run(*asked)
        assert first.returncode == 0, first.stderr
        scores = open_run(tmp_path / "run").scores("difficulty")
        assert scores["status"].to_list().count("failed") == 1
        assert scores.filter(status="failed")["value"].is_null().all()
        assert scores.filter(status="ok")["raw_answer"].null_count() == 0
        sent = len(server.arrived)
        assert run(*asked).returncode == 0
        assert len(server.arrived) == sent
        assert run(*asked, "--retry-failed").returncode == 0
        assert len(server.arrived) == sent + 1
        assert set(server.answered.values()) == {1}
    assert set(open_run(tmp_path / "run").scores("difficulty")["status"]) == {"ok"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--metric", "idf"], ["No metric 'idf'", "Did you mean 'ifd'"]),
        (["--metric", "effective_rank:q"], ["is a spectral measure", "select RUN --by effective_rank:q"]),
        (["--metric", "ifd"], ["needs a causal language model", "--model"]),
        (["--metric", "reward"], ["needs a reward model", "--reward-model"]),
        (["--metric", "instag"], ["needs a judge", "--judge"]),
        (["--metric", "instag", "--judge", "m", "--key-env", "NO_SUCH_KEY"], ["NO_SUCH_KEY is not set"]),
        (["--metric", "instag,difficulty", "--judge", "m", "--judge-template", "t"], ["one prompt"]),
        (["--metric", "loss", "--name", "ifd", "--model", "m"], ["name of another metric or measure"]),
    ],
)
def test_what_is_asked_wrongly_leaves_nothing_behind(
    rows: Path, tmp_path: Path, options: list[str], says: list[str]
) -> None:
    refused(run("score", rows, "--out", tmp_path / "run", *options), *says)
    assert not (tmp_path / "run").exists()


def test_a_metric_that_cannot_be_scored_is_found_before_another_is(
    tiny_checkpoint: Path, rows: Path, tmp_path: Path
) -> None:
    done = run("score", rows, "--metric", "loss,reward", "--model", tiny_checkpoint, "--out", tmp_path / "run")
    refused(done, "--reward-model")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("url", ["http://me:s3cret@host/v1", "http://host/v1?key=s3cret"])
def test_a_secret_in_an_address_is_refused_and_not_shown(rows: Path, tmp_path: Path, url: str) -> None:
    done = run("score", rows, "--metric", "instag", "--judge", "m", "--base-url", url, "--out", tmp_path / "run")
    assert done.returncode != 0
    assert "base-url" in done.stderr
    assert "s3cret" not in done.stderr + done.stdout


def test_rows_cannot_be_chosen_anew_for_a_run(tiny_checkpoint: Path, rows: Path, tmp_path: Path) -> None:
    run("score", rows, "--metric", "length", "--model", tiny_checkpoint, "--out", tmp_path / "run")
    asked = ["score", "--metric", "loss", "--model", tiny_checkpoint, "--out", tmp_path / "run"]
    refused(run(*asked, "--limit", 2), "and no data")
    assert run(*asked).returncode == 0


def test_an_unreachable_endpoint(rows: Path, tmp_path: Path) -> None:
    done = run("score", rows, "--metric", "difficulty", "--judge", "m", "--base-url", "http://127.0.0.1:9/v1",
               "--retries", 0, "--out", tmp_path / "run")  # fmt: skip
    refused(done, "Cannot reach http://127.0.0.1:9/v1", "--base-url")


@pytest.mark.slow
def test_a_judge_that_always_refuses(rows: Path, tmp_path: Path) -> None:
    with FaultyServer(text="I cannot help with that.") as server:
        done = run("score", rows, "--metric", "difficulty", "--judge", "m", "--base-url", server.url,
                   "--out", tmp_path / "run")  # fmt: skip
    assert done.returncode == 1
    assert "no row has a value of difficulty" in done.stderr
    assert "no number from 1 to 10" in done.stdout
    assert open_run(tmp_path / "run").scores("difficulty")["value"].null_count() == 12


def test_a_selection_is_shown_and_written(rows: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    run("score", rows, "--metric", "length", "--model", tiny_checkpoint, "--out", tmp_path / "run")
    done = run("select", tmp_path / "run", "--by", "length", "--top", 3, "--bottom", 3, "--out", tmp_path / "s.jsonl")
    assert done.returncode == 0, done.stderr
    for words in ("high", "low", "left out", "Response length (tokens)"):
        assert words in done.stdout
    high = pl.read_ndjson(tmp_path / "s.high.jsonl")
    assert high["id"].to_list() == ["r9", "r10", "r11"]
    assert (tmp_path / "s.left_out.jsonl").exists()
    assert (tmp_path / "s.card.md").exists()
    shown = run("select", tmp_path / "run", "--by=-length", "--top", 2, "--json")
    assert json.loads(shown.stdout)["groups"]
    refused(run("select", tmp_path / "run", "--by", "lenght", "--top", 2), "Did you mean 'length'")
    refused(run("select", tmp_path / "run"), "Nothing says what to take")


@pytest.mark.slow  # starts the command, which loads torch
@pytest.mark.parametrize("pauses", [(0.2,), pytest.param((0.2, 0.6, 0.1), marks=pytest.mark.exhaustive)])
def test_killed_scores_go_on_and_come_out_the_same(
    pauses: tuple[float, ...], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    def asked(out: Path) -> list[Any]:
        return ["score", SAMPLE, "--metric", "ifd", "--model", tiny_checkpoint, "--out", out, "--part-rows", 2,
                "--batch-tokens", 256]  # fmt: skip

    assert run(*asked(tmp_path / "whole")).returncode == 0
    for pause in pauses:
        process = start(*asked(tmp_path / "killed"))
        assert process.stderr is not None
        for line in process.stderr:
            if "72 rows" in line:
                break
        time.sleep(pause)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert run(*asked(tmp_path / "killed")).returncode == 0
    whole, killed = (open_run(tmp_path / name).scores("ifd") for name in ("whole", "killed"))
    assert_frame_equal(whole, killed, rel_tol=1e-5)
