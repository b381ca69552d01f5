"""The table of tensors of a GGUF file, without its settings and its data.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The reader of `gguf` builds every word of the
vocabulary on the way, which takes 40 s where it has 262,144.
"""

import mmap
import struct
from pathlib import Path

_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of a value of each type, in bytes
_STRING, _ARRAY = 8, 9


def tensors_in(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor, the innermost dimension first as the file has them.

    Raises `struct.error` or `KeyError` for a file that is damaged; one that has been loaded is not.
    """
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        table = _Table(content)
        n_tensors, n_settings = table.take("<8xQQ")
        for _ in range(n_settings):
            table.skip_string()
            table.skip_value(*table.take("<I"))
        return dict(table.tensor() for _ in range(n_tensors))


class _Table:
    """A position in the file that moves on with everything that is read."""

    def __init__(self, content: mmap.mmap):
        self._content, self._at = content, 0

    def take(self, layout: str) -> tuple[int, ...]:
        found = struct.unpack_from(layout, self._content, self._at)
        self._at += struct.calcsize(layout)
        return found

    def tensor(self) -> tuple[str, tuple[int, ...]]:
        (length,) = self.take("<Q")
        name = self._content[self._at : self._at + length].decode()
        self._at += length
        (n_dims,) = self.take("<I")
        shape = self.take(f"<{n_dims}Q")
        self.take("<IQ")  # type, offset
        return name, shape

    def skip_string(self) -> None:
        (length,) = self.take("<Q")
        self._at += length

    def skip_value(self, kind: int) -> None:
        if kind == _STRING:
            self.skip_string()
        elif kind != _ARRAY:
            self._at += _WIDTHS[kind]
        else:
            of_kind, length = self.take("<IQ")
            if of_kind in _WIDTHS:
                self._at += length * _WIDTHS[of_kind]
            else:
                for _ in range(length):
                    self.skip_value(of_kind)
