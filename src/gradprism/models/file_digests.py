"""Digests of whole files: hashed in parallel, and remembered until a file changes."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from gradprism.core.errors import GradPrismError
from gradprism.files.digest_memory import recall_digest, remember_digest, state_of
from gradprism.models.builtin import BuiltinModel

DIGITS = 32  # of a digest, hexadecimal; earlier ones had 16, and were of the first and last MiB of each file alone
_CHUNK = 64 << 20  # bytes that one thread hashes by itself: part of what the digest of a file is
_PIECE = 1 << 20


def digest_of_files(files: Iterable[Path]) -> str:
    """Return a digest of the names and whole contents of files, in the order given.

    Raises `GradPrismError` for one that cannot be read.
    """
    found = list(files)
    digest = hashlib.sha256()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, _naming_failures():
        for file in found:
            digest.update(f"{file.name}\0{_digest_of_file(file, pool)}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:DIGITS]


@contextmanager
def _naming_failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GradPrismError(
            f"Cannot read {error.filename}: {error.strerror}. Expected the files of a model; check the path."
        ) from error


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
    state = state_of(file)
    if (known := recall_digest(file, state)) is not None:
        return known
    parts = pool.map(lambda start: _hash_chunk(file, start), range(0, max(state[0], 1), _CHUNK))
    digest = hashlib.sha256(b"".join(parts)).hexdigest()
    remember_digest(file, state, digest)
    return digest


def _hash_chunk(file: Path, start: int) -> bytes:
    digest, left = hashlib.sha256(), _CHUNK
    with file.open("rb", buffering=0) as stream:
        stream.seek(start)
        while left and (piece := stream.read(min(_PIECE, left))):
            digest.update(piece)
            left -= len(piece)
    return digest.digest()
