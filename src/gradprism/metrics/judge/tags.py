"""Parse tags from the answer of a judge: from JSON, repaired JSON, or by a pattern."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradprism.metrics.judge.parsed import (
    NOTHING,
    REPEATED,
    How,
    Parsed,
    answer_of,
    fence_behind,
    load_json,
    repair_json,
    value_at,
)


@dataclass(frozen=True)
class _TagList:
    """A list of tags in an answer, all texts in it, its position, and whether it is complete."""

    how: How
    tags: tuple[str, ...]
    words: tuple[str, ...]
    start: int = 0
    stop: int = 0
    whole: bool = True
    empty: bool = False  # an empty list, which is an answer; a list of placeholders is none


def parse_tags(text: str, prompt: str = "") -> Parsed:
    """Parse the tags of an answer, normalised and without duplicates; `value` is their number.

    Of several lists the last complete one counts; lists copied from the prompt do not. In a list that breaks off
    within a tag, that tag is not counted.
    """
    answer, problem = answer_of(text)
    if problem:
        return replace(NOTHING, problem=problem)
    found = _lists_in(answer)
    own = _without_repeated(found, prompt) if found and prompt else found
    usable = [tags for tags in own if tags.tags or tags.empty]
    if not usable:
        return replace(NOTHING, problem=REPEATED if len(own) < len(found) else None)
    last = next((tags for tags in reversed(usable) if tags.whole), usable[-1])
    several = any({*tags.tags} != {*last.tags} for tags in usable)
    return Parsed(float(len(last.tags)), last.how, last.tags, several=several)


def normalised(tag: str) -> str:
    """Normalise a tag: case, spaces, underscores, hyphens, and punctuation around it are made uniform."""
    flat = re.sub(r"[\s_\-‐-―]+", " ", unicodedata.normalize("NFKC", tag).casefold())
    return flat.strip(" .,;:!?\"'`*~“”‘’()[]{}<>…")


def _lists_in(text: str) -> list[_TagList]:
    """Return every list of tags in an answer, from JSON, repaired JSON, or else one by a pattern."""
    whole = _tag_list("json", load_json(text))
    if whole:
        return [whole]
    found = list(_bracketed(text))
    if any(tags.tags or tags.empty for tags in found):
        return found
    by_pattern = _tags_by_pattern(text)
    return [*found, _make_tag_list("pattern", by_pattern)] if by_pattern else found


def _tag_list(how: How, value: Any) -> _TagList | None:
    tags = _tags_in(value)
    return None if tags is None else replace(_make_tag_list(how, tags), words=tuple(_words(value)), empty=not tags)


def _make_tag_list(how: How, tags: Sequence[str]) -> _TagList:
    once = tuple(dict.fromkeys(filter(None, map(normalised, tags))))
    return _TagList(how, once, once)


def _words(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, without keys."""
    if isinstance(value, str):
        yield normalised(value) or value.strip()  # the dots of a placeholder
    elif isinstance(value, Mapping | list):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _words(entry)


def _without_repeated(found: Sequence[_TagList], prompt: str) -> list[_TagList]:
    """Leave out lists that the prompt contains literally; a list found by a pattern is compared by its tags."""
    flat = normalised(prompt)
    may_be = [bool(tags.words) and all(word in flat for word in tags.words) for tags in found]
    given = list(_bracketed(prompt)) if any(may_be) else []  # spares reading a long prompt
    words, tags_alone = {list_.words for list_ in given}, {list_.tags for list_ in given}
    return [
        tags
        for tags, possible in zip(found, may_be, strict=True)
        if not (possible and tags.words in (tags_alone if tags.how == "pattern" else words))
    ]


def _tags_in(value: Any) -> list[str] | None:
    """Return the tags of [{"tag": ...}], ["..."], {"tags": [...]} or one {"tag": ...}; None for other values."""
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


_OPENS_TAGS = re.compile(r"\[\s*(?=[\"'“{])|\{\s*(?=[\"'“]|tags?\b)|^[ \t]*\[(?=\s*\][ \t]*$)", re.MULTILINE)
_WITHIN_LIST = re.compile(r"(?:[\"']\s*:|[,\[])\s*\Z")
_LONGEST_GAP = 200  # characters before a bracket in which a list may go on
_GAP = re.compile(r"[,\s]*")


def _bracketed(text: str) -> Iterator[_TagList]:
    """Yield the lists in brackets, in their order; consecutive objects count as one list without its brackets."""
    objects: list[tuple[Any, int, int]] = []  # consecutive ones: value, start, stop
    broken, position = False, 0
    while opening := _OPENS_TAGS.search(text, position):
        start = opening.start() + len(opening[0]) - len(opening[0].lstrip(" \t"))
        if broken and (text[start] == "{" or _WITHIN_LIST.search(text, max(start - _LONGEST_GAP, 0), start)):
            position = opening.end()  # belongs to the list that broke off
            continue
        value, stop = value_at(text, start)
        if objects and not (isinstance(value, Mapping) and _GAP.fullmatch(text, objects[-1][2], start)):
            yield from _join_objects(objects)
            objects = []
        if stop is None:
            if not broken:
                yield from _broken_off(text, start)
            broken, position = True, opening.end()
        elif isinstance(value, Mapping):
            objects.append((value, start, stop))
            position = stop
        else:
            found = _tag_list("repaired", value)
            if found:
                yield found
            position = stop
    yield from _join_objects(objects)


def _join_objects(objects: Sequence[tuple[Any, int, int]]) -> Iterator[_TagList]:
    values = [value for value, *_ in objects]
    found = _tag_list("repaired", values if len(values) > 1 else values[0]) if values else None
    if found:
        yield found


def _broken_off(text: str, start: int) -> Iterator[_TagList]:
    rest = text[start : fence_behind(text, start)]
    value = repair_json(rest)
    if isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]  # brackets behind the list are not among its tags
    tags = _tags_in(value)
    if tags and rest.rstrip().endswith(tags[-1].rstrip()):
        tags = tags[:-1]
    if tags:
        yield replace(_make_tag_list("repaired", tags), whole=False)


_QUOTED_TAG = re.compile(r"\btag[\"']?\s*[:=]\s*[\"'“]([^\"”\n]+?)[\"'”]", re.IGNORECASE)
_TAG_LINE = re.compile(r"^[\W\d_]{0,40}tag[\s\d*_#]{0,40}[:=][\s*_\"']{0,40}(.+)$", re.IGNORECASE | re.MULTILINE)
_TAGS_LINE = re.compile(r"^[\W\d_]{0,40}tags[\s*_]{0,40}[:=][ \t*_\"']{0,40}(\S.*)$", re.IGNORECASE | re.MULTILINE)
_BULLET = re.compile(
    r"^\s*(?:[-*•+]|\d{1,9}[.)])\s+[*_\"'`]{0,20}(.{1,200}?)[*_\"'`]{0,20}(?:\s*:|\s+[-–—]\s.*|[*_\"'`]{0,20}\s*$)"
)


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
    """Return the items of an answer that is only a bullet list, with or without a heading that ends in a colon."""
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and lines[0].rstrip(" *_").endswith(":"):
        lines = lines[1:]
    bullets = [_BULLET.match(line) for line in lines]
    tags = [bullet[1].rstrip("*_\"'` ") for bullet in bullets if bullet]
    short = all(len(tag.split()) <= _LONGEST_TAG for tag in tags)
    return tags if tags and short and len(tags) == len(lines) else None


_LONGEST_TAG = 6  # words; a bullet of more is a sentence
