"""What the Ray engine costs beside the local one, what a second worker gives, and what scheduling a shard takes.

    python -m benchmarks.engines [--rounds 3]

200 short rows of real text through smollm2-135m, the model loaded beforehand in both; the engines take turns. Then
10,000 shards of work that does nothing.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import describe
from benchmarks.results import save
from benchmarks.works import SAMPLE
from gradprism.core.progress import NoProgress, OnBatch, Say
from gradprism.data.example import Example
from gradprism.engine.settings import EngineSettings
from gradprism.engine.shards import Shard
from gradprism.engine.task import Account, Task

ROWS, TOKENS, PART_ROWS = 200, 48, 16
EMPTY = 10_000
EVERY_TURN = ("local", "ray, 1 worker")  # what the engine costs; the others once


class Clock(NoProgress):
    """From the moment the model is loaded to the last batch."""

    began = ended = 0.0

    def start(self, rows: int, done: int, what: str) -> None:
        self.began = time.perf_counter()

    def begin(self, found: Mapping[str, Any]) -> None:
        self.start(0, 0, "")

    def batch(self, examples: int, tokens: int) -> None:
        self.ended = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Idle(Task[Example, int]):
    """A task that does nothing, and the sink of what comes of it."""

    device = "nowhere"
    publish_elsewhere = None

    def load(self, say: Say) -> None:
        """Nothing to load."""

    def run(self, examples: Sequence[Example], on_batch: OnBatch) -> int:
        on_batch(len(examples), 0)
        return 0

    def failed(self, examples: Sequence[Example], reason: str) -> int:
        return 0

    def join(self, parts: Sequence[int]) -> int:
        return 0

    def publish(self, index: int, part: int) -> None:
        """Nowhere."""

    def check(self) -> None:
        """Held by nobody."""


def short_rows() -> list[dict[str, str]]:
    """Rows of the embedded sample with short instructions, numbered so that no two are alike."""
    read = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    texts = [text for text in read if len(text["instruction"]) < 120]
    return [
        {"prompt": f"{i}. {texts[i % len(texts)]['instruction']}", "response": texts[i % len(texts)]["output"]}
        for i in range(ROWS)
    ]


def seconds_of(rows: list[dict[str, str]], **engine: Any) -> float:
    """Wall time of one run without loading; both engines write the same run directory."""
    import gradprism

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        run = gradprism.spectra(
            rows,
            "smollm2-135m",
            out=Path(folder) / "run",
            observer=clock,
            max_length=TOKENS,
            part_rows=PART_ROWS,
            **engine,
        )
        assert run.counts.ok == ROWS, run.counts.reasons
    return clock.seconds


def seconds_of_empty(workers: int) -> float:
    """Wall time of shards without work."""
    from gradprism.engine.ray.run import run

    shards = (Shard(i, (Example(i, str(i)),)) for i in range(EMPTY))
    clock, settings = Clock(), EngineSettings(engine="ray", workers=workers, cpus_per_worker=1)
    run(shards, Idle(), Idle(), clock, Account(), clock.begin, settings, EMPTY)
    return clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    print(", ".join(describe().values()))
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    cores = int(ray.cluster_resources()["CPU"])
    rows = short_rows()
    ways: dict[str, dict[str, Any]] = {
        "local": {},
        "ray, 1 worker": {"engine": "ray", "workers": 1, "cpus_per_worker": cores},
        "ray, 2 workers": {"engine": "ray", "workers": 2, "cpus_per_worker": max(cores // 2, 1)},
        "ray, 1 worker with half the cores": {"engine": "ray", "workers": 1, "cpus_per_worker": max(cores // 2, 1)},
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    stolen: dict[str, list[float]] = {name: [] for name in ways}  # core seconds that the machine's host took
    for turn in range(options.rounds):
        for name, engine in ways.items():
            if turn and name not in EVERY_TURN:
                continue
            before = psutil.cpu_times()
            found[name].append(seconds_of(rows, **engine))
            stolen[name].append(getattr(psutil.cpu_times(), "steal", 0.0) - getattr(before, "steal", 0.0))
            print(f"  {name:<36}{found[name][-1]:7.2f} s, stolen {stolen[name][-1]:.1f} core s", flush=True)
    ratios = {
        name: statistics.median(a / b for a, b in zip(times, found["local"], strict=False))
        for name, times in found.items()
    }
    for name, ratio in ratios.items():
        print(f"{name:<36}{statistics.median(found[name]):7.2f} s   {ratio:.3f} of local")
    empty = {f"{n} workers": seconds_of_empty(n) for n in (1, 2)}
    for name, seconds in empty.items():
        print(f"{EMPTY:,} empty shards, {name}: {seconds:.1f} s, {1e3 * seconds / EMPTY:.2f} ms a shard")
    ray.shutdown()
    save("engines", {"rows": ROWS, "tokens": TOKENS, "part_rows": PART_ROWS, "seconds": found, "stolen": stolen,
                     "of_local": ratios, "empty_shards": EMPTY, "empty_seconds": empty})  # fmt: skip


if __name__ == "__main__":
    main()
