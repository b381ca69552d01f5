"""Paths on a local disk or at a URL: one function decides which a user has named."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeGuard, cast
from urllib.parse import unquote, urlsplit

from gradprism.core.errors import GradPrismError
from gradprism.files.remote import READ_ONLY, STORES, RemotePath

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_BEGINS_AS_PATH = re.compile(r"~?/|[A-Za-z]:[\\/]|\\\\|\.{1,2}[/\\]")
_COLLAPSED = re.compile(rf"({'|'.join((*STORES, *READ_ONLY))}):/(?!/)", re.IGNORECASE)


def to_path(named: object) -> Path:
    """Return the local path, `~` expanded, or the remote one that a text names (`s3://bucket/run`). Opens nothing.

    A remote path is no `pathlib.Path`; it is typed as one, of which it has the part that is used here. Raises
    `GradPrismError` for a URL of an unknown kind, without a bucket, or with a password or a query in it: paths are
    saved with every run. So it does for a text with a null character, which no path has.
    """
    if "\0" in str(named):
        raise GradPrismError(f"{str(named)!r} names no path: it holds a null character. Expected a path or a URL.")
    text = _COLLAPSED.sub(r"\1://", str(named), count=1)  # pathlib has made one slash of two
    match = _URL.match(text)
    if match is None or match[1].lower() == "hf":  # the hub's own
        return Path(text).expanduser()
    if match[1].lower() == "file":
        return Path(unquote(urlsplit(text).path))
    return cast(Path, _remote_path(text, match[1].lower()))


def _remote_path(url: str, protocol: str) -> RemotePath:
    if protocol not in STORES and protocol not in READ_ONLY:
        raise GradPrismError(
            f"{protocol}:// is no storage that is known here. Expected a local path, or a URL that begins with "
            "s3://, gs://, az:// or abfs://, or (to read data from) https://."
        )
    host, _, rest = url.partition("://")[2].partition("/")
    colon = ":" in (host if protocol in STORES else host.rpartition("@")[0])
    named = "@" in host and not protocol.startswith("abfs")  # abfss://container@account.dfs.core.windows.net
    if colon or named or (protocol in READ_ONLY and "?" in url):
        raise GradPrismError(
            f"A {protocol}:// address was given that holds a password or a query. Expected a plain address: paths are "
            "saved with every run, and credentials are taken from the environment."
        )
    if not host:
        raise GradPrismError(f"{url} names no bucket. Expected {protocol}://BUCKET/NAME.")
    return RemotePath(f"{protocol}://{host}/{rest}".rstrip("/"))


def is_remote(place: object) -> bool:
    """Return whether a path is remote: the same for every machine, as URLs are and local paths never."""
    return isinstance(place, RemotePath)


def as_remote(place: object) -> RemotePath:
    """Return a remote path as the `RemotePath` that it is at run time."""
    assert isinstance(place, RemotePath)
    return place


def names_path(given: object) -> TypeGuard[str | Path]:
    """Return whether an argument names a path: a text, a local path, or what `place` returns."""
    return isinstance(given, str | Path | RemotePath)


def list_names(folder: Path) -> list[str]:
    """Return the sorted names in a folder, listed afresh; none where there is no such folder."""
    try:
        return sorted(item.name for item in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextmanager
def given_or_temporary(out: object | None) -> Iterator[str]:
    """Yield the path that was given, or that of a new temporary folder, which goes where nothing was written to it."""
    if out:
        yield str(out)
        return
    folder = tempfile.mkdtemp(prefix="gradprism-")
    try:
        yield folder
    except BaseException:
        with suppress(OSError):  # it holds something
            Path(folder).rmdir()
        raise


def absolute_path(name: str) -> str:
    """Make a path absolute if there is such a file or folder; names of hubs and templates stay as they are."""
    path = to_path(name)
    return str(path.resolve()) if is_remote(path) or path.exists() else name


def base_name(name: str) -> str:
    """Return the last part of a path; any other name, such as `owner/name` of a hub, unchanged."""
    if _BEGINS_AS_PATH.match(name) is None and len(re.findall(r"[/\\]", name)) < 2:
        return name
    return PurePosixPath(name).name if "\\" not in name else PureWindowsPath(name).name
