"""Digests of whole files: hashed in parallel, and remembered until a file changes."""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from gradprism.core.errors import GradPrismError
from gradprism.files.atomic import write_whole
from gradprism.models.builtin import BuiltinModel, cache_folder

DIGITS = 32  # of a digest, hexadecimal; earlier ones had 16, and were of the first and last MiB of each file alone
_CHUNK = 64 << 20  # bytes that one thread hashes by itself: part of what the digest of a file is
_PIECE = 1 << 20
_REMEMBERED = 1 << 20  # size from which a digest is worth remembering
_SETTLED = 2.0  # seconds: a file that was written just now may be written again within one tick of its clock


def digest_of_files(files: Iterable[Path]) -> str:
    """Return a digest of the names and whole contents of files, in the order given."""
    found = list(files)
    digest = hashlib.sha256()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for file in found:
            digest.update(f"{file.name}\0{_digest_of_file(file, pool)}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:DIGITS]


def refuse_changed(model: BuiltinModel, folder: Path) -> None:
    """Refuse a converted model that is not what it was at the first call. Raises `GradPrismError`.

    The digest of its files is kept beside the folder, where the cache can be written.
    """
    kept, now = folder.with_suffix(".digest"), digest_of_files(sorted(folder.iterdir()))
    with suppress(OSError):  # a cache that cannot be written cannot be changed either
        if not kept.is_file():
            kept.write_text(now, encoding="ascii")
        elif kept.read_text(encoding="ascii") != now:
            raise GradPrismError(
                f"The converted weights of {model.name} in {folder} have changed since they were converted.\n"
                f"Remove {folder} and {kept}: they are then converted anew."
            )


def _digest_of_file(file: Path, pool: Executor) -> str:
    state = _state_of(file)
    size = state[0]
    known = _recall(file, state) if size >= _REMEMBERED else None
    if known is not None:
        return known
    parts = pool.map(lambda start: _hash_chunk(file, start), range(0, max(size, 1), _CHUNK))
    digest = hashlib.sha256(b"".join(parts)).hexdigest()
    if size >= _REMEMBERED and _state_of(file) == state:
        _remember(file, state, digest)
    return digest


def _hash_chunk(file: Path, start: int) -> bytes:
    digest, left = hashlib.sha256(), _CHUNK
    with file.open("rb", buffering=0) as stream:
        stream.seek(start)
        while left and (piece := stream.read(min(_PIECE, left))):
            digest.update(piece)
            left -= len(piece)
    return digest.digest()


def _state_of(file: Path) -> list[int]:
    """Return size, times of content and of status (ns), and inode: writing to a file changes one of them."""
    state = file.stat()
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


def _recall(file: Path, state: Sequence[int]) -> str | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        entry = json.loads(_entry_of(file).read_text(encoding="utf-8"))
        if entry["file"] == str(file.resolve()) and entry["state"] == state:
            return str(entry["sha256"])
    return None


def _remember(file: Path, state: Sequence[int], digest: str) -> None:
    """Keep a digest where the cache can be written; each file has an entry of its own, which appears whole."""
    if time.time() - max(state[1:3]) / 1e9 < _SETTLED:
        return
    entry = _entry_of(file)
    text = json.dumps({"file": str(file.resolve()), "state": state, "sha256": digest})
    with suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        write_whole(entry, text.encode())


def _entry_of(file: Path) -> Path:
    name = hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:DIGITS]
    return cache_folder().parent / "digests" / f"{name}.json"
