"""Measure the peak memory of a process."""

import sys


def peak_memory_mib() -> int | None:
    """Return the largest resident set of this process so far, in MiB; None where the platform does not report it."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit >> 20
