"""Keep the random numbers of a process: what a library draws or seeds meanwhile is undone."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def random_numbers_kept(*, accelerators: bool = False) -> Iterator[None]:
    """Leave the generators of Python, numpy and torch as they are; those of accelerators where asked for."""
    python, numbers = random.getstate(), np.random.get_state()
    devices = [*range(torch.cuda.device_count())] if accelerators else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)
