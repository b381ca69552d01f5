"""What the machine is, for the head of a table."""

import platform
from pathlib import Path

import torch


def describe() -> dict[str, str]:
    """Processor, cores, widest vector unit, torch; and the GPU where there is one."""
    found = {
        "processor": _processor(),
        "threads": f"{torch.get_num_threads()} threads",
        "vector unit": torch.backends.cpu.get_cpu_capability(),
        "torch": f"torch {torch.__version__}",
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
