"""Simulated runs whose whole effect is length, or goes beyond it; what is found of them."""

from pathlib import Path

import numpy as np

import gradprism
from tests.made_groups import given_run


def length_alone(folder: Path, seed: int) -> str:
    """Measures follow a power of the response's tokens and nothing else; the groups differ in length."""
    return _kind(folder, seed, gain=1.0)


def beyond_length(folder: Path, seed: int) -> str:
    """The same, and a third more at any length."""
    return _kind(folder, seed, gain=1.33)


def _kind(folder: Path, seed: int, gain: float) -> str:
    random = np.random.default_rng(seed)
    runs = {}
    for name, centre, factor in (("high", 5.0, gain), ("low", 4.6, 1.0)):
        tokens = np.exp(random.normal(centre, 0.4, 200)).astype(int) + 2
        noise = random.lognormal(0, 0.15, (200, 2, 2))
        runs[name] = given_run(folder / name, factor * tokens[:, None, None] ** 0.5 * noise, tokens)
    compared = gradprism.compare(**runs, resamples=999)
    return next(each.kind for each in compared.findings if each.measure == "effective_rank")
