"""Hold no row that is larger than `--max-row-bytes`: lines are read up to it, batches of a table row by row."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gradprism.core.errors import GradPrismError
from gradprism.data.record import Record

DEFAULT_ROW_BYTES = 64 * 2**20
_MOST_EMPTY = 10**6
_CHUNK = 1 << 16  # characters read at a time of a line that is passed over


def too_large(most: int) -> str:
    """Return the problem of a row that is larger than it may be."""
    return f"more than {most:,} bytes; --max-row-bytes N reads larger rows"


def is_larger(text: str, most: int) -> bool:
    """Return whether a text has more than so many bytes in UTF-8."""
    return len(text) > most or (4 * len(text) > most and len(text.encode("utf-8", "surrogatepass")) > most)


class RowTooLargeError(ValueError):
    """A row that is larger than it may be."""


class BoundedLines:
    """The lines of a text file, of which no more than `most` bytes are read between two calls of `begin_row`.

    A line that goes beyond is passed over to its end, and raises `RowTooLargeError`; the next one can be read. Raises
    `GradPrismError` where a million empty lines follow each other.
    """

    def __init__(self, path: Path, file: IO[str], most: int):
        """Begin at the first row of an open file."""
        self._path, self._file, self._most = path, file, most
        self.begin_row()

    def begin_row(self) -> None:
        """Count from here on."""
        self._left, self._n_empty = self._most, 0

    def __iter__(self) -> Iterator[str]:
        """Return the lines from here on."""
        return self

    def __next__(self) -> str:
        """Return the next line with its end."""
        line = self._file.readline(max(self._left, 0) + 1)
        if not line:
            raise StopIteration
        if is_larger(line, self._left):
            while line and not line.endswith(("\n", "\r")):
                line = self._file.readline(_CHUNK)
            raise RowTooLargeError(too_large(self._most))
        self._left -= len(line)
        if line.isspace():
            self._n_empty += 1
            if self._n_empty > _MOST_EMPTY:
                raise GradPrismError(f"{self._path}: more than {_MOST_EMPTY:,} empty lines in a row. Remove them.")
        return line


def records_of_batch(batch: Any, first: int, most: int) -> Iterator[Record]:
    """Yield the rows of an Arrow batch, of which the first has the number `first` in its file."""
    if batch.nbytes <= most:
        yield from map(Record, batch.to_pylist())
        return
    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        if row.nbytes > most:
            yield Record(None, f"row {first + index}: {too_large(most)}")
        else:
            yield Record(row.to_pylist()[0])
