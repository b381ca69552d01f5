"""Cache the answers of a judge on disk, so that a request is paid for once."""

import hashlib
import json
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from gradprism.core.errors import GradPrismError
from gradprism.metrics.judge.judge import Answer
from gradprism.metrics.judge.replies import count_of, unicode_of

Payload = Mapping[str, Any]
"""The body of a request, as it is sent."""

_WAIT = 30.0  # seconds for another process that is writing
_MOST_BYTES = 64 * 2**20  # of a stored answer


def key_of(payload: Payload, url: str = "") -> str:
    """Return the SHA-256 of a request's canonical JSON and its address: servers may give one name to two models."""
    canonical = json.dumps([url, payload], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class AnswerCache:
    """A cache of answers in one SQLite file; a context manager. Each answer is on disk when `put` returns.

    In WAL mode an answer survives a kill of the process, and several processes may share the file, which its owner
    alone can read. Methods raise `GradPrismError` where the file cannot be used. Only answers are stored, never
    problems.
    """

    def __init__(self, path: Path):
        """Open the file, or create it; one that others can read is narrowed to its owner."""
        self.path = path
        self.n_damaged = 0
        with self._explained():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create_private(path)
            # one thread reads, then another writes, never both at once
            self._connection = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
            try:
                self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=NORMAL")
                self._connection.execute(
                    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID"
                )
                _narrow(path)
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
        """Return the stored answer, marked as known; None where there is none, or a damaged one, which is counted."""
        with self._explained(), closing(self._connection.cursor()) as cursor:
            try:
                found = cursor.execute("SELECT CAST(answer AS BLOB) FROM answers WHERE key = ?", (key,)).fetchone()
                return _answer(json.loads(found[0])) if found else None
            except (sqlite3.DataError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
                self.n_damaged += 1
                return None

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
        except sqlite3.DatabaseError as error:
            raise GradPrismError(
                f"{self.path} is damaged, or is no cache of answers: {error}.\n"
                "Move it away (its requests are then sent again), or name another by --cache."
            ) from error
        except OSError as error:
            raise GradPrismError(f"Cannot make {self.path}: {error}. --cache names another file.") from error


def _answer(entry: Mapping[str, Any]) -> Answer:
    """Return an answer as `put` stored it. Raises `TypeError` or `LookupError` where it is damaged."""
    text, finish, usage = entry["text"], entry["finish_reason"], entry["usage"]
    if not isinstance(text, str | None) or not isinstance(finish, str | None):
        raise TypeError
    counts = count_of(usage["prompt_tokens"]), count_of(usage["completion_tokens"])  # earlier versions stored any
    return Answer(unicode_of(text), unicode_of(finish), *counts, known=True)


def _create_private(path: Path) -> None:
    """Create the file where there is none, for its owner alone; files that SQLite puts beside it get its mode."""
    if path.exists() and not path.is_file():
        raise OSError("it is no file")
    if not path.exists():
        path.touch(mode=0o600)


def _narrow(path: Path) -> None:
    """Let nobody but the owner of an existing cache read and write it."""
    for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        with suppress(FileNotFoundError, PermissionError):  # gone by now; another's, who shares it
            mode = stat.S_IMODE(file.stat().st_mode)
            if mode & 0o077:
                file.chmod(mode & 0o700)
