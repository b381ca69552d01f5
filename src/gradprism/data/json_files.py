"""Read JSON files row by row: arrays, JSON Lines, and objects that follow each other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from gradprism.core.errors import GradPrismError
from gradprism.data.opening import not_utf8, open_text
from gradprism.data.record import Record

_CHUNK = 1 << 16  # characters read at a time
_LONGEST_FIRST = 1 << 24  # characters of the first object that are read to tell how a file is laid out
_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()


def _json_record(fields: object, where: str, source: str) -> Record:
    if problem := not_utf8(source):
        return Record(None, f"{where}: {problem}")
    if not isinstance(fields, dict):
        return Record(None, f"{where}: a JSON {type(fields).__name__}, expected an object with named columns")
    return Record(fields, where=where)


def json_lines(path: Path) -> Iterator[Record]:
    """Yield an object of each line; a line that is not one costs that row."""
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:  # ValueError: an integer of thousands of digits
                yield Record(None, f"line {number} is not valid JSON: {error}")
                continue
            yield _json_record(fields, f"line {number}", line)


def json_array(path: Path) -> Iterator[Record]:
    """Yield one element at a time, with Python's own decoder, since data written by Python holds NaN and Infinity.

    A syntax error hides where the next element starts, so it ends the file: a `GradPrismError`.
    """
    with open_text(path) as file:
        buffer, at, chunk, index = _after_bracket(file), 0, _CHUNK, 0
        while True:
            at = _after_space(buffer, at)
            if buffer.startswith("]", at):
                return _expect_end(path, buffer[at + 1 :], file)
            try:
                fields, end = _DECODER.raw_decode(buffer, at)
                # an element may be a prefix of a longer one until the separator after it has been seen
                separator = _after_space(buffer, end)
                if buffer[separator : separator + 1] not in (",", "]"):
                    raise json.JSONDecodeError("Expecting ',' or ']' after the element", buffer, end)
            except json.JSONDecodeError as error:
                if _cut_short(error, buffer) and (more := file.read(chunk)):
                    buffer, at, chunk = buffer[at:] + more, 0, chunk * 2
                    continue
                raise _broken_element(path, index, error.msg) from None
            except (ValueError, RecursionError) as error:  # an integer of thousands of digits, or deep nesting
                raise _broken_element(path, index, str(error)) from None
            yield _json_record(fields, f"element {index}", buffer[at:end])
            at, chunk, index = separator + (buffer[separator] == ","), _CHUNK, index + 1


def _after_bracket(file: IO[str]) -> str:
    text = ""
    while not text.lstrip():
        text = file.read(_CHUNK)
    return text.lstrip()[1:]


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect_end(path: Path, rest: str, file: IO[str]) -> None:
    while not rest.strip():
        if not (rest := file.read(_CHUNK)):
            return
    raise GradPrismError(f"{path} goes on after the end of its JSON array: {rest.strip()[:40]!r}.")


def _broken_element(path: Path, index: int, problem: str) -> GradPrismError:
    return GradPrismError(
        f"{path} is not a valid JSON array: element {index} (counted from 0): {problem}.\n"
        "The rows before it were readable. Repair the file, or write it as JSON Lines, "
        "where one bad row does not hide the others."
    )


def _cut_short(error: json.JSONDecodeError, buffer: str) -> bool:
    """Whether the element may only lack the text that has not been read yet."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(buffer.rstrip()) - len("-Infinity")


def is_json_stream(path: Path) -> bool:
    """Return whether a file holds JSON objects of several lines each, one after the other, as `json.dump` indents."""
    with open_text(path) as file:
        text = file.readline()
        while text and not text.strip():
            text = file.readline()
        if not _is_begun(text):
            return False
        while len(text) < _LONGEST_FIRST and (more := file.read(len(text) + _CHUNK)):
            text += more
            if not _is_begun(text):
                return _is_whole(text)
    return False


def json_stream(path: Path) -> Iterator[Record]:
    """Yield objects that follow each other without commas. A syntax error hides where the next one starts."""
    with open_text(path) as file:
        buffer, at, chunk, index, line = file.read(_CHUNK), 0, _CHUNK, 0, 1
        while True:
            start = _after_space(buffer, at)
            line += buffer.count("\n", at, start)
            buffer, at = buffer[start:] if start > _CHUNK else buffer, 0 if start > _CHUNK else start
            if at == len(buffer):
                if not (buffer := file.read(_CHUNK)):
                    return
                at = 0
                continue
            try:
                fields, end = _DECODER.raw_decode(buffer, at)
            except json.JSONDecodeError as error:
                if _cut_short(error, buffer) and (more := file.read(chunk)):
                    buffer, at, chunk = buffer[at:] + more, 0, chunk * 2
                    continue
                raise _broken_object(path, index, line, error.msg) from None
            except (ValueError, RecursionError) as error:
                raise _broken_object(path, index, line, str(error)) from None
            yield _json_record(fields, f"line {line}", buffer[at:end])
            line += buffer.count("\n", at, end)
            at, chunk, index = end, _CHUNK, index + 1


def _is_begun(text: str) -> bool:
    """Return whether text begins an object that needs more text to be whole."""
    try:
        _DECODER.raw_decode(text.lstrip())
    except json.JSONDecodeError as error:
        return _cut_short(error, text.lstrip())
    except (ValueError, RecursionError):
        return False
    return False


def _is_whole(text: str) -> bool:
    try:
        _DECODER.raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return False
    return True


def _broken_object(path: Path, index: int, line: int, problem: str) -> GradPrismError:
    return GradPrismError(
        f"{path} is no valid sequence of JSON objects: object {index} (from 0), line {line} on: {problem}.\n"
        "The rows before it were readable. Repair the file, or write it as JSON Lines, "
        "where one bad row does not hide the others."
    )
