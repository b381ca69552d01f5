"""Timing of ways of doing the same, side by side."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

Way = Callable[[], object]


def seconds(way: Way) -> float:
    """Wall time of one run, what was queued on an accelerator included."""
    _wait()
    began = time.perf_counter()
    way()
    _wait()
    return time.perf_counter() - began


def side_by_side(ways: Mapping[str, Sequence[Way]], repeats: int) -> dict[str, float]:
    """Median over rounds of the seconds that each way takes for all of its chunks.

    In each round every way runs its first chunk, then every way its second, and so on: these machines change their
    speed by a factor of two within minutes, and what is compared must see the same of it. The first round warms up.
    """
    rounds: list[dict[str, float]] = []
    for _ in range(repeats + 1):
        taken = dict.fromkeys(ways, 0.0)
        for chunks in zip(*ways.values(), strict=True):
            for name, way in zip(ways, chunks, strict=True):
                taken[name] += seconds(way)
        rounds.append(taken)
    return {name: statistics.median(taken[name] for taken in rounds[1:]) for name in ways}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
