"""Cache the answers of a judge on disk, so that a request is paid for once."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from gradprism.core.errors import GradPrismError
from gradprism.metrics.judge.judge import Answer

Payload = Mapping[str, Any]
"""The body of a request, as it is sent."""

_WAIT = 30.0  # seconds for another process that is writing


def key_of(payload: Payload, url: str = "") -> str:
    """Return the SHA-256 of a request's canonical JSON and its address: servers may give one name to two models."""
    canonical = json.dumps([url, payload], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class AnswerCache:
    """A cache of answers in one SQLite file; a context manager. Each answer is on disk when `put` returns.

    In WAL mode an answer survives a kill of the process, and several processes may share the file. Methods raise
    `GradPrismError` where the file cannot be used. Only answers are stored, never problems.
    """

    def __init__(self, path: Path):
        """Open the file, or create it."""
        self.path = path
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            # one thread reads, then another writes, never both at once
            self._connection = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=NORMAL")
                self._connection.execute(
                    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID"
                )
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> Self:
        """Return the cache; it is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._connection.close()

    def get(self, key: str) -> Answer | None:
        """Return the stored answer, marked as known; None where there is none."""
        with self._explained(), closing(self._connection.cursor()) as cursor:
            found = cursor.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
            return _answer(json.loads(found[0])) if found else None

    def put(self, key: str, answer: Answer) -> None:
        """Store an answer, replacing an earlier one."""
        usage = {"prompt_tokens": answer.n_prompt_tokens, "completion_tokens": answer.n_answer_tokens}
        entry = {
            "text": answer.text,
            "finish_reason": answer.finish_reason,
            "usage": usage,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with self._explained():
            self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(entry)))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise GradPrismError(
                f"Cannot use the cache of answers {self.path}: {error}.\n"
                "Expected a file that can be written, on a disk with space; --cache names another."
            ) from error
        except (sqlite3.DatabaseError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise GradPrismError(
                f"{self.path} is damaged, or is no cache of answers: {error}.\n"
                "Move it away (its requests are then sent again), or name another by --cache."
            ) from error
        except OSError as error:
            raise GradPrismError(f"Cannot make {self.path}: {error}. --cache names another file.") from error


def _answer(entry: Mapping[str, Any]) -> Answer:
    usage = entry["usage"]
    return Answer(entry["text"], entry["finish_reason"], usage["prompt_tokens"], usage["completion_tokens"], known=True)
