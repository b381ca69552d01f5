"""Models and data of a hub: the true clients against a hub of our own, through the command as a user starts it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from tests.command import SETTINGS
from tests.hub.hub_server import TOKEN, HubServer

pytestmark = pytest.mark.slow  # each asks in a process of its own, as the client reads where the hub is when it starts

ROWS = [{"prompt": f"What is {n} and {n}?", "response": f"It is {2 * n}, as {n} twice."} for n in range(4)]
SHARD = "model-00001-of-00002.safetensors"


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as made:
        yield made


@pytest.fixture(scope="module")
def shards(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with a large vocabulary, so that its weights fill several files, of 24 MB."""
    folder = tmp_path_factory.mktemp("shards")
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    model.resize_token_embeddings(190_000)
    model.save_pretrained(folder, max_shard_size="25MB")
    assert (folder / SHARD).is_file()
    for file in tiny_checkpoint.iterdir():
        if not file.name.startswith(("model", "config")):
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_bytes(lines(ROWS))
    return tmp_path / "rows.jsonl"


def ask(hub: HubServer, home: Path, *words: Any, token: str | None = None) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env = {**kept, **SETTINGS, **hub.environment(home), "OMP_NUM_THREADS": "1"}
    if token:
        env["HF_TOKEN"] = token
    command = [sys.executable, "-m", "gradprism", *map(str, words)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def spectra(hub: HubServer, tmp_path: Path, *more: Any, token: str | None = None) -> Any:
    rows, run = tmp_path / "rows.jsonl", tmp_path / "run"
    return ask(hub, tmp_path / "home", "spectra", rows, "-m", "owner/tiny", "-o", run, "--quiet", *more, token=token)


def record(run: Path) -> Any:
    return json.loads((run / "run.json").read_text())


def test_sharded_weights_their_commit_and_a_model_that_changed(
    hub: HubServer, shards: Path, data: Path, tmp_path: Path
) -> None:
    model = hub.add("models", "owner/tiny", shards)
    first = model.sha("main")
    done = spectra(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert first in record(tmp_path / "run")["identity"]["model fingerprint"]
    assert sum(hub.asked.values()) < 60
    config = json.loads(model.revisions["main"]["config.json"])
    model.commit({"config.json": json.dumps({**config, "rope_theta": 20000.0}).encode()})
    again = spectra(hub, tmp_path)
    assert again.returncode == 2
    assert "other weights, or another tokenizer" in again.stderr
    words = ("spectra", data, "-m", "owner/tiny", "--revision", first, "-o", tmp_path / "old", "--quiet")
    other = ask(hub, tmp_path / "home", *words)
    assert other.returncode == 0, other.stderr
    assert first in record(tmp_path / "old")["identity"]["model fingerprint"]


def test_a_gated_model_is_named_and_opens_with_a_token_that_no_file_holds(
    hub: HubServer, shards: Path, data: Path, tmp_path: Path
) -> None:
    hub.add("models", "owner/tiny", shards, gated=True)
    done = spectra(hub, tmp_path)
    assert done.returncode == 2
    assert "owner/tiny" in done.stderr
    assert "restricted" in done.stderr or "gated" in done.stderr
    assert not (tmp_path / "run/run.json").exists()
    done = spectra(hub, tmp_path, token=TOKEN)
    assert done.returncode == 0, done.stderr
    held = [file for file in tmp_path.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]
    assert held == []
    assert TOKEN not in done.stdout + done.stderr


def test_too_many_requests_and_a_download_that_breaks_are_gone_through(
    hub: HubServer, shards: Path, data: Path, tmp_path: Path
) -> None:
    model = hub.add("models", "owner/tiny", shards)
    hub.busy, hub.broken = 2, {SHARD: 15_000_000}
    done = spectra(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert hub.busy == 0
    assert hub.broken == {}
    size = len(model.revisions["main"][SHARD])
    assert size <= hub.sent[SHARD] < size + 6e6  # what was there was not fetched again


def test_data_by_config_and_split_and_private_with_a_token(hub: HubServer, tmp_path: Path) -> None:
    card = ("---\nconfigs:\n- config_name: easy\n  data_files: [{split: train, path: easy/train.jsonl},"
            " {split: test, path: easy/test.jsonl}]\n- config_name: hard\n  data_files: hard.jsonl\n---\n")  # fmt: skip
    files = {"README.md": card.encode(), "easy/train.jsonl": lines(ROWS), "easy/test.jsonl": lines(ROWS[:2]),
             "hard.jsonl": lines(ROWS[:3])}  # fmt: skip
    repository = hub.add("datasets", "owner/rows", files, private=True)
    first = repository.sha("main")
    words = ("score", "owner/rows", "--metric", "length", "-m", "smollm2-135m", "--quiet", "-o")
    refused = ask(hub, tmp_path / "home", *words, tmp_path / "none", "--config", "easy", "--split", "test")
    assert refused.returncode == 2
    assert "'owner/rows' is no file or folder here, and the hub did not give it" in refused.stderr
    done = ask(hub, tmp_path / "home", *words, tmp_path / "run", "--config", "easy", "--split", "test", token=TOKEN)
    assert done.returncode == 0, done.stderr
    assert record(tmp_path / "run")["data"]["rows"] == 2
    held = [file for file in tmp_path.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]
    assert held == []
    several = ask(hub, tmp_path / "home", *words, tmp_path / "several", "--config", "easy", token=TOKEN)
    assert several.returncode == 2
    assert "has the splits 'train', 'test'; choose one with --split" in several.stderr
    repository.commit({"hard.jsonl": lines(ROWS[:1])})
    for revision, rows in (("", 1), (f"@{first}", 3)):
        out = tmp_path / f"of{revision}"
        given = ("score", f"owner/rows{revision}", *words[2:], out, "--config", "hard")
        done = ask(hub, tmp_path / "home", *given, token=TOKEN)
        assert done.returncode == 0, done.stderr
        assert record(out)["data"]["rows"] == rows


def test_a_limit_reads_no_more_than_it_needs(hub: HubServer, tmp_path: Path) -> None:
    long = [{"prompt": f"row {n}", "response": "word " * 20_000} for n in range(1200)]
    files = {"train.jsonl": lines(long)}
    hub.add("datasets", "owner/long", files)
    words = ("score", "owner/long", "--metric", "length", "-m", "smollm2-135m", "--limit", "3", "--quiet")
    done = ask(hub, tmp_path / "home", *words, "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert record(tmp_path / "run")["data"]["rows"] == 3
    size = len(files["train.jsonl"])
    assert size > 1e8
    assert 0 < hub.sent["train.jsonl"] < size / 2
