"""Runs on the Ray engine hold what local ones hold, whoever was killed meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl
import psutil
import pytest
import torch
from polars.testing import assert_frame_equal

import gradprism
from gradprism import GradPrismError, Run, open_run
from gradprism.measurement.settings import SpectraRecipe
from gradprism.measurement.task import MeasureTask
from tests.command import run, start
from tests.conftest import SAMPLE
from tests.engine.ray_clusters import Head, free_port, own_cluster
from tests.models.test_missing_weights import LOST, changed, without
from tests.object_store import Bucket

pytestmark = [pytest.mark.slow, pytest.mark.cluster]  # loads a model in each of two workers, several times

RAY = ["--engine", "ray", "--workers", "2", "--cpus-per-worker", "1"]
KILLS = 2  # of two workers, each of which has to load the model anew
ONE_WORKER = ["--engine", "ray", "--workers", "1", "--cpus-per-worker", "1"]  # where nothing is said of several


@pytest.fixture(scope="module", autouse=True)
def needs_ray() -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One that the commands of this process join: starting each its own takes longer than their work."""
    with own_cluster():
        yield


def assert_equal_runs(first: Run, second: Run) -> None:
    """Every row once, and every column of every table the same: measures and losses to 1e-5.

    Of cosines and mean entries, which are sums that nearly cancel, and of single singular values, to 1e-5 of what they
    are made of.
    """
    assert second.examples.height == second.record["data"]["rows"]
    for table, key in (
        ("examples", ["row"]),
        ("spectra", ["row", "layer", "projection"]),
        ("similarity", ["row", "kind", "layer", "pair"]),
    ):
        a, b = (whole.scan(table).sort(key).collect() for whole in (first, second))
        assert a.select(key).is_duplicated().sum() == 0
        loose = [name for name in ("singular_values", "grad_mean", "cosine") if name in a.columns]
        assert_frame_equal(a.drop(loose), b.drop(loose), rel_tol=1e-5, abs_tol=0)
        assert_frame_equal(a.select(loose), b.select(loose), rel_tol=1e-5, abs_tol=1e-5)
    assert first.has_tokens == second.has_tokens
    if first.has_tokens:
        assert_frame_equal(first.tokens.sort("row"), second.tokens.sort("row"), rel_tol=1e-4, abs_tol=1e-5)


def workers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The processes that hold the model."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if any("RayWorker" in word for word in child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def undisturbed(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same rows on the local engine."""
    out = tmp_path_factory.mktemp("local") / "run"
    assert run("spectra", SAMPLE, "--model", tiny_checkpoint, "--out", out, "--part-rows", 3, "-q").returncode == 0
    return open_run(out)


def begun(model: Path, out: Path, *options: str) -> "subprocess.Popen[str]":
    """Start the command on Ray; wait until it works on the first row."""
    process = start("spectra", SAMPLE, "--model", model, "--out", out, "--part-rows", 3, *RAY, *options)
    assert process.stderr is not None
    for line in process.stderr:
        if "Gradients:" in line:
            break
    return process


def n_published(out: Path) -> int:
    return len(list((out / "examples").glob("part-*.parquet")))


@pytest.mark.exhaustive  # test_ray.py kills workers in the middle of shards
def test_workers_killed_several_times(tiny_checkpoint: Path, undisturbed: Run, tmp_path: Path) -> None:
    process = begun(tiny_checkpoint, tmp_path / "run")
    killed = 0
    while killed < KILLS and process.poll() is None:
        before = n_published(tmp_path / "run")
        for worker in workers_of(process)[:1]:
            worker.send_signal(signal.SIGKILL)
            killed += 1
        while process.poll() is None and n_published(tmp_path / "run") <= before:
            time.sleep(0.05)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert killed == KILLS
    finished = open_run(tmp_path / "run")
    assert_equal_runs(undisturbed, finished)
    retries = finished.record["sessions"][-1]["retries"]
    assert 1 <= retries <= KILLS  # one that was killed between two shards costs none
    assert f"{retries} retries of shards" in out or (retries == 1 and "1 retry of a shard" in out)
    assert "retr" in err
    assert "(raylet)" not in err


@pytest.mark.exhaustive  # 30 to 80 s
def test_the_driver_killed_and_the_command_repeated(tiny_checkpoint: Path, undisturbed: Run, tmp_path: Path) -> None:
    process = begun(tiny_checkpoint, tmp_path / "run")
    workers = workers_of(process)
    assert workers
    while n_published(tmp_path / "run") < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    published = {part.name: part.stat().st_mtime_ns for part in (tmp_path / "run" / "examples").glob("part-*")}
    assert not open_run(tmp_path / "run").is_complete
    again = begun(tiny_checkpoint, tmp_path / "run")
    _, err = again.communicate(timeout=600)
    assert again.returncode == 0, err
    assert_equal_runs(undisturbed, open_run(tmp_path / "run"))
    now = {part.name: part.stat().st_mtime_ns for part in (tmp_path / "run" / "examples").glob("part-*")}
    assert published.items() <= now.items()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive, "the workers of a killed command are left behind"


@pytest.mark.exhaustive  # 60 s: two heads and three commands
def test_the_head_is_killed_and_the_command_repeated(
    tiny_checkpoint: Path, undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    port = free_port()
    address = ["--address", f"127.0.0.1:{port}"]
    with Head(os.environ, port, f"--port={port}") as head:
        process = begun(tiny_checkpoint, tmp_path / "run", *address)
        head.kill()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert "gradprism: The Ray cluster was lost: its head at" in err
    assert "the same command resumes" in err
    assert "Traceback" not in err
    assert not open_run(tmp_path / "run").is_complete
    with Head(os.environ, port, f"--port={port}"):
        again = begun(tiny_checkpoint, tmp_path / "run", *address)
        _, err = again.communicate(timeout=600)
    assert again.returncode == 0, err
    assert_equal_runs(undisturbed, open_run(tmp_path / "run"))


@contextmanager
def one_thread() -> Iterator[None]:
    """As many as each of two workers has: fp32 rounds otherwise with two (1.5e-5 in one of 100 rows)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def test_workers_publish_into_an_object_store_themselves(tiny_checkpoint: Path, bucket: Bucket, tmp_path: Path) -> None:
    options = [SAMPLE, "--model", tiny_checkpoint, "--limit", 20, "--part-rows", 4, "--tokens", "-q"]
    with one_thread():
        assert run("spectra", *options, "--out", tmp_path / "local").returncode == 0
    with mock.patch("gradprism.runs.writer.RunWriter.publish", side_effect=AssertionError("published by the driver")):
        done = run("spectra", *options, "--out", f"{bucket.url}/run", *RAY)
    assert done.returncode == 0, done.stderr
    local, ray = open_run(tmp_path / "local"), open_run(f"{bucket.url}/run")
    assert_equal_runs(local, ray)
    assert local.counts == ray.counts
    session = ray.record["sessions"][-1]
    assert (session["engine"], session["workers"], session["examples"], session["retries"]) == ("ray", 2, 20, 0)
    assert session["tokens"] == local.record["sessions"][-1]["tokens"]


@pytest.mark.exhaustive  # 32 s
def test_ctrl_c_stops_it_and_leaves_nothing_running(tiny_checkpoint: Path, tmp_path: Path) -> None:
    process = begun(tiny_checkpoint, tmp_path / "run")
    started = psutil.Process(process.pid).children(recursive=True)
    assert any("raylet" in child.name() for child in started)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 130
    assert "Repeat the same command to resume" in err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive


@pytest.mark.exhaustive  # 30 to 80 s
def test_a_precision_is_that_of_the_workers(cluster: None, tiny_checkpoint: Path, tmp_path: Path) -> None:
    options = [SAMPLE, "--model", tiny_checkpoint, "--limit", 6, "--part-rows", 3, "--precision", "fast", "-q"]
    assert run("spectra", *options, "--out", tmp_path / "local").returncode == 0
    assert run("spectra", *options, "--out", tmp_path / "ray", *ONE_WORKER).returncode == 0
    local, ray = (open_run(tmp_path / name).record["identity"]["arithmetic"] for name in ("local", "ray"))
    assert local == ray
    assert open_run(tmp_path / "ray").is_complete


def test_other_weights_on_another_machine_are_refused(tiny_checkpoint: Path) -> None:
    recipe = SpectraRecipe.from_options((str(SAMPLE),), "run", model=str(tiny_checkpoint), engine="ray")
    task = MeasureTask(recipe, {"model fingerprint": "of other weights"})
    with pytest.raises(GradPrismError, match="has other files or hardware than this run was begun with") as caught:
        task.load(lambda text: None)
    assert "model fingerprint: begun with 'of other weights', here" in str(caught.value)


def test_a_model_that_is_loaded_here_is_refused(tiny_checkpoint: Path, make_model: Any, tokenizer: Any) -> None:
    import gradprism

    with pytest.raises(GradPrismError, match="whose workers load the model themselves"):
        gradprism.spectra([{"prompt": "a", "response": "b"}], make_model("llama"), tokenizer=tokenizer, engine="ray")


def test_without_the_extra_it_is_said_how_to_install_it(tiny_checkpoint: Path, tmp_path: Path) -> None:
    words = ["spectra", str(SAMPLE), "--model", str(tiny_checkpoint), "--out", str(tmp_path / "run"), *RAY]
    code = f"import sys; sys.modules['ray'] = None\nfrom gradprism.cli import main; main({json.dumps(words)})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'gradprism[ray]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.exhaustive  # one to three minutes; a tiny model is measured by two workers above
@pytest.mark.parametrize("n", [8, 100])
def test_real_rows_on_two_workers_equal_those_of_the_local_engine(
    n: int, cluster: None, shared: Path, tmp_path: Path
) -> None:
    data = shared / "data" / "quality" / "ifd_gpt2" / "wiz_10k_highest_200.json"
    options = [data, "--model", "smollm2-135m", "--limit", n, "--max-length", 64, "--part-rows", 4, "--tokens", "-q"]
    with one_thread():
        assert run("spectra", *options, "--out", tmp_path / "local").returncode == 0
    assert run("spectra", *options, "--out", tmp_path / "ray", *RAY).returncode == 0
    local, ray = open_run(tmp_path / "local"), open_run(tmp_path / "ray")
    assert_equal_runs(local, ray)
    assert local.counts == ray.counts
    session = ray.record["sessions"][-1]
    assert (session["engine"], session["workers"], session["examples"], session["retries"]) == ("ray", 2, n, 0)
    assert session["tokens"] == local.record["sessions"][-1]["tokens"]


@pytest.mark.exhaustive  # 30 to 80 s
def test_a_recipe_runs_on_either_engine(cluster: None, tiny_checkpoint: Path, tmp_path: Path) -> None:
    options = [SAMPLE, "--model", tiny_checkpoint, "--limit", 20, "--part-rows", 4, "-q"]
    assert run("spectra", *options, "--out", tmp_path / "local").returncode == 0
    recipe = tmp_path / "local" / "recipe.yaml"
    assert run("run", recipe, "--out", tmp_path / "ray", "-q", *ONE_WORKER).returncode == 0
    made = tmp_path / "ray" / "recipe.yaml"
    assert run("run", made, "--out", tmp_path / "again", "-q").returncode == 0
    assert run("run", made, "--out", tmp_path / "back", "--engine", "local", "-q").returncode == 0
    for other, engine in (("ray", "ray"), ("again", "ray"), ("back", "local")):
        assert_equal_runs(open_run(tmp_path / "local"), open_run(tmp_path / other))
        assert open_run(tmp_path / other).record["sessions"][-1]["engine"] == engine


@pytest.mark.exhaustive  # 20 s
def test_a_run_begun_on_one_engine_is_finished_on_the_other(
    cluster: None, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    options = [SAMPLE, "--model", tiny_checkpoint, "--limit", 20, "--part-rows", 4, "-q"]
    for out in ("local", "both"):
        assert run("spectra", *options, "--out", tmp_path / out).returncode == 0
    for table in ("examples", "spectra", "similarity"):
        (tmp_path / "both" / table / "part-00002.parquet").unlink()
    assert run("spectra", *options, "--out", tmp_path / "both", *ONE_WORKER).returncode == 0
    assert_equal_runs(open_run(tmp_path / "local"), open_run(tmp_path / "both"))
    assert [session["engine"] for session in open_run(tmp_path / "both").record["sessions"]] == ["local", "ray"]


@pytest.mark.exhaustive  # 30 to 80 s
def test_workers_measure_failed_rows_again(cluster: None, tiny_checkpoint: Path, tmp_path: Path) -> None:
    options = [SAMPLE, "--model", tiny_checkpoint, "--limit", 20, "--part-rows", 4, "-q"]
    assert run("spectra", *options, "--out", tmp_path / "local").returncode == 0
    with mock.patch("gradprism.prism.analyzer.measure_batch", side_effect=RuntimeError("no kernel")):
        given = {"limit": 20, "part_rows": 4, "out": tmp_path / "again"}
        assert gradprism.spectra(SAMPLE, tiny_checkpoint, **given).counts.failed == 20
    for part in (1, 3):  # some parts hold what both kinds of rows gave
        _with_failed_rows(tmp_path / "local", tmp_path / "again", part)
    assert run("spectra", *options, "--out", tmp_path / "again", *RAY, "--retry-failed").returncode == 0
    assert_equal_runs(open_run(tmp_path / "local"), open_run(tmp_path / "again"))


def _with_failed_rows(whole: Path, broken: Path, part: int) -> None:
    """Let the first two rows of a part have been measured, and the others have failed."""
    name = f"part-{part:05d}.parquet"
    rows = [4 * part, 4 * part + 1]
    for table in ("examples", "spectra", "similarity"):
        measured = pl.read_parquet(whole / table / name).filter(pl.col("row").is_in(rows))
        others = pl.read_parquet(broken / table / name).filter(~pl.col("row").is_in(rows))
        pl.concat([measured, others]).write_parquet(broken / table / name)


@pytest.mark.exhaustive  # 27 s
def test_scores_on_workers_equal_local_ones(cluster: None, tiny_checkpoint: Path, tmp_path: Path) -> None:
    options = [SAMPLE, "--model", tiny_checkpoint, "--metric", "ifd,length", "--limit", 24, "--part-rows", 6, "-q"]
    assert run("score", *options, "--out", tmp_path / "local").returncode == 0
    assert run("score", *options, "--out", tmp_path / "ray", *ONE_WORKER).returncode == 0
    local, ray = open_run(tmp_path / "local"), open_run(tmp_path / "ray")
    for metric in ("ifd", "length"):
        assert_frame_equal(local.scores(metric), ray.scores(metric), rel_tol=1e-5)
    session = ray.score_record("ifd")["sessions"][-1]
    assert (session["engine"], session["device"]) == ("ray", "cpu")


@pytest.mark.exhaustive  # 30 s; workers that refuse a model: test_ray.py
def test_a_checkpoint_with_weights_missing_is_refused_by_a_worker_too(
    cluster: None, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = changed(tiny_checkpoint, tmp_path / "model", without(LOST))
    with pytest.raises(GradPrismError, match=rf"no weights for {LOST}"):
        gradprism.spectra(SAMPLE, folder, out=tmp_path / "run", engine="ray", workers=1, cpus_per_worker=1, limit=1)
    assert not list((tmp_path / "run").glob("examples/part-*"))


def test_sketches_and_targets_on_workers_equal_local_ones(tiny_checkpoint: Path, tmp_path: Path) -> None:
    import numpy as np

    import gradprism

    rows = [{"prompt": f"Question {i}", "response": f"Answer number {i}. " * (i % 3 + 1)} for i in range(9)]
    data, target = tmp_path / "data.jsonl", tmp_path / "target.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    target.write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    options: dict[str, Any] = {"max_length": 64, "part_rows": 4, "sketch": 64, "target": {"t": target}}
    local = gradprism.spectra(data, str(tiny_checkpoint), out=tmp_path / "local", **options)
    found = gradprism.spectra(data, str(tiny_checkpoint), out=tmp_path / "ray", engine="ray", workers=2, **options)
    np.testing.assert_allclose(found.sketches.values, local.sketches.values, atol=1e-3)
    later = gradprism.influence(found, {"later": target}, engine="ray", workers=2)
    for name in ("t", "later"):
        assert (later.scores(f"influence:{name}")["value"] - local.scores("influence:t")["value"]).abs().max() < 1e-5
