"""Classify the faults of requests: by whether a retry may help, and whether they concern one row or all."""

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from gradprism.core.optional import need

Kind = Literal["unreachable", "dropped", "timeout", "busy", "server", "row", "job"]
"""No connection; a broken connection; a time-out; a 429; a 5xx; a request that the endpoint refuses for this row's
content; and one that it would refuse for every row."""

PASSING: frozenset[Kind] = frozenset({"unreachable", "dropped", "timeout", "busy", "server"})
"""The faults after which a request is retried."""

_OF_THE_JOB = {401, 402, 403, 404, 405, 410}  # key, credit, permission, model or address


class FaultError(Exception):
    """A request that was not answered. It becomes a row's reason, or ends the job with a `GradPrismError`."""

    def __init__(self, kind: Kind, said: str, status: int | None = None, retry_after: float | None = None):
        """Make the fault; `said` is the endpoint's message, `retry_after` the seconds that it asks to wait."""
        super().__init__(said)
        self.kind, self.said, self.status, self.retry_after = kind, said, status, retry_after


def fault_of(error: Exception) -> FaultError:
    """Classify an error of the `openai` library, or a time-out. Raises any other error, which is a bug."""
    openai = need("openai", "judge")
    for fault in (error, error.__cause__):  # earlier versions of the library wrap it
        if isinstance(fault, FaultError):
            return fault
    if isinstance(error, TimeoutError):
        return FaultError("timeout", "no answer in time")
    if isinstance(error, openai.APIStatusError):
        return _of_status(error)
    if isinstance(error, openai.APIConnectionError):
        return _of_connection(error)
    raise error


def _of_connection(error: Any) -> FaultError:
    cause = error.__cause__ or error
    name, said = type(cause).__name__, str(cause) or type(cause).__name__
    if name in {"ConnectError", "ConnectTimeout"}:  # by name: there are two libraries below openai, httpx and httpx2
        return FaultError("unreachable", said)
    return FaultError("timeout", "no answer in time") if "Timeout" in name else FaultError("dropped", said)


def _of_status(error: Any) -> FaultError:
    status: int = error.status_code
    said = _message(error.body) or error.message
    wait = retry_after(error.response.headers)
    if status == 429:
        return FaultError("busy", said, status, wait)
    if status >= 500:
        return FaultError("server", said, status, wait)
    if status == 408:
        return FaultError("timeout", said, status, wait)
    return FaultError("job" if status in _OF_THE_JOB else "row", said, status)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the endpoint asks to wait, by retry-after-ms or Retry-After in seconds or as a date."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    try:
        return max(parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time(), 0.0)
    except (LookupError, ValueError, TypeError, OverflowError):
        return None


def _message(body: Any) -> str:
    try:
        return str((isinstance(body, Mapping) and body.get("message")) or body or "")
    except RecursionError:
        return "a message that is nested too deeply"
