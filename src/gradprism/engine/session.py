"""Record the work and the cost of one session."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.engine.peak import peak_memory_mib
from gradprism.engine.task import Account


@contextmanager
def session(
    append: Callable[[dict[str, Any]], None], batch_tokens: int | None = None, engine: str = "local"
) -> Iterator[Account]:
    """Append this session's work and cost to a record when it ends, also by an error or an interrupt."""
    done, started, clock = Account(), utc_now(), time.perf_counter()
    try:
        yield done
    finally:
        entry = {
            "started": started,
            "seconds": round(time.perf_counter() - clock, 2),
            "examples": done.examples,
            "tokens": done.tokens,
            "peak_memory_mib": done.peak_memory_mib or peak_memory_mib(),
            "device": done.device,
            "batch_tokens": batch_tokens,
            "engine": engine,
            "workers": done.workers,
            "retries": done.retries,
        }
        with suppress(GradPrismError):  # a full disk must not hide what ended the session
            append(entry)


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
