"""Describe why a worker died, from what Ray reports."""

import re
from typing import Any

from gradprism.core.errors import GradPrismError, first_line


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message, behind a quoted traceback; else the name of its type."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


def reason_of(error: Exception) -> str:
    """Describe in one line why a worker died."""
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or "memory pressure" in text or "running low on memory" in text:
        return "out of memory"
    if getattr(error, "actor_init_failed", False):
        return f"{last_line(error)} (expected the same gradprism and Ray on every machine)"
    if went_with_its_node(error):
        return "its machine was lost"
    if "connection error code 2" in text:  # end of file: the process ended without a message
        return "its process was killed"
    detail = re.search(r"Worker exit detail: (.*?)(?:\.\s|$)", text)
    return detail[1] if detail else first_line(error)


def went_with_its_node(error: Exception) -> bool:
    """Return whether Ray reports that the worker's whole machine was lost."""
    phrases = ("node has died", "its node is dead", "node it was running on is dead")
    return bool(getattr(error, "preempted", False)) or any(phrase in str(error) for phrase in phrases)


def local_error(error: Any) -> Exception:
    """Return the exception to raise in this process for one that a worker has raised."""
    if isinstance(error.cause, GradPrismError):
        return GradPrismError(f"In a worker: {error.cause}")
    return RuntimeError(f"A worker has failed:\n{error}")
