"""Timing of ways of doing the same, side by side."""

import statistics
import time
from collections.abc import Mapping

import torch

from benchmarks.ways import Way


def seconds(way: Way) -> float:
    """Wall time of one run, what was queued on an accelerator included."""
    _wait()
    began = time.perf_counter()
    way()
    _wait()
    return time.perf_counter() - began


def side_by_side(ways: Mapping[str, Way], repeats: int) -> dict[str, float]:
    """Median seconds of each way, one after the other in each round. The first round warms up and is not counted."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            taken = seconds(way)
            if repeat:
                times[name].append(taken)
    return {name: statistics.median(taken) for name, taken in times.items()}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
