"""Files of an object store or a web server, open for reading bytes, with failures in plain words."""

import io
from typing import TYPE_CHECKING, Any

from fsspec.spec import AbstractBufferedFile

from gradprism.files.storage_errors import plain_errors

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from gradprism.files.remote import RemotePath

_SMALL = 256 << 10  # bytes


class StoredFile(AbstractBufferedFile):  # type: ignore[misc]
    """An object open for reading at any place: each read is one request, of exactly the bytes asked for.

    A small object is asked for once, all of it: a request costs more than its bytes do. The files that fsspec's own
    stores open ask for the size of each object, too, which for the parts of a run is known from one listing.
    """

    def __init__(self, path: "RemotePath", size: int):
        """Open the object at `path`, of `size` bytes."""
        self._remote = path
        super().__init__(None, path.url, "rb", cache_type="all" if size <= _SMALL else "none", size=size)

    def _fetch_range(self, start: int, end: int) -> bytes:
        end = min(end, self.size)
        return self._remote.read_range(start, end) if start < end else b""


class WebFile(io.RawIOBase):
    """A file of a web server, of one that gives ranges of bytes or not."""

    def __init__(self, url: str, file: Any):
        """Take over `file`, which fsspec has opened: it is closed with this."""
        super().__init__()
        self._url, self._file = url, file

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
        """Read as many bytes as come and fit."""
        target = memoryview(buffer)
        with plain_errors(self._url):
            content = self._file.read(len(target))
        target[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """End the connection."""
        if not self.closed:
            self._file.close()
        super().close()
