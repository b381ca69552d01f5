"""Remember the digest of a large file until the file changes, in the user's cache folder."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from gradprism.files.atomic import write_whole

_REMEMBERED = 1 << 20  # bytes from which a digest is worth remembering
_SETTLED = 2.0  # seconds: a file that was written just now may be written again within one tick of its clock


def user_cache() -> Path:
    """Return the folder of all that is cached: `$GRADPRISM_CACHE`, or else the user's cache folder."""
    return Path(os.environ.get("GRADPRISM_CACHE") or user_cache_path("gradprism"))


def state_of(file: Path) -> list[int]:
    """Return size, times of content and of status (ns), and inode: writing to a file changes one of them."""
    state = file.stat()
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


def recall_digest(file: Path, state: Sequence[int]) -> str | None:
    """Return the digest of a file in this state; None where it is not known, or the file is small."""
    if state[0] < _REMEMBERED:
        return None
    with suppress(OSError, ValueError, TypeError, KeyError):
        entry = json.loads(_entry_of(file).read_text(encoding="utf-8"))
        if entry["file"] == str(file.resolve()) and entry["state"] == state:
            return str(entry["sha256"])
    return None


def remember_digest(file: Path, state: Sequence[int], digest: str) -> None:
    """Keep the digest of a file that was in this state before it was read, and still is.

    Only where the cache can be written; each file has an entry of its own, which appears whole.
    """
    if state[0] < _REMEMBERED or time.time() - max(state[1:3]) / 1e9 < _SETTLED or state_of(file) != state:
        return
    entry = _entry_of(file)
    text = json.dumps({"file": str(file.resolve()), "state": state, "sha256": digest})
    with suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        write_whole(entry, text.encode())


def _entry_of(file: Path) -> Path:
    name = hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:32]
    return user_cache() / "digests" / f"{name}.json"
