"""Read JSON files row by row: arrays, JSON Lines, and objects that follow each other.

Python's own decoder reads them all: data written by Python holds NaN and Infinity, and bytes that are not UTF-8 must
cost their row alone. `ijson` refuses both.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO, Any

from gradprism.core.errors import GradPrismError
from gradprism.data.opening import not_utf8, open_text
from gradprism.data.record import Record
from gradprism.data.row_size import BoundedLines, RowTooLargeError, is_larger, too_large

_CHUNK = 1 << 16  # characters read at a time
_AFTER_SPACE = re.compile(r"\S|\Z")
_DECODER = json.JSONDecoder()


def json_lines(path: Path, most: int) -> Iterator[Record]:
    """Yield the object of each line; a line that is not valid JSON, or too large, costs that row alone."""
    with open_text(path) as file:
        lines = BoundedLines(path, file, most)
        for number in count(1):
            try:
                line = next(lines)
            except StopIteration:
                return
            except RowTooLargeError as error:
                yield Record(None, f"line {number}: {error}")
                lines.begin_row()
                continue
            if not line.strip():
                continue
            lines.begin_row()
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:  # ValueError: an integer of thousands of digits
                yield Record(None, f"line {number} is not valid JSON: {error}")
                continue
            yield _json_record(fields, f"line {number}", line)


def json_array(path: Path, most: int) -> Iterator[Record]:
    """Yield the elements of an array. Raises `GradPrismError` at a syntax error: it hides where the next one begins."""
    with open_text(path) as file:
        text, index = _Text(file, most), 0
        text.next_character()
        text.at += 1  # the opening bracket
        while text.next_character() != "]":
            try:
                fields, source = text.next_value()
                if (separator := text.next_character()) not in (",", "]"):
                    raise ValueError("Expecting ',' or ']' after the element")
            except (ValueError, RecursionError) as error:
                raise _broken(path, "JSON array", f"element {index} (counted from 0)", error) from None
            yield _json_record(fields, f"element {index}", source)
            text.at, index = text.at + (separator == ","), index + 1
        text.at += 1
        if text.next_character():
            raise GradPrismError(f"{path} goes on after the end of its JSON array: {text.held[text.at :][:40]!r}.")


def json_objects(path: Path, most: int) -> Iterator[Record]:
    """Yield objects that follow each other without commas. Raises `GradPrismError` at a syntax error."""
    with open_text(path) as file:
        text, index = _Text(file, most), 0
        while text.next_character():
            line = text.line
            try:
                fields, source = text.next_value()
            except (ValueError, RecursionError) as error:
                where = f"object {index} (from 0), line {line} on"
                raise _broken(path, "sequence of JSON objects", where, error) from None
            yield _json_record(fields, f"line {line}", source)
            text.line, index = text.line + source.count("\n"), index + 1


def holds_json_objects(path: Path, most: int) -> bool:
    """Return whether a file holds JSON objects of several lines each, one after the other, as `json.dump` indents."""
    with open_text(path) as file:
        try:
            first_line = next((line.lstrip() for line in BoundedLines(path, file, most) if line.strip()), "")
        except RowTooLargeError:
            return False
    try:
        _DECODER.raw_decode(first_line)
    except json.JSONDecodeError as error:
        with suppress(GradPrismError):
            return _may_go_on(error) and next(json_objects(path, most), None) is not None
    except (ValueError, RecursionError):
        pass
    return False


class _Text:
    """Text of a file, read as far as it is needed: from `at` on, at most the next value and some chunks are held."""

    def __init__(self, file: IO[str], most: int):
        self.held, self.at, self.line, self._file, self._most = "", 0, 1, file, most

    def next_character(self) -> str:
        """Pass over white space, and return the character behind it; "" at the end of the file."""
        while True:
            start = _AFTER_SPACE.search(self.held, self.at).start()  # type: ignore[union-attr]
            self.line += self.held.count("\n", self.at, start)
            self.at = start
            if start < len(self.held) or not self._read(_CHUNK):
                return self.held[start : start + 1]

    def next_value(self) -> tuple[Any, str]:
        """Decode the value that begins here, and return it with its text. Raises `ValueError` or `RecursionError`."""
        chunk = _CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self.held, self.at)
            except json.JSONDecodeError as error:
                if len(self.held) - self.at > self._most:
                    raise RowTooLargeError(too_large(self._most)) from None
                if not (_may_go_on(error) and self._read(chunk)):
                    raise
            else:
                if end + 2 < len(self.held) or not self._read(chunk):  # `1` may be the beginning of `1e+5`
                    break
            chunk *= 2
        source, self.at = self.held[self.at : end], end
        if is_larger(source, self._most):
            raise RowTooLargeError(too_large(self._most))
        return value, source

    def _read(self, n_characters: int) -> bool:
        more = self._file.read(n_characters)
        if more:
            self.held, self.at = self.held[self.at :] + more, 0
        return bool(more)


def _may_go_on(error: json.JSONDecodeError) -> bool:
    """Return whether a value may only lack the text that has not been read yet."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(error.doc.rstrip()) - len("-Infinity")


def _json_record(fields: object, where: str, source: str) -> Record:
    if problem := not_utf8(source):
        return Record(None, f"{where}: {problem}")
    if not isinstance(fields, dict):
        return Record(None, f"{where}: a JSON {type(fields).__name__}, expected an object with named columns")
    return Record(fields, where=where)


def _broken(path: Path, kind: str, where: str, error: Exception) -> GradPrismError:
    if isinstance(error, RowTooLargeError):
        return GradPrismError(f"{path}: {where}: {error}. As JSON Lines the rows after it could be read.")
    return GradPrismError(
        f"{path} is not a valid {kind}: {where}: {getattr(error, 'msg', error)}.\n"
        "The rows before it were readable. Repair the file, or write it as JSON Lines, "
        "where one bad row does not hide the others."
    )
