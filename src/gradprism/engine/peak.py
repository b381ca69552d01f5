"""How much memory a process has taken."""

import sys


def peak_memory_mib() -> int | None:
    """Largest resident set of this process so far; None where the platform does not say."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit >> 20
