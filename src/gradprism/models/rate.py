"""Measure how fast this machine multiplies matrices, from which a time that nobody has measured is estimated."""

import time
from statistics import median

from gradprism.core.errors import GradPrismError, first_line

_OPERATIONS = 12
"""Floating point operations a parameter and token: 6 of a training pass, at half the rate of a matrix product."""


def estimated_seconds(work: float, device: str) -> float:
    """Return the seconds that measuring takes on a device: `work` is parameters times tokens."""
    return work * _OPERATIONS / multiplication_rate(device)


def multiplication_rate(device: str) -> float:
    """Return floating point operations a second of a float32 matrix product: the median of five, after a warm-up."""
    import torch

    side, seconds = 1024 if device == "cpu" else 4096, []
    try:
        one = torch.ones(side, side, device=device)
        for _ in range(6):
            start = time.perf_counter()
            torch.mm(one, one)
            if device != "cpu":
                torch.accelerator.synchronize()
            seconds.append(time.perf_counter() - start)
    except RuntimeError as error:
        raise GradPrismError(f"--device {device}: {first_line(error)}") from error
    return 2 * side**3 / median(seconds[1:])
