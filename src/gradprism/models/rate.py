"""How fast this machine multiplies: what a time that nobody has measured yet is estimated from."""

import statistics
import time
from typing import Any

from gradprism.core.errors import GradPrismError


def multiplication_rate(device: str, dtype: str) -> float:
    """Floating point operations a second of a matrix product, on a device, in a type (float32, bfloat16, ...).

    The median of five, after one that warms up; well under a second altogether.
    """
    import torch

    side = 1024 if device == "cpu" else 4096
    try:
        one = torch.ones(side, side, device=device, dtype=getattr(torch, dtype))
        seconds = [_seconds_of_product(one, device) for _ in range(6)][1:]
    except RuntimeError as error:
        raise GradPrismError(f"--device {device}: {str(error).splitlines()[0]}") from error
    return 2 * side**3 / statistics.median(seconds)


def _seconds_of_product(one: Any, device: str) -> float:
    import torch

    start = time.perf_counter()
    torch.mm(one, one)
    if device != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - start
