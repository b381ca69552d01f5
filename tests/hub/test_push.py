"""Runs and selections to a hub and back, byte for byte, with a card that the viewer reads."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from polars.testing import assert_frame_equal

import gradprism
from gradprism import GradPrismError
from tests.command import SETTINGS
from tests.hub.hub_server import TOKEN, HubServer
from tests.made_papers import paper_rows, written

pytestmark = pytest.mark.slow  # each asks in a process of its own, as the client reads where the hub is when it starts


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as made:
        yield made


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pushed")
    gradprism.import_paper(written(folder / "paper.jsonl", paper_rows(5, tokens=[4, 5, 6, 7, 8])), out=folder / "run")
    (folder / "scores.csv").write_text("row,quality\n" + "".join(f"{n},{n / 2}\n" for n in range(5)))
    gradprism.score(from_file=folder / "scores.csv", on="row", out=folder / "run")
    return folder / "run"


def ask(hub: HubServer, home: Path, *words: Any, token: str | None = TOKEN) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env = {**kept, **SETTINGS, **hub.environment(home), **({"HF_TOKEN": token} if token else {})}
    command = [sys.executable, "-m", "gradprism", *map(str, words)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def tables(run: Path) -> dict[str, bytes]:
    return {str(file.relative_to(run)): file.read_bytes() for file in sorted(run.rglob("*.parquet"))}


def test_a_run_goes_there_and_comes_back(hub: HubServer, run: Path, tmp_path: Path) -> None:
    done = ask(hub, tmp_path / "home", "push", run, "me/spectra")
    assert done.returncode == 0, done.stderr
    assert sum(hub.asked.values()) < 10
    pushed = hub.repositories["datasets", "me/spectra"]
    assert pushed.private
    files = pushed.revisions["main"]
    assert {"README.md", "run.json", "examples/part-00000.parquet", "scores/quality/part-00000.parquet"} <= {*files}
    front, text = files["README.md"].decode().split("---\n\n", 1)
    configs = {each["config_name"]: each for each in yaml.safe_load(front.removeprefix("---\n"))["configs"]}
    assert configs["examples"]["data_files"] == "examples/*.parquet"
    assert configs["examples"]["default"] is True
    assert "scores-quality" in configs
    assert "gradprism open hub://me/spectra" in text
    assert not [name for name, content in files.items() if TOKEN.encode() in content]
    back = ask(hub, tmp_path / "home", "open", "hub://me/spectra", "-o", tmp_path / "back")
    assert back.returncode == 0, back.stderr
    assert tables(tmp_path / "back") == tables(run)
    assert_frame_equal(gradprism.open_run(tmp_path / "back").table(), gradprism.open_run(run).table())
    again = ask(hub, tmp_path / "home", "open", "hub://me/spectra", "-o", tmp_path / "back")
    assert again.returncode == 2
    assert "holds a run already" in again.stderr


def test_the_viewer_loads_a_table_as_a_data_set(hub: HubServer, run: Path, tmp_path: Path) -> None:
    assert ask(hub, tmp_path / "home", "push", run, "me/spectra", "--public", "--quiet").returncode == 0
    assert not hub.repositories["datasets", "me/spectra"].private
    load = "from datasets import load_dataset as load; print(load('me/spectra', 'scores-quality')['train']['value'][:])"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env = {**kept, **hub.environment(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", load], env=env, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout) == [0.0, 0.5, 1.0, 1.5, 2.0], done.stderr


def test_a_run_that_was_damaged_there_is_not_opened(hub: HubServer, run: Path, tmp_path: Path) -> None:
    assert ask(hub, tmp_path / "home", "push", run, "me/spectra", "--quiet").returncode == 0
    name = "spectra/part-00000.parquet"
    content = hub.repositories["datasets", "me/spectra"].revisions["main"][name]
    hub.repositories["datasets", "me/spectra"].commit({name: content[:-40] + bytes(40)})
    done = ask(hub, tmp_path / "home", "open", "hub://me/spectra")
    assert done.returncode == 2
    assert "is not whole:\n  spectra/part-00000.parquet: " in done.stderr
    done = ask(hub, tmp_path / "home", "open", "hub://me/spectra", "-o", tmp_path / "back")
    assert "is not whole" in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["home"]  # nothing of it is left


def test_what_was_pushed_before_is_not_mixed_in(hub: HubServer, run: Path, tmp_path: Path) -> None:
    mine = {"notes.md": b"of mine", "data/part-00000.parquet": b"of mine too"}
    hub.add("datasets", "me/spectra", mine)
    assert ask(hub, tmp_path / "home", "push", run, "me/spectra", "--quiet").returncode == 0
    other = tmp_path / "other"
    gradprism.import_paper(written(tmp_path / "paper.jsonl", paper_rows(3, tokens=[4, 5, 6])), out=other)
    assert ask(hub, tmp_path / "home", "push", other, "me/spectra", "--quiet").returncode == 0
    files = hub.repositories["datasets", "me/spectra"].revisions["main"]
    assert not [name for name in files if name.startswith("scores/")]
    assert {name: files[name] for name in mine} == mine
    back = ask(hub, tmp_path / "home", "open", "hub://me/spectra", "-o", tmp_path / "back")
    assert back.returncode == 0, back.stderr
    assert tables(tmp_path / "back") == {**tables(other), "data/part-00000.parquet": b"of mine too"}
    assert gradprism.open_run(tmp_path / "back").metrics == ()


def test_a_file_that_is_no_selection_is_not_pushed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(GradPrismError, match=r"is no file of a selection: there is no notes.card.md beside it"):
        gradprism.push(tmp_path / "notes.txt", "me/notes")


def test_a_selection_brings_its_card(hub: HubServer, run: Path, tmp_path: Path) -> None:
    gradprism.select(run, by="quality", top=2, out=tmp_path / "best.jsonl")
    done = ask(hub, tmp_path / "home", "push", tmp_path / "best.jsonl", "me/best")
    assert done.returncode == 0, done.stderr
    files = hub.repositories["datasets", "me/best"].revisions["main"]
    assert files["best.jsonl"] == (tmp_path / "best.jsonl").read_bytes()
    assert "## To make it again" in files["README.md"].decode()


def test_without_a_token_or_a_run_it_is_said(hub: HubServer, run: Path, tmp_path: Path) -> None:
    done = ask(hub, tmp_path / "home", "push", run, "me/spectra", token=None)
    assert done.returncode == 2
    assert "a token that may read or write it" in done.stderr
    hub.add("datasets", "me/other", {"rows.jsonl": b"{}"})
    done = ask(hub, tmp_path / "home", "open", "hub://me/other")
    assert done.returncode == 2
    assert "holds no run: there is no run.json" in done.stderr


@pytest.mark.parametrize("uri", ["me/spectra", "hub://spectra", "hub://a/b/c"])
def test_other_addresses_are_refused(uri: str) -> None:
    with pytest.raises(GradPrismError, match=r"Expected hub://OWNER/NAME"):
        gradprism.open_hub(uri)


def test_what_is_nothing_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match=r"No run at .*, and no file of a selection"):
        gradprism.push(tmp_path / "none", "me/none")
