"""Every tracker in its offline mode: progress, results and files are there, and its failure ends no job."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import gradprism
from gradprism import GradPrismError
from gradprism.core.progress import NoProgress
from gradprism.tracking import tracked as following
from gradprism.tracking.settings import TrackSettings
from gradprism.tracking.tracked import Tracked, tracked
from gradprism.tracking.trackers import Tracker, begin
from tests.ablation.made_ablations import rows, write
from tests.command import run as command
from tests.conftest import SAMPLE
from tests.made_papers import paper_rows, written

pytestmark = pytest.mark.slow  # trackers take seconds to begin


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    gradprism.import_paper(written(folder / "paper.jsonl", paper_rows(4, tokens=[4, 5, 6, 7])), out=folder / "run")
    pl.DataFrame({"row": range(4), "quality": [0.5, 0.25, 1.0, 2.25]}).write_csv(folder / "scores.csv")
    return folder


def score(paper: Path, out: Path, *more: Any) -> Any:
    return command("score", paper / "paper.jsonl", "--from", paper / "scores.csv", "--on", "row", "-o", out, *more)


def test_mlflow(paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs the extra `trackers`")
    store = f"file:{tmp_path}/mlruns"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 wants a database, which the skinny one lacks
    done = score(paper, tmp_path / "run", "--track", "mlflow", "--track-project", "mine")
    assert done.returncode == 0, done.stderr
    client = mlflow.MlflowClient(tracking_uri=store)
    (found,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert found.data.metrics["mean/quality"] == 1.0
    assert found.data.metrics["rows"] == 4
    assert found.data.params["verb"] == "score"
    assert found.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(found.info.run_id)] == ["run.json"]


def test_tensorboard(paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra `trackers`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGDIR", str(tmp_path / "logs"))
    done = score(paper, tmp_path / "run", "--track", "tensorboard")
    assert done.returncode == 0, done.stderr
    read = EventAccumulator(str(tmp_path / "logs/gradprism/score run"))
    read.Reload()
    assert [event.value for event in read.Scalars("mean/quality")] == [1.0]
    assert [event.step for event in read.Scalars("progress/done")] == [4]
    assert "run.json/text_summary" in read.Tags()["tensors"]


def test_spectra_and_ablations_are_followed(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra `trackers`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(folder: Path) -> Any:
        found = EventAccumulator(str(folder))
        found.Reload()
        return found

    monkeypatch.setenv("TENSORBOARD_LOGDIR", str(tmp_path / "logs"))
    out, more = tmp_path / "run", ("--model", tiny_checkpoint, "--track", "tensorboard", "--quiet")
    done = command("spectra", SAMPLE, "--limit", 4, "--max-length", 160, "--out", out, *more)
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "logs/gradprism/spectra run")
    (mean,) = found.Scalars("mean/effective_rank/mean")
    assert mean.value == pytest.approx(gradprism.open_run(out).table()["effective_rank:mean"].mean(), rel=1e-6)
    assert found.Scalars("rows/ok")[0].value == 4

    pool, held = (write(tmp_path / f"{name}.jsonl", rows(30 if name == "pool" else 8, seed))
                  for seed, name in enumerate(("pool", "held")))  # fmt: skip
    budget = ("--tokens", 200, "--step-tokens", 100, "--seeds", 2, "--device", "cpu")
    words = ("ablate", pool, "--arms", "longest", "--eval", f"held={held}", *budget)
    done = command(*words, "--out", tmp_path / "arms", *more)
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "logs/gradprism/ablate arms")
    made = gradprism.open_ablation(tmp_path / "arms")
    assert [event.value for event in found.Scalars("difference/held/longest")] == pytest.approx(
        made.effects["difference"].to_list(), rel=1e-5
    )
    curve = made.curves.filter(eval="held", arm="longest").sort("tokens")
    assert [event.step for event in found.Scalars("loss/held/longest")] == curve["tokens"].to_list()


def test_wandb_offline(paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs the extra `trackers`")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    done = score(paper, tmp_path / "run", "--track", "wandb")
    assert done.returncode == 0, done.stderr
    (log,) = tmp_path.rglob("*.wandb")
    content = log.read_bytes()
    assert b"mean/quality" in content
    assert b"run.json" in content


def test_trackio_on_this_machine(paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trackio = pytest.importorskip("trackio", reason="needs the extra `trackers`")
    done = score(paper, tmp_path / "run", "--track", "trackio", "--track-project", f"p{tmp_path.name}")
    assert done.returncode == 0, done.stderr
    logged = list(trackio.Api().runs(f"p{tmp_path.name}"))
    assert len(logged) == 1
    trackio.delete_project(f"p{tmp_path.name}", force=True)


def test_a_report_is_kept_with_a_run(paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra `trackers`")
    monkeypatch.setenv("TENSORBOARD_LOGDIR", str(tmp_path / "logs"))
    done = command("report", paper / "run", "-o", tmp_path / "page.html", "--track", "tensorboard")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "logs").rglob("events*"))


class Failing(Tracker):
    """A tracker that takes the first numbers, and then no more."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def log(self, values: Any, step: int) -> None:
        if self.got:
            raise OSError("disk full")
        self.got.append((dict(values), step))

    def summarise(self, values: Any) -> None:
        raise AssertionError("not asked any more")

    def attach(self, file: Path) -> None:
        raise AssertionError("not asked any more")

    def end(self, *, ok: bool) -> None:
        raise AssertionError("not asked any more")


def test_a_tracker_that_fails_is_done_without_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    tracker = Failing()
    job = Tracked(NoProgress(), tracker)
    job.log({"a": 1.0, "b": None, "c": float("nan"), "rank:q": 2.0}, 3)
    assert tracker.got == [({"a": 1.0, "rank/q": 2.0}, 3)]
    job.log({"a": 2.0}, 4)
    job.finish({"a": 3.0}, (Path(__file__),))
    assert capsys.readouterr().err.count("OSError: disk full") == 1


def test_progress_is_logged_while_the_job_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_SECONDS_BETWEEN", 0.0)
    tracker = Failing()
    job = Tracked(NoProgress(), tracker)
    job.start(10, 4, "Gradients")
    job.batch(2, 200)
    ((values, step),) = tracker.got
    assert step == values["progress/done"] == 6
    assert values["progress/tokens_per_second"] == pytest.approx(100 * values["progress/examples_per_second"])


def test_one_that_cannot_begin_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradprism.tracking import trackers

    def fails(*_: Any) -> Any:
        raise ValueError("no key")

    monkeypatch.setattr(trackers, "_TRACKERS", {"wandb": fails})
    with pytest.raises(GradPrismError, match=r"--track wandb cannot begin: ValueError: no key\. Log in"):
        begin(TrackSettings(track="wandb"), "a", {})
    with tracked(NoProgress(), TrackSettings(), None) as job:
        job.finish({"a": 1.0}, ())


def test_a_run_is_the_same_with_and_without(paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra `trackers`")
    monkeypatch.setenv("TENSORBOARD_LOGDIR", str(tmp_path / "logs"))
    score(paper, tmp_path / "a")
    score(paper, tmp_path / "b", "--track", "tensorboard")
    made = [json.loads((tmp_path / name / "scores/quality/score.json").read_text())["identity"] for name in "ab"]
    assert made[0] == made[1]
    assert "track" not in (tmp_path / "b/scores/quality/recipe.yaml").read_text()
