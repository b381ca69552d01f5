"""Files of an object store, or of a web server, with the part of `pathlib.Path` that is used here.

An own class rather than `upath.UPath`, which is no `pathlib.Path` either: every failure comes out as one error in
plain words, `exists` does not say no where access was denied, no call makes a bucket, and brackets are no patterns.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.files.s3 import s3_options
from gradprism.files.storage_errors import StorageError, plain_errors
from gradprism.files.web import BLOCK, WebFile, make_session

_S3, _GCS, _AZURE = ("s3fs", "s3"), ("gcsfs", "gcs"), ("adlfs", "azure")
STORES = {
    "s3": _S3, "s3a": _S3, "gs": _GCS, "gcs": _GCS, "az": _AZURE, "abfs": _AZURE, "abfss": _AZURE,
    "memory": ("fsspec", "s3"),
}  # fmt: skip
"""Object stores by the beginning of their URLs: the library that each needs, and the extra that brings it.

Of `memory` every process has its own: it is there to try things out."""

READ_ONLY = {"http": ("aiohttp", "s3"), "https": ("aiohttp", "s3")}
"""Web servers: data is read from them."""


@dataclass(frozen=True)
class ObjectState:
    """The size and the version of an object, as its store names them in listings too."""

    size: int  # bytes; 0 of a folder
    etag: str  # changes with each writing; empty where the store gives none


@dataclass(frozen=True, order=True)
class RemotePath:
    """The path of one object, or of all whose names begin with it and a slash (a "folder").

    Credentials are taken from the environment.
    """

    url: str  # without a slash at its end

    def __str__(self) -> str:
        """Return the URL."""
        return self.url

    def __truediv__(self, name: str) -> "RemotePath":
        """Return the path of `name` in this folder."""
        return RemotePath(f"{self.url}/{name}")

    @property
    def protocol(self) -> str:
        """The `s3` of `s3://bucket/run`."""
        return self.url.partition("://")[0].lower()

    @property
    def name(self) -> str:
        """The last part; the bucket of a whole one."""
        return self.url.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The `.gz` of `rows.jsonl.gz`."""
        return PurePosixPath(self.name).suffix

    @property
    def suffixes(self) -> list[str]:
        """The `.jsonl` and `.gz` of `rows.jsonl.gz`."""
        return PurePosixPath(self.name).suffixes

    @property
    def parent(self) -> "RemotePath":
        """The folder that it is in; of a whole bucket itself."""
        above = self.url.rpartition("/")[0]
        return self if above.endswith("/") else RemotePath(above)

    def with_name(self, name: str) -> "RemotePath":
        """Return the path of `name` in the folder that it is in."""
        return self.parent / name

    def expanduser(self) -> "RemotePath":
        """Return itself: there is no home."""
        return self

    def resolve(self) -> "RemotePath":
        """Return itself: it is absolute."""
        return self

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder is what names begin with. A bucket is never made."""

    def exists(self) -> bool:
        """Return whether there is such an object, or a folder."""
        return self._kind() is not None

    def is_file(self) -> bool:
        """Return whether there is such an object."""
        return self._kind() == "file"

    def is_dir(self) -> bool:
        """Return whether there are objects in it; never on a web server."""
        return self.protocol in STORES and self._kind() == "directory"

    def iterdir(self) -> Iterator["RemotePath"]:
        """Yield the paths in the folder, listed afresh. Raises `FileNotFoundError` where there are none."""
        return (self / name for name in sorted(self.states()))

    def states(self) -> dict[str, ObjectState]:
        """Return the state of each object in the folder, by name, listed afresh; folders in it have 0 bytes.

        Raises `FileNotFoundError` where there are none, at a second look too: to a client, an answer that is no listing
        is one of nothing.
        """
        with plain_errors(self.url):
            fs, path = self.file_system()
            try:
                found = fs.ls(path, detail=True)
            except FileNotFoundError:
                found = fs.ls(path, detail=True)
        states = {str(item["name"]).strip("/"): _state_of(item) for item in found}
        return {name.rpartition("/")[2]: state for name, state in states.items() if name != path.strip("/")}

    def state(self) -> ObjectState:
        """Return the state of the object, asked for afresh. Raises `FileNotFoundError`."""
        return _state_of(self._info())

    def read_bytes(self) -> bytes:
        """Return the whole object, in one request. Raises `FileNotFoundError`."""
        with plain_errors(self.url):
            fs, path = self.file_system()
            return bytes(fs.cat_file(path))

    def read_range(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` up to `end`. Raises `StorageError` where the store gives more or fewer."""
        with plain_errors(self.url):
            fs, path = self.file_system()
            content = bytes(fs.cat_file(path, start=start, end=end)) if start < end else b""
        if len(content) != end - start:
            raise StorageError(
                f"{self.url}: the store gave {len(content):,} bytes where {end - start:,} were asked for.\n"
                "Repeat the command; should it happen again, the object has changed, or the store knows no ranges."
            )
        return content

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the whole object as text."""
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Open the object for reading bytes, a block at a time."""
        assert mode == "rb", "objects are written whole: see write_bytes"
        from gradprism.files.remote_files import StoredFile

        return io.BufferedReader(
            StoredFile(self, self.state().size) if self.protocol in STORES else WebFile(self), BLOCK
        )

    def refuse_read_only(self) -> None:
        """Raise `GradPrismError` for what is on a web server."""
        if self.protocol not in STORES:
            raise GradPrismError(f"{self.url} can only be read. Expected a local path, or a path in an object store.")

    def write_bytes(self, content: bytes) -> None:
        """Write the object: a reader sees all of it, or what was there before, whatever happens meanwhile."""
        self._write(content)

    def create(self, content: bytes) -> None:
        """Write the object only if there is none. Raises `ConflictError` where there is."""
        self._write(content, mode="create")

    def exchange(self, content: bytes, version: str | None) -> None:
        """Write the object only if it still has this `version()`. Raises `ConflictError` where it has another.

        A condition that S3 knows; elsewhere it is written.
        """
        condition = {"IfMatch": version} if version and self.protocol in ("s3", "s3a") else {}
        self._write(content, **condition)

    def version(self) -> str | None:
        """Return the ETag, which changes with each writing; None where there is no object, or the store gives none."""
        try:
            return self.state().etag or None
        except FileNotFoundError:
            return None

    def upload(self, file: Path) -> None:
        """Write a local file as the object, whole as `write_bytes` does, and never all in memory."""
        self.refuse_read_only()
        with plain_errors(self.url):
            fs, path = self.file_system()
            fs.put_file(str(file), path)

    def rename(self, target: "RemotePath") -> None:
        """Give the object another name: a copy is made, then the first is deleted."""
        self.refuse_read_only()
        with plain_errors(self.url):
            fs, path = self.file_system()
            fs.mv(path, target.file_system()[1])

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        try:
            with plain_errors(self.url):
                fs, path = self.file_system()
                fs.rm_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def _write(self, content: bytes, **condition: Any) -> None:
        self.refuse_read_only()
        with plain_errors(self.url):
            fs, path = self.file_system()
            fs.pipe_file(path, content, **condition)

    def _kind(self) -> str | None:
        try:
            return str(self._info()["type"])
        except FileNotFoundError:
            return None

    def _info(self) -> dict[str, Any]:
        with plain_errors(self.url):
            fs, path = self.file_system()
            return dict(fs.info(path))

    def file_system(self) -> tuple[Any, str]:
        """Return the file system, which fsspec keeps, and the path in it."""
        module, extra = {**STORES, **READ_ONLY}[self.protocol]
        need(module, extra)
        from fsspec.core import url_to_fs

        # another process may have written since: nothing that was listed once is believed
        options = s3_options() if module == "s3fs" else {"get_client": make_session} if module == "aiohttp" else {}
        fs, path = url_to_fs(self.url, use_listings_cache=False, **options)
        return fs, path


def _state_of(found: Mapping[str, Any]) -> ObjectState:
    return ObjectState(int(found.get("size") or 0), str(found.get("ETag") or ""))
