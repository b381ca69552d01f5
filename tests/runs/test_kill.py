"""Killed at random moments and resumed, a run ends with the tables of an undisturbed one.

Real weights: GRADPRISM_KILL_MODEL=smollm2-135m pytest tests/runs/test_kill.py -k sigkill
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sized
from itertools import pairwise
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal
from tests.command import run, start
from tests.conftest import SAMPLE
from tests.object_store import Bucket

from gradprism import Run, open_run, spectra

pytestmark = pytest.mark.slow  # starts the command several times; each start loads torch

ROWS = 60
PARTS = ROWS // 2
MAX_LENGTH = 128


def arguments(model: Path | str, out: Path | str, max_length: int = MAX_LENGTH) -> list[object]:
    return ["spectra", SAMPLE, "--model", model, "--out", out, "--limit", ROWS, "--part-rows", ROWS // PARTS,
            "--batch-tokens", 256, "--max-length", max_length, "--tokens"]  # fmt: skip


def begun(model: Path | str, out: Path | str) -> "subprocess.Popen[str]":
    """Start the command and wait until it works on the first row."""
    process = start(*arguments(model, out))
    assert process.stderr is not None
    for line in process.stderr:
        if f"{ROWS} rows" in line:
            break
    return process


def further(process: "subprocess.Popen[str]", parts: Callable[[], Sized], wanted: int) -> None:
    """Wait until so many more parts have been published; not a time, which says nothing on a busy machine."""
    before = len(parts())
    while process.poll() is None and len(parts()) < before + wanted:
        time.sleep(0.005)


def finished(process: "subprocess.Popen[str]") -> int:
    process.communicate()
    return process.returncode


def assert_equal_runs(first: Run, second: Run) -> None:
    assert first.is_complete
    assert second.is_complete
    assert sorted(first.examples["row"].to_list()) == list(range(ROWS))
    for table, key in (
        ("examples", ["row"]),
        ("spectra", ["row", "layer", "projection"]),
        ("similarity", ["row", "kind", "layer", "pair"]),
        ("tokens", ["row"]),
    ):
        a, b = (whole.scan(table).sort(key).collect() for whole in (first, second))
        assert a.select(key).is_duplicated().sum() == 0
        assert_frame_equal(a, b, rel_tol=1e-5, abs_tol=1e-7)


@pytest.mark.parametrize("kills", [2, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (1, 6))])
def test_sigkill_at_random_moments(kills: int, tiny_checkpoint: Path, tmp_path: Path) -> None:
    model, killed = os.environ.get("GRADPRISM_KILL_MODEL") or tiny_checkpoint, tmp_path / "killed"
    assert run(*arguments(model, tmp_path / "undisturbed")).returncode == 0

    def parts() -> dict[str, int]:
        return {part.name: part.stat().st_mtime_ns for part in sorted((killed / "examples").glob("part-*.parquet"))}

    chance, published = random.Random(7), list[dict[str, int]]()
    for _ in range(kills):
        process = begun(model, killed)
        further(process, parts, chance.randint(0, max(1, 20 // kills)))  # all together less than the work
        time.sleep(chance.uniform(0, 0.05))  # anywhere in a part
        process.kill()
        assert finished(process) == -signal.SIGKILL, "the run ended before it could be killed"
        published.append(parts())
    assert run(*arguments(model, killed)).returncode == 0
    assert_equal_runs(open_run(tmp_path / "undisturbed"), open_run(killed))
    for earlier, later in pairwise(published):  # no published part was written again
        assert earlier.items() <= later.items()
    assert not list(killed.rglob("*.partial"))
    print(f"{kills} kills; parts published before each: {[len(parts) for parts in published]}")


@pytest.mark.parametrize("kills", [pytest.param(3, marks=pytest.mark.exhaustive)])
def test_sigkill_of_a_run_in_an_object_store(kills: int, tiny_checkpoint: Path, bucket: Bucket, tmp_path: Path) -> None:
    """The same command goes on at once: nobody has to wait for the lease of the dead process."""
    killed, chance = f"{bucket.url}/killed", random.Random(11)
    published = list[dict[str, str]]()
    for _ in range(kills):
        process = begun(tiny_checkpoint, killed)
        further(process, lambda: bucket.versions("killed/examples/"), chance.randint(0, 10))
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        assert finished(process) == -signal.SIGKILL, "the run ended before it could be killed"
        published.append(bucket.versions("killed/examples/"))
    assert run(*arguments(tiny_checkpoint, killed)).returncode == 0
    options = {"limit": ROWS, "part_rows": ROWS // PARTS, "batch_tokens": 256, "max_length": MAX_LENGTH, "tokens": True}
    undisturbed = spectra(SAMPLE, tiny_checkpoint, out=tmp_path / "run", **options)
    assert_equal_runs(undisturbed, open_run(killed))
    for earlier, later in pairwise([*published, bucket.versions("killed/examples/")]):
        assert earlier.items() <= later.items()  # no published part was written again
    assert "killed/.lock" not in bucket.objects()
    print(f"parts published before each kill: {[len(parts) for parts in published]}")


def test_ctrl_c_ends_after_the_batch_and_says_how_to_resume(tiny_checkpoint: Path, tmp_path: Path) -> None:
    command = arguments(tiny_checkpoint, out := tmp_path / "run", max_length=512)
    process = start(*command)
    assert process.stderr is not None
    for line in process.stderr:
        if "rows," in line and "examples/s" in line:
            break
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=180)
    assert process.returncode == 130
    assert "Repeat the same command to resume" in stderr
    assert "Traceback" not in stderr
    assert not open_run(out).is_complete
    assert run(*command).returncode == 0
    assert open_run(out).is_complete
