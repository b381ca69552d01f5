"""Runs of the same rows through two made-up checkpoints, with known changes."""

from pathlib import Path
from typing import Any

import numpy as np

from gradprism import Run
from tests.made_groups import given_run


def checkpoint(
    path: Path, factor: Any = 1.0, n: int = 24, layers: int = 4, seed: int = 7, noise: float = 0.05, **given: Any
) -> Run:
    """A run whose rows are the same in every call, times `factor` and noise of `seed` on the log."""
    rng = np.random.default_rng(0)
    size = rng.lognormal(1.0, 0.5, (n, 1, 1)) * np.linspace(1, 2, layers) * np.array([1.0, 2.0])[None, :, None]
    wobble = np.exp(noise * np.random.default_rng(seed).normal(size=size.shape))
    lengths = given.pop("tokens", np.arange(n) % 13 + 20)
    kept = given.pop("kept", np.arange(n))
    examples = {
        "content_hash": [f"text {row}" for row in kept],
        "example_id": [f"id {row}" for row in kept],
        **given.pop("examples", {}),
    }
    found = {"tokenizer": "the same", "chat_template": "the same", **given.pop("found", {})}
    values = (size * wobble * factor)[kept]
    prompts = np.arange(n)[kept] % 5 + 3
    return given_run(path, values, np.asarray(lengths)[kept], prompt_tokens=prompts, examples=examples, found=found,
                     model=given.pop("model", "given-1b"), **given)  # fmt: skip
