"""The result of parsing a judge's answer, and the JSON in it, repaired if necessary."""

import json
import re
from dataclasses import dataclass
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


_BRACKET = re.compile(r"[\[\]{}]")
_CLOSED_BY = {"[": "]", "{": "}"}


def value_at(text: str, start: int) -> tuple[Any, int | None]:
    """Return the JSON value that begins at `start`, repaired if necessary, and its end; None if it has no end."""
    try:
        return json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        stop = _closed_at(text, start, fence_behind(text, start))
    return (None, None) if stop is None else (repair_json(text[start:stop]), stop)


def _closed_at(text: str, start: int, end: int) -> int | None:
    """Return the end of the bracket that closes the one at `start`; brackets that do not match are skipped as text."""
    open_brackets: list[str] = []
    for bracket in _BRACKET.finditer(text, start, end):
        if bracket[0] in _CLOSED_BY:
            open_brackets.append(_CLOSED_BY[bracket[0]])
        elif bracket[0] == open_brackets[-1]:
            open_brackets.pop()
            if not open_brackets:
                return bracket.end()
    return None


def fence_behind(text: str, start: int) -> int:
    fence = text.find("```", start)
    return fence if fence >= 0 else len(text)


_WRAPPING = re.compile(r"</?(?:answer|final_answer|response|solution|output|result)>", re.IGNORECASE)


def answer_of(text: str) -> tuple[str, str | None]:
    """Return the answer without thoughts and wrapping tags, and the problem where there is no answer."""
    spoken = split_thoughts(text)
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
    try:
        return need("json_repair", "judge").loads(text)
    except (ValueError, RecursionError):
        return None
