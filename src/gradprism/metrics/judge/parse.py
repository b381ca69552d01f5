"""Answers of a judge -> tags, or a number from 1 to 10: JSON, then repaired JSON, then a pattern."""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gradprism.core.optional import need
from gradprism.data.thoughts import outside, quoted_spans, split_thoughts

How = Literal["json", "repaired", "pattern", "none"]


@dataclass(frozen=True)
class Parsed:
    """What an answer says, and how it was read: as JSON, as JSON that had to be repaired, by a pattern, or not.

    `problem` says why there is no value, where that is known; `several` that other answers stand beside this one.
    """

    value: float | None
    parse: How
    tags: tuple[str, ...] = ()
    problem: str | None = None
    several: bool = False


NOTHING = Parsed(None, "none")
_REPEATED = "it repeats the prompt"


# Tags


@dataclass(frozen=True)
class _TagList:
    """A list of tags and all its words, where it stands, and whether it is whole or broke off."""

    how: How
    tags: tuple[str, ...]
    words: tuple[str, ...]
    start: int = 0
    stop: int = 0
    whole: bool = True
    empty: bool = False  # a list of nothing, which is an answer; a list of placeholders is none


def parse_tags(text: str, prompt: str = "") -> Parsed:
    """Read the tags that the judge gave, normalised and each once; `value` is their number.

    Of several lists the last whole one counts, and a list of the prompt is no answer. The last tag of a list that
    breaks off within it is not counted.
    """
    answer, problem = _answer_of(text)
    if problem:
        return replace(NOTHING, problem=problem)
    found = _lists_in(answer)
    own = [tags for tags in found if not _is_repeated(tags, prompt)] if found and prompt else found
    usable = [tags for tags in own if tags.tags or tags.empty]
    if not usable:
        return replace(NOTHING, problem=_REPEATED if len(own) < len(found) else None)
    last = next((tags for tags in reversed(usable) if tags.whole), usable[-1])
    several = any({*tags.tags} != {*last.tags} for tags in usable)
    return Parsed(float(len(last.tags)), last.how, last.tags, several=several)


def normalised(tag: str) -> str:
    """Return one spelling of a tag: case, spaces, underscores, hyphens and punctuation around it do not count."""
    flat = re.sub(r"[\s_\-‐-―]+", " ", unicodedata.normalize("NFKC", tag).casefold())
    return flat.strip(" .,;:!?\"'`*~“”‘’()[]{}<>…")


def _lists_in(text: str) -> list[_TagList]:
    """Every list of tags in an answer: of JSON, or of JSON that has to be repaired; else one by a pattern."""
    whole = _tag_list("json", _loads(text))
    if whole:
        return [whole]
    found = list(_bracketed(text))
    if any(tags.tags or tags.empty for tags in found):
        return found
    by_pattern = _tags_by_pattern(text)
    return [*found, _of_tags("pattern", by_pattern)] if by_pattern else found


def _tag_list(how: How, value: Any) -> _TagList | None:
    tags = _tags_in(value)
    return None if tags is None else replace(_of_tags(how, tags), words=tuple(_words(value)), empty=not tags)


def _of_tags(how: How, tags: Sequence[str]) -> _TagList:
    once = tuple(dict.fromkeys(filter(None, map(normalised, tags))))
    return _TagList(how, once, once)


def _words(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys left out."""
    if isinstance(value, str):
        yield normalised(value) or value.strip()  # of a placeholder its dots
    elif isinstance(value, Mapping | list):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _words(entry)


def _is_repeated(tags: _TagList, prompt: str) -> bool:
    """Whether the prompt holds this list word for word; one found by a pattern is compared by its tags alone."""
    if not tags.words or not all(word in normalised(prompt) for word in tags.words):
        return False  # spares reading a long prompt
    return any(tags.words == (given.tags if tags.how == "pattern" else given.words) for given in _bracketed(prompt))


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


_OPENS_TAGS = re.compile(r"\[\s*(?=[\"'“{])|\{\s*(?=[\"'“]|tags?\b)|^[ \t]*\[(?=\s*\][ \t]*$)", re.MULTILINE)
_WITHIN_LIST = re.compile(r"(?:[\"']\s*:|[,\[])\s*\Z")
_BRACKET = re.compile(r"[\[\]{}]")
_CLOSED_BY = {"[": "]", "{": "}"}
_GAP = re.compile(r"[,\s]*")


def _bracketed(text: str) -> Iterator[_TagList]:
    """Lists in brackets, in their order; objects one after another are one list without its brackets."""
    row: list[tuple[Any, int, int]] = []  # of objects: value, start, stop
    broken, place = False, 0
    while opening := _OPENS_TAGS.search(text, place):
        start = opening.start() + len(opening[0]) - len(opening[0].lstrip(" \t"))
        if broken and (text[start] == "{" or _WITHIN_LIST.search(text, 0, start)):
            place = opening.end()  # belongs to the list that broke off
            continue
        value, stop = _value_at(text, start)
        if row and not (isinstance(value, Mapping) and _GAP.fullmatch(text, row[-1][2], start)):
            yield from _of_row(row)
            row = []
        if stop is None:
            if not broken:
                yield from _broken_off(text, start)
            broken, place = True, opening.end()
        elif isinstance(value, Mapping):
            row.append((value, start, stop))
            place = stop
        else:
            found = _tag_list("repaired", value)
            if found:
                yield found
            place = stop
    yield from _of_row(row)


def _of_row(row: Sequence[tuple[Any, int, int]]) -> Iterator[_TagList]:
    values = [value for value, *_ in row]
    found = _tag_list("repaired", values if len(values) > 1 else values[0]) if values else None
    if found:
        yield found


def _value_at(text: str, start: int) -> tuple[Any, int | None]:
    """The JSON value, repaired if need be, that begins here, and where it ends; None for the end where it has none."""
    try:
        return json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        stop = _closed_at(text, start, _fence_behind(text, start))
    return (None, None) if stop is None else (_repair(text[start:stop]), stop)


def _closed_at(text: str, start: int, end: int) -> int | None:
    """Behind the bracket that closes the one at `start`; brackets that do not fit are words."""
    open_brackets: list[str] = []
    for bracket in _BRACKET.finditer(text, start, end):
        if bracket[0] in _CLOSED_BY:
            open_brackets.append(_CLOSED_BY[bracket[0]])
        elif bracket[0] == open_brackets[-1]:
            open_brackets.pop()
            if not open_brackets:
                return bracket.end()
    return None


def _broken_off(text: str, start: int) -> Iterator[_TagList]:
    rest = text[start : _fence_behind(text, start)]
    value = _repair(rest)
    if isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]  # what stands in brackets behind the list is none of its tags
    tags = _tags_in(value)
    if tags and rest.rstrip().endswith(tags[-1].rstrip()):
        tags = tags[:-1]
    if tags:
        yield replace(_of_tags("repaired", tags), whole=False)


def _fence_behind(text: str, start: int) -> int:
    fence = text.find("```", start)
    return fence if fence >= 0 else len(text)


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
    r"(?![*_ \t]*(?:-|–|—|~|\.\.+|to|or|and)[*_ \t]*\d)(?!\s*(?:stars?\b|★))"  # the first of two; stars are five
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
_SCALE_KEYS = {"scale", "out_of", "max", "maximum", "max_score", "max_rating"}
_FINAL = _pattern(  # what takes the place of what was said before
    rf"(?:^|(?<=[^\w\s])|(?<=[^\w\s]\s))[*_#>\s]*(?:my\s+)?(?:final|revised|corrected)"
    rf"(?:\s+(?:answer|number|verdict|{_LABEL})){{0,2}}[\s*_]*(?:[:=]|\bis\b){_OPEN}"
    rf"(?:{_NUMBER}{_CLOSE}(?:{_OF_TEN}|{_AFTER}))",
    re.IGNORECASE | re.MULTILINE,
)
_POINT = r"[*_]*(?:10|[0-9])(?:\.\d+)?[*_]*(?:\s*/\s*10)?"
_RANGE = _pattern(
    rf"\bbetween\s+{_POINT}\s+and\s+{_POINT}(?![\w%]|[.,]\d)"
    rf"|(?<![\w.,/\-]){_POINT}\s*(?:-|–|—|~|\.\.+|\bto\b|\bor\b)\s*{_POINT}(?![\w%]|[.,]\d)"
)
_OTHER_SCALE = _pattern(
    r"(?<![\w.,/\-])\d+(?:\.\d+)?[*_]*(?:\s*/\s*|\s+(?:out\s+)?of\s+)(?!10\b)\d+"
    r"|\bscale\s+(?:(?:of|from)\s+)?(?:[01]\s*(?:-|–|—|to)\s*)?(?!10\b|[01]\s*(?:-|–|—|to))\d+"
    r"|\(\s*[01]\s*(?:-|–|—|to)\s*(?!10\b)\d+\s*\)|\b(?!10\b)\d+[- ]point\s+scale|\b\d+\s+stars?\b|★"
)
_FEWEST_WORDS = 4  # of a line that is recognised as the prompt's


def parse_difficulty(text: str, prompt: str = "") -> Parsed:
    """Read the number from 1 to 10 that an answer states; a decimal one stays as it is.

    Of several the one counts that is most plainly marked as the answer; where those differ the last, if it is said in
    the same words as the others or as the final one. Ranges, other scales and lines of the prompt are no answer.
    """
    answer, problem = _answer_of(text)
    own = _without_lines_of(prompt, answer)
    if problem or (answer and not own):
        return replace(NOTHING, problem=problem or _REPEATED)
    parsed = _number_of(own)
    if parsed.value is None and not parsed.problem:
        return replace(parsed, problem=_other_statement(own) or (_REPEATED if own != answer else None))
    return parsed


def _number_of(text: str) -> Parsed:
    whole = _loads(text)
    if isinstance(whole, Mapping | list) or _numbers_in(whole):
        return _of_numbers("json", _numbers_in(whole), whole)
    final = [float(found[1]) for found in _FINAL.finditer(_SCALE.sub(" ", text))]
    objects = [value for value in _objects(text) if _numbers_in(value)]
    if objects and not final:
        last = _of_numbers("repaired", _numbers_in(objects[-1]), objects[-1])
        return replace(last, several=any(_numbers_in(value) != _numbers_in(objects[-1]) for value in objects))
    return _stated(_SCALE.sub(" ", text))


def _of_numbers(how: How, numbers: Sequence[float], value: Any) -> Parsed:
    if _on_other_scale(value):
        return replace(NOTHING, problem="it rates on another scale")
    if len({*numbers}) > 1:
        return replace(NOTHING, problem=_told_several(numbers))
    return Parsed(numbers[0], how) if numbers else NOTHING


def _on_other_scale(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    limits = [entry for key, entry in value.items() if str(key).casefold() in _SCALE_KEYS]
    return any(str(limit).removeprefix("1-").removesuffix(".0") != "10" for limit in limits)


def _numbers_in(value: Any) -> list[float]:
    """Numbers from 1 to 10 that a JSON value gives as its answer: under the first of the keys that has any."""
    if isinstance(value, bool):
        return []
    if isinstance(value, int | float):
        return [float(value)] if 1 <= value <= 10 else []
    if isinstance(value, str):
        found = re.fullmatch(rf"\s*{_NUMBER}{_OF_TEN}?\s*", value, re.IGNORECASE)
        return [float(found[1])] if found else []
    if isinstance(value, Mapping):
        named = [(str(key).casefold(), entry) for key, entry in value.items()]
        by_key = (
            [number for key, entry in named if fits.search(key) for number in _numbers_in(entry)] for fits in _KEY_FITS
        )
        return next((numbers for numbers in by_key if numbers), [])
    return [number for entry in value for number in _numbers_in(entry)] if isinstance(value, list) else []


_KEY_FITS = [re.compile(fit) for fit in (*(rf"\A{word}\Z" for word in _KEYS), *_KEYS)]  # the word itself before others


def _objects(text: str) -> Iterator[Any]:
    """JSON objects in an answer, repaired if need be, also the first that breaks off."""
    broken, place = False, 0
    while opening := _OPENS_OBJECT.search(text, place):
        value, stop = _value_at(text, opening.start())
        if stop is None and not broken:
            broken, value = True, _repair(text[opening.start() : _fence_behind(text, opening.start())])
        yield value
        place = stop or opening.end()


_OPENS_OBJECT = re.compile(r"\{\s*(?=[\"'“]|[a-z_]+\s*:)", re.IGNORECASE)


def _stated(text: str) -> Parsed:
    """The number of the first pattern that finds any. A final one counts before all others."""
    hits = [hits for pattern in (_FINAL, *_STATED) if (hits := list(pattern.finditer(text)))]
    if not hits:
        return NOTHING
    first, last = hits[0], hits[0][-1]
    values = {float(hit[1]) for hit in first}
    told = {_word_before(text, hit.start()) + hit[0].replace(hit[1], "").casefold().strip() for hit in first}
    if len(values) > 1 and len(told) > 1:
        return replace(NOTHING, problem=_told_several([float(hit[1]) for hit in first]))
    line = text[text.rfind("\n", 0, last.start()) + 1 : last.end(1)] + text[last.end(1) :].partition("\n")[0]
    if _OTHER_SCALE.search(line) or any(a.start() <= last.start(1) < a.end() for a in _RANGE.finditer(text)):
        return NOTHING
    is_final = bool(_FINAL.match(text, last.start()))
    before = {float(hit[1]) for hit in hits[1]} if is_final and len(hits) > 1 else set()
    return Parsed(float(last[1]), "pattern", several=len(values | before) > 1)


def _word_before(text: str, place: int) -> str:
    return re.search(r"(\w*)[ \t*_]*\Z", text[max(place - 40, 0) : place])[1].casefold()  # type: ignore[index]


def _told_several(numbers: Sequence[float]) -> str:
    return "it states several numbers (" + ", ".join(f"{number:g}" for number in numbers) + ")"


def _other_statement(text: str) -> str | None:
    """What an answer without a number says instead."""
    text = _SCALE.sub(" ", text)
    other, between = _OTHER_SCALE.search(text), _RANGE.search(text)
    if other:
        return f"it rates on another scale ({other[0].strip()})"
    return f"it gives a range ({between[0].strip()})" if between else None


# Both

_WRAPPING = re.compile(r"</?(?:answer|final_answer|response|solution|output|result)>", re.IGNORECASE)


def _answer_of(text: str) -> tuple[str, str | None]:
    """The answer without thoughts and wrapping; or the problem that there is none."""
    spoken = split_thoughts(text)
    if spoken.unclosed:
        return "", "its thoughts never end"
    if not spoken.answer:
        return "", "nothing but thoughts" if spoken.thoughts else None
    marks = list(outside(_WRAPPING, spoken.answer, quoted_spans(spoken.answer)))
    starts, stops = [0, *(mark.end() for mark in marks)], [*(mark.start() for mark in marks), len(spoken.answer)]
    return "\n".join(spoken.answer[a:b] for a, b in zip(starts, stops, strict=True)).strip(), None


def _without_lines_of(prompt: str, text: str) -> str:
    """The text without the lines, of some words, that the prompt has, too."""
    known = {line.strip() for line in prompt.splitlines() if len(line.split()) >= _FEWEST_WORDS}
    return "\n".join(line for line in text.splitlines() if line.strip() not in known).strip() if known else text


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
