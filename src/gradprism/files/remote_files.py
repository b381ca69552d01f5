"""Files of an object store, open for reading bytes, with failures in plain words."""

from typing import TYPE_CHECKING

from fsspec.spec import AbstractBufferedFile

if TYPE_CHECKING:
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
