"""Files of a web server, read with neither credentials nor cookies, from safe addresses, and unchanged to their end."""

import asyncio
import io
import ipaddress
import re
import socket
from typing import TYPE_CHECKING, Any

from gradprism.files.storage_errors import StorageError, plain_errors, without_secrets

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from gradprism.files.remote import RemotePath

BLOCK = 4 << 20  # bytes read at a time where a file is read from its start to its end
_DOWNLOAD = "Download the file, and give its path."


async def make_session(**options: Any) -> Any:
    """Return a session of aiohttp that follows redirects to safe addresses, and refuses answers to another question."""
    import aiohttp

    redirects = aiohttp.TraceConfig()
    redirects.on_request_redirect.append(_refuse_unsafe_redirect)
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), raise_for_status=_refuse_other_answer, trace_configs=[redirects], **options
    )


class WebFile(io.RawIOBase):
    """A file of a web server, of one that gives ranges of bytes or not."""

    def __init__(self, path: "RemotePath"):
        """Open the file at `path`. Raises `FileNotFoundError`, or `StorageError` where it cannot be read."""
        super().__init__()
        self._url = path.url
        with plain_errors(self._url):
            self._fs, self._path = path.file_system()
            found = self._fs.info(self._path)
            version = str(found.get("ETag") or "")
            same = {"If-Range": version} if version.startswith('"') else {}  # a weak one says nothing about bytes
            has_ranges = bool(found["size"]) and found.get("partial", True)
            self._file = self._open(block_size=BLOCK, size=found["size"], headers=same) if has_ranges else self._open()

    def _open(self, **options: Any) -> Any:
        return self._fs.open(self._path, "rb", **(options or {"block_size": 0}))

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return whether the server gives ranges."""
        return self._file.size is not None

    def tell(self) -> int:
        """Return the place of the next byte."""
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place without a request. Raises `OSError` where the server gives no ranges."""
        if not self.seekable():
            raise io.UnsupportedOperation("the server gives no ranges of bytes; download the file")
        return int(self._file.seek(offset, whence))

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read as many bytes as come and fit. Raises `StorageError` where the file ends too early."""
        target = memoryview(buffer)
        with plain_errors(self._url):
            content = self._read(len(target))
        if not content and self.seekable() and self.tell() < self._file.size and len(target):
            raise StorageError(f"{self._url}: the file ends {self._file.size - self.tell():,} bytes early. {_DOWNLOAD}")
        target[: len(content)] = content
        return len(content)

    def _read(self, most: int) -> bytes:
        try:
            return bytes(self._file.read(most))
        except ValueError:  # the server gives the whole file where a range was asked for: read it from its start
            place = self.tell()
            self._file.close()
            self._file = self._open()
            while (left := place - self.tell()) > 0:
                if not self._file.read(min(left, BLOCK)):
                    break
            return bytes(self._file.read(most))

    def close(self) -> None:
        """End the connection."""
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()


async def _refuse_unsafe_redirect(session: Any, context: Any, redirect: Any) -> None:
    """Raise `StorageError` where a web server sends its reader to an address that it should not open."""
    from yarl import URL

    given = redirect.response.headers.get("Location") or redirect.response.headers.get("URI")
    if given is None:
        return  # `_refuse_other_answer` has it
    try:
        source, target = redirect.response.url, redirect.response.url.join(URL(given))
        host, port = target.host, target.port
    except ValueError:
        raise _unsafe(redirect, given, "that is no address") from None
    if target.scheme not in ("http", "https") or not host:
        raise _unsafe(redirect, given, "that is no web address")
    if target.user or target.password:
        raise _unsafe(redirect, given, "that holds a user name or a password")
    if source.scheme == "https" and target.scheme != "https":
        raise _unsafe(redirect, given, "without encryption")
    if await _is_public(source.host, source.port) and not await _is_public(host, port):
        raise _unsafe(redirect, given, "in a private network, or on this machine")


def _unsafe(redirect: Any, given: str, why: str) -> StorageError:
    to = without_secrets(given)[:200]
    return StorageError(f"{redirect.response.url.origin()} redirects to {to!r}, {why}, which is refused. {_DOWNLOAD}")


async def _is_public(host: str, port: int | None) -> bool:
    """Return whether all addresses of a host are public; True where it has none, since then it is not reached."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return True
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_global for *_, address in found)


async def _refuse_other_answer(response: Any) -> None:
    """Raise `StorageError` where an answer is not what was asked for; fsspec believes any range that comes."""
    asked = re.fullmatch(r"bytes=(\d+)-(\d+)", response.request_info.headers.get("Range", ""))
    if 300 <= response.status < 400:
        raise _wrong(response, f"with {response.status} and no other address")
    if not asked or (response.status >= 400 and response.status != 416):
        return
    version, now = response.request_info.headers.get("If-Range"), response.headers.get("ETag")
    if (version and now and now != version) or response.status == 416:
        raise _wrong(response, "with another file than before: it has changed while it was read")
    if response.status == 206:
        given = re.match(r"bytes (\d+)-(\d+)/", response.headers.get("Content-Range", ""))
        start, end = map(int, asked.groups())
        if not given or int(given[1]) != start or not start <= int(given[2]) <= end:
            raise _wrong(response, "with other bytes than were asked for")


def _wrong(response: Any, how: str) -> StorageError:
    return StorageError(f"{without_secrets(str(response.url))} answers {how}. {_DOWNLOAD}")
