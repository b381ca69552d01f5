"""The result of parsing a judge's answer, and the JSON in it, repaired if necessary."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from gradprism.core.optional import need
from gradprism.data.thoughts import outside, quoted_spans, split_thoughts

How = Literal["json", "repaired", "pattern", "none"]


@dataclass(frozen=True)
class Parsed:
    """The value or tags of an answer, and how it was parsed: as JSON, as repaired JSON, by a pattern, or not at all.

    `problem` gives the reason for a missing value, where it is known; `several` says that the text has other answers.
    """

    value: float | None
    parse: How
    tags: tuple[str, ...] = ()
    problem: str | None = None
    several: bool = False


NOTHING = Parsed(None, "none")
REPEATED = "it repeats the prompt"


_LONGEST_TEXT = 2**18  # characters, thoughts included
_LONGEST_ANSWER = 2**15  # characters
_LONGEST_REPAIRED = 8_000  # characters
_BRACKET = re.compile(r"[\[\]{}]")
_CLOSED_BY = {"[": "]", "{": "}"}


def value_at(text: str, start: int) -> tuple[Any, int | None]:
    """Return the JSON value that begins at `start`, repaired if necessary, and its end; None if it has no end."""
    try:
        return json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        stop = _closing_brackets(text).get(start, len(text) + 1)
        return (None, None) if stop > fence_behind(text, start) else (repair_json(text[start:stop]), stop)


@lru_cache(maxsize=2)
def _closing_brackets(text: str) -> Mapping[int, int]:
    """Return the end of the bracket that closes each one, by its start; those that do not match are skipped as text."""
    closed: dict[int, int] = {}
    open_brackets: list[tuple[str, int]] = []
    for bracket in _BRACKET.finditer(text):
        if bracket[0] in _CLOSED_BY:
            open_brackets.append((_CLOSED_BY[bracket[0]], bracket.start()))
        elif open_brackets and bracket[0] == open_brackets[-1][0]:
            closed[open_brackets.pop()[1]] = bracket.end()
    return closed


def fence_behind(text: str, start: int) -> int:
    fence = text.find("```", start)
    return fence if fence >= 0 else len(text)


_WRAPPING = re.compile(r"</?(?:answer|final_answer|response|solution|output|result)>", re.IGNORECASE)


def answer_of(text: str) -> tuple[str, str | None]:
    """Return the answer without thoughts and wrapping tags, and the problem where there is no answer."""
    if len(text) > _LONGEST_TEXT:
        return "", f"it has {len(text):,} characters, and at most {_LONGEST_TEXT:,} are read"
    spoken = split_thoughts(text)
    if len(spoken.answer) > _LONGEST_ANSWER:
        return "", f"it has {len(spoken.answer):,} characters, and at most {_LONGEST_ANSWER:,} are read"
    if spoken.unclosed:
        return "", "its thoughts never end"
    if not spoken.answer:
        return "", "nothing but thoughts" if spoken.thoughts else None
    marks = list(outside(_WRAPPING, spoken.answer, quoted_spans(spoken.answer)))
    starts, stops = [0, *(mark.end() for mark in marks)], [*(mark.start() for mark in marks), len(spoken.answer)]
    return "\n".join(spoken.answer[a:b] for a, b in zip(starts, stops, strict=True)).strip(), None


def load_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def repair_json(text: str) -> Any:
    """Return the JSON value of a text with errors in it; None for a long one, whose repair takes its length squared."""
    try:
        return need("json_repair", "judge").loads(text) if len(text) <= _LONGEST_REPAIRED else None
    except (ValueError, RecursionError):
        return None
