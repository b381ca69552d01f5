"""Word why a worker died, as far as Ray tells."""

import re
from typing import Any

from gradprism.core.errors import GradPrismError


def first_line(error: BaseException) -> str:
    """Return the first line of an error; its name where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__


def last_line(error: BaseException) -> str:
    """Return the last line of an error, which follows a quoted traceback; its name where it says nothing."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


def reason_of(error: Exception) -> str:
    """Word the reason of an error in a line."""
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or "memory pressure" in text or "running low on memory" in text:
        return "out of memory"
    if getattr(error, "actor_init_failed", False):
        return f"{last_line(error)} (expected the same gradprism and Ray on every machine)"
    if went_with_its_node(error):
        return "its machine went"
    if "connection error code 2" in text:  # end of file: it went without a word
        return "its process was killed"
    detail = re.search(r"Worker exit detail: (.*?)(?:\.\s|$)", text)
    return detail[1] if detail else first_line(error)


def went_with_its_node(error: Exception) -> bool:
    """Tell whether Ray says that the whole machine went."""
    phrases = ("node has died", "its node is dead", "node it was running on is dead")
    return bool(getattr(error, "preempted", False)) or any(phrase in str(error) for phrase in phrases)


def as_here(error: Any) -> Exception:
    """Return what a worker has raised, as if it had been raised here."""
    if isinstance(error.cause, GradPrismError):
        return GradPrismError(f"In a worker: {error.cause}")
    return RuntimeError(f"A worker has failed:\n{error}")
