"""Answers of a judge -> tags, or a number from 1 to 10: JSON, then repaired JSON, then a pattern."""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gradprism.extras import need

How = Literal["json", "repaired", "pattern", "none"]


@dataclass(frozen=True)
class Parsed:
    """What an answer says, and how it was read: as JSON, as JSON that had to be repaired, by a pattern, or not."""

    value: float | None
    parse: How
    tags: tuple[str, ...] = ()


NOTHING = Parsed(None, "none")


# Tags


def parse_tags(text: str) -> Parsed:
    """Tags as the judge gave them: `value` is how many, `tags` are they, normalised and each once.

    A tag given twice counts twice. The last of an answer that breaks off within a tag is not counted.
    """
    text = _said(text)
    readings: tuple[tuple[How, Callable[[str], list[str] | None]], ...] = (
        ("json", lambda text: _tags_in(_loads(text))),
        ("repaired", _repaired_tags),
        ("pattern", _tags_by_pattern),
    )
    for parse, read in readings:
        tags = read(text)
        if tags is not None:
            return Parsed(float(len(tags)), parse, tuple(dict.fromkeys(filter(None, map(normalised, tags)))))
    return NOTHING


def normalised(tag: str) -> str:
    """One spelling of one tag: case, spaces, underscores and hyphens, and punctuation around it do not count."""
    flat = re.sub(r"[\s_\-‐-―]+", " ", unicodedata.normalize("NFKC", tag).casefold())
    return flat.strip(" .,;:!?\"'`*~“”‘’()[]{}<>")


def _tags_in(value: Any) -> list[str] | None:
    """Tags of [{"tag": ...}], ["..."], {"tags": [...]} or one {"tag": ...}; None where there is none of these."""
    if isinstance(value, Mapping):
        named = {str(key).casefold(): entry for key, entry in value.items()}
        if isinstance(named.get("tag"), str):
            return _tags_in([named["tag"]])
        inner = named.get("tags", next(iter(named.values())) if len(named) == 1 else None)
        return _tags_in(inner.split(",") if isinstance(inner, str) and "tags" in named else inner)
    if not isinstance(value, list):
        return None
    found = [_tag_of(entry) for entry in value]
    tags = [tag for tag in found if tag.strip()]
    return tags if tags or not value else None


def _tag_of(entry: Any) -> str:
    if isinstance(entry, Mapping):
        entry = next((tag for key, tag in entry.items() if str(key).casefold() == "tag"), None)
    return entry if isinstance(entry, str) else ""


_OPENS_TAGS = re.compile(r"\[\s*(?=[\"'“{])|\{\s*(?=[\"'“]|tags?\b)")


def _repaired_tags(text: str) -> list[str] | None:
    inner = _unfenced(text)
    whole = _tags_in(_loads(inner)) if inner != text else None
    if whole is not None:
        return whole
    opening = _OPENS_TAGS.search(inner)
    if not opening:
        return None
    rest = inner[opening.start() :]
    leading = _leading_values(rest)
    if leading:  # one list; or objects one after another, which are one list without its brackets
        return _tags_in(leading[0] if isinstance(leading[0], list) else leading) or _tags_in(leading[0]) or None
    repaired = _repair(rest)
    if isinstance(repaired, list) and repaired and isinstance(repaired[0], list):
        repaired = repaired[0]  # what stands in brackets behind the list is none of its tags
    tags = _tags_in(repaired)
    if tags and rest.rstrip().endswith(tags[-1].rstrip()):
        tags = tags[:-1]
    return tags or None


_GAP = re.compile(r"[,\s]*")


def _leading_values(text: str) -> list[Any]:
    """JSON values that stand one after another at the beginning of a text."""
    values: list[Any] = []
    decoder, start = json.JSONDecoder(), 0
    while start < len(text):
        try:
            value, start = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            break
        values.append(value)
        start = _GAP.match(text, start).end()  # type: ignore[union-attr]  # it matches nothing, too
    return values


_QUOTED_TAG = re.compile(r"\btag[\"']?\s*[:=]\s*[\"'“]([^\"”\n]+?)[\"'”]", re.IGNORECASE)
_TAG_LINE = re.compile(r"^[\W\d_]*tag[\s\d*_#]*[:=][\s*_\"']*(.+?)[\s*_\"']*$", re.IGNORECASE | re.MULTILINE)
_TAGS_LINE = re.compile(r"^[\W\d_]*tags[\s*_]*[:=][ \t*_\"']*(\S.*?)[\s*_\"']*$", re.IGNORECASE | re.MULTILINE)
_BULLET = re.compile(r"^\s*(?:[-*•+]|\d+[.)])\s+[*_\"'`]*(.+?)[*_\"'`]*(?:\s*:|\s+[-–—]\s.*|[*_\"'`]*\s*$)")


def _tags_by_pattern(text: str) -> list[str] | None:
    quoted = _QUOTED_TAG.findall(text)
    if quoted:
        return list(quoted)
    lines = [re.split(r"[,;–—(]?\s*explanation\b", line, flags=re.IGNORECASE)[0] for line in _TAG_LINE.findall(text)]
    if lines:
        return lines
    listed = _TAGS_LINE.search(text)
    if listed:
        return [tag for tag in re.split(r"[,;|]", listed[1]) if tag.strip()] or None
    return _bullets(text)


def _bullets(text: str) -> list[str] | None:
    """An answer that is a list of bullets and nothing else, but for a line above it that ends in a colon."""
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and lines[0].rstrip(" *_").endswith(":"):
        lines = lines[1:]
    bullets = [_BULLET.match(line) for line in lines]
    tags = [bullet[1].rstrip("*_\"'` ") for bullet in bullets if bullet]
    short = all(len(tag.split()) <= _LONGEST_TAG for tag in tags)
    return tags if tags and short and len(tags) == len(lines) else None


_LONGEST_TAG = 6  # words; a bullet of more is a sentence


# Difficulty

_SCALE = re.compile(
    r"(?:\b(?:from|between)\s+)?(?<![\d.,])(?:[01]|one)\s*(?:-|–|—|to|through|and)\s*(?:10|ten)\b(?![.,]\d)",
    re.IGNORECASE,
)  # the scale itself, which is no point on it
_NUMBER = (
    r"(?<![\w.,/+\-])(10(?:\.0+)?|[1-9](?:\.\d+)?)"
    r"(?![\w%]|[.,]\d)"
    r"(?!\s*/\s*(?!10\b)\d)(?!\s+(?:out\s+)?of\s+(?!10\b)\d)"  # of another scale than ten
    r"(?![ \t]*(?:-|–|—|to|or)[ \t]*\d)"  # the first of two
)
_OF_TEN = r"(?:\s*/\s*10\b|\s+(?:out\s+)?of\s+(?:10|ten)\b)"
_LABEL = r"(?:difficulty|score|rating|level|grade)"
_OPEN, _CLOSE = r"[\s*_`\"'(\[]*", r"[*_`\"')\]]*"
_GLUE = (
    r"(?:\s+(?:it|this|that|the|its|my|given|instruction|task|request|prompt|question|problem|exercise|text|article"
    r"|overall|difficulty|level|score|rating|of|for|as|at|is|be|to|with|would|an?|around|about|roughly|approximately"
    r"|solid)){0,9}"
)
_AFTER = (
    r"(?=\s*$|\s*[.,;:!\n/)–—-]|\s+(?:because|as|since|due|for|on|out|reflect\w*|seems?|is|was|given|overall|and|but"
    r"|which|while|rather|instead|points?)\b)"
)  # so that "a level 2 heading" and "rated 5 films" are none


def _pattern(text: str, flags: re.RegexFlag = re.IGNORECASE) -> re.Pattern[str]:
    return re.compile(text, flags)


_STATED = tuple(
    _pattern(*parts)
    for parts in (
        # 7 / **7** / 7: because ... / 7. This ...; but not the 1. of a list
        (rf"\A[\s*_#`\"'(\[>~]*(?!1[.][ \t]+\S){_NUMBER}{_CLOSE}(?=\s*$|[ \t]*\n|{_OF_TEN}|[ \t]*[:;,–—(-]|\.(?:\s|$)"
         r"|\s+(?:because|as|since|due|for)\b)",),
        (rf"\\boxed\{{\s*{_NUMBER}",),
        # Overall difficulty: 7
        (rf"\b(?:final|overall)\s[^\W\d_]*[^\n\d:=]{{0,30}}?[:=]{_OPEN}{_NUMBER}",),
        # Difficulty Score: 4 / **Score:** 8 / Difficulty: moderate (6)
        (rf"\b{_LABEL}[^\S\n]*[^\n\d:=.]{{0,40}}?(?:[:=]|\s[–—-]\s){_OPEN}(?:[a-z][a-z -]{{2,30}}\()?{_NUMBER}",),
        # 8/10, 7 out of 10
        (rf"{_NUMBER}{_CLOSE}{_OF_TEN}",),
        # a line of its own
        (rf"^[\s*_#`\"'(\[]*{_NUMBER}{_CLOSE}\.?[ \t]*$", re.IGNORECASE | re.MULTILINE),
        # rated as a 7, a score of 4, I would give it a 6
        (rf"\b(?:rated?|rating|scored?|scores|grade|difficulty|level){_GLUE}\s+{_OPEN}{_NUMBER}{_CLOSE}{_AFTER}",),
        (rf"\b(?:give|gave|assign)\s+(?:it|this|that)(?:\s+[a-z]+){{0,2}}?\s+an?\s+{_OPEN}{_NUMBER}{_CLOSE}{_AFTER}",),
    )
)  # fmt: skip
_KEYS = ("difficulty", "score", "rating", "level")


def parse_difficulty(text: str) -> Parsed:
    """The number from 1 to 10 that an answer states; a decimal one stays as it is.

    Where it states several, the one that stands first of those most plainly marked as the answer.
    """
    text = _said(text)
    value = _number_in(_loads(text))
    if value is not None:
        return Parsed(value, "json")
    value = _repaired_number(text)
    if value is not None:
        return Parsed(value, "repaired")
    value = _number_by_pattern(text)
    return NOTHING if value is None else Parsed(value, "pattern")


def _number_in(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if 1 <= value <= 10 else None
    if isinstance(value, str):
        found = re.fullmatch(rf"\s*{_NUMBER}{_OF_TEN}?\s*", value, re.IGNORECASE)
        return float(found[1]) if found else None
    if isinstance(value, Mapping):
        named = [(str(key).casefold(), entry) for key, entry in value.items()]
        found_under = (_number_in(entry) for word in _KEYS for key, entry in named if word in key)
        return next((number for number in found_under if number is not None), None)
    return _number_in(value[0]) if isinstance(value, list) and len(value) == 1 else None


def _repaired_number(text: str) -> float | None:
    inner = _unfenced(text)
    value = _number_in(_loads(inner)) if inner != text else None
    opening = re.search(r"\{\s*(?=[\"'“]|[a-z_]+\s*:)", inner, re.IGNORECASE)
    if value is not None or not opening:
        return value
    rest = inner[opening.start() :]
    leading = _leading_values(rest)
    return _number_in(leading[0] if leading else _repair(rest))


def _number_by_pattern(text: str) -> float | None:
    text = _SCALE.sub(" ", text)
    for pattern in _STATED:
        found = pattern.search(text)
        if found:
            return float(found[1])
    return None


# Both


def _said(text: str) -> str:
    """The answer without the thoughts that some models write in front of it."""
    *_, answer = text.rpartition("</think>")
    return "" if answer.lstrip().startswith("<think>") else answer.strip()


def _unfenced(text: str) -> str:
    """What stands inside the first code fence; all of it where there is none, and what is left of a broken one."""
    fence = re.search(r"```[ \t]*\w*[ \t]*\n?(.*?)(?:```|\Z)", text, re.DOTALL)
    return fence[1].strip() if fence else text


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _repair(text: str) -> Any:
    try:
        return need("json_repair", "judge").loads(text)
    except (ValueError, RecursionError):
        return None
