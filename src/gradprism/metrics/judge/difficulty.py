"""Parse a number from 1 to 10 from the answer of a judge: from JSON, repaired JSON, or by a pattern."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
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

_SCALE = re.compile(
    r"(?:\b(?:from|between)\s+)?(?<![\d.,])(?:[01]|one)\s*(?:-|–|—|to|through|and)\s*(?:10|ten)\b(?![.,]\d)",
    re.IGNORECASE,
)  # mentions of the scale itself, such as "1 to 10"
_NUMBER = (
    r"(?<![\w.,/+\-])(10(?:\.0+)?|[1-9](?:\.\d+)?)"
    r"(?![\w%]|[.,]\d)"
    r"(?!\s*/\s*(?!10\b)\d)(?!\s+(?:out\s+)?of\s+(?!10\b)\d)"  # on another scale than ten
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
)  # so that "a level 2 heading" and "rated 5 films" do not match


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
        (rf"^[\s*_#`\"'(\[]{{0,40}}{_NUMBER}{_CLOSE}\.?[ \t]*$", re.IGNORECASE | re.MULTILINE),
        # rated as a 7, a score of 4, I would give it a 6
        (rf"\b(?:rated?|rating|scored?|scores|grade|difficulty|level){_GLUE}\s+{_OPEN}{_NUMBER}{_CLOSE}{_AFTER}",),
        (rf"\b(?:give|gave|assign)\s+(?:it|this|that)(?:\s+[a-z]+){{0,2}}?\s+an?\s+{_OPEN}{_NUMBER}{_CLOSE}{_AFTER}",),
    )
)  # fmt: skip
_KEYS = ("difficulty", "score", "rating", "level")
_SCALE_KEYS = {"scale", "out_of", "max", "maximum", "max_score", "max_rating"}
_FINAL = _pattern(  # a final answer, which replaces earlier ones
    rf"(?:^|(?<=[^\w\s])|(?<=[^\w\s]\s))[*_#>\s]{{0,20}}(?:my\s+)?(?:final|revised|corrected)"
    rf"(?:\s+(?:answer|number|verdict|{_LABEL})){{0,2}}[\s*_]*(?:[:=]|\bis\b){_OPEN}"
    rf"(?:{_NUMBER}{_CLOSE}(?:{_OF_TEN}|{_AFTER}))",
    re.IGNORECASE | re.MULTILINE,
)
_POINT = r"[*_]{0,4}(?:10|[0-9])(?:\.\d+)?[*_]{0,4}(?:\s*/\s*10)?"
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
    """Parse the number from 1 to 10 that an answer states; decimals are kept.

    Of several numbers the one counts that is most clearly marked as the answer; where such numbers differ, the last, if
    it is stated in the same words as the others or as the final one. Ranges, other scales and lines copied from the
    prompt do not count.
    """
    answer, problem = answer_of(text)
    own = _without_lines_of(prompt, answer)
    if problem or (answer and not own):
        return replace(NOTHING, problem=problem or REPEATED)
    parsed = _find_number(own)
    if parsed.value is None and not parsed.problem:
        return replace(parsed, problem=_describe_other_statement(own) or (REPEATED if own != answer else None))
    return parsed


def _find_number(text: str) -> Parsed:
    whole = load_json(text)
    if isinstance(whole, Mapping | list) or _numbers_in(whole):
        return _from_numbers("json", _numbers_in(whole), whole)
    final = [float(found[1]) for found in _FINAL.finditer(_SCALE.sub(" ", text))]
    objects = [value for value in _objects(text) if _numbers_in(value)]
    if objects and not final:
        last = _from_numbers("repaired", _numbers_in(objects[-1]), objects[-1])
        return replace(last, several=any(_numbers_in(value) != _numbers_in(objects[-1]) for value in objects))
    return _number_by_pattern(_SCALE.sub(" ", text))


def _from_numbers(how: How, numbers: Sequence[float], value: Any) -> Parsed:
    if _on_other_scale(value):
        return replace(NOTHING, problem="it rates on another scale")
    if len({*numbers}) > 1:
        return replace(NOTHING, problem=_describe_several(numbers))
    return Parsed(numbers[0], how) if numbers else NOTHING


def _on_other_scale(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    limits = [entry for key, entry in value.items() if str(key).casefold() in _SCALE_KEYS]
    return any(str(limit).removeprefix("1-").removesuffix(".0") != "10" for limit in limits)


def _numbers_in(value: Any) -> list[float]:
    """Return the numbers from 1 to 10 in a JSON value: of an object, under the first known key that has any."""
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


# Patterns of keys that equal a word, then of keys that contain one.
_KEY_FITS = [re.compile(fit) for fit in (*(rf"\A{word}\Z" for word in _KEYS), *_KEYS)]


def _objects(text: str) -> Iterator[Any]:
    """Yield the JSON objects in an answer, repaired if necessary, with the first one that breaks off."""
    broken, position = False, 0
    while opening := _OPENS_OBJECT.search(text, position):
        value, stop = value_at(text, opening.start())
        if stop is None and not broken:
            broken, value = True, repair_json(text[opening.start() : fence_behind(text, opening.start())])
        yield value
        position = stop or opening.end()


_OPENS_OBJECT = re.compile(r"\{\s*(?=[\"'“]|[a-z_]+\s*:)", re.IGNORECASE)


def _number_by_pattern(text: str) -> Parsed:
    """Return the number of the first pattern that matches; a final answer counts before all others."""
    hits = [hits for pattern in (_FINAL, *_STATED) if (hits := list(pattern.finditer(text)))]
    if not hits:
        return NOTHING
    first, last = hits[0], hits[0][-1]
    values = {float(hit[1]) for hit in first}
    wordings = {_word_before(text, hit.start()) + hit[0].replace(hit[1], "").casefold().strip() for hit in first}
    if len(values) > 1 and len(wordings) > 1:
        return replace(NOTHING, problem=_describe_several([float(hit[1]) for hit in first]))
    line = text[text.rfind("\n", 0, last.start()) + 1 : last.end(1)] + text[last.end(1) :].partition("\n")[0]
    if _OTHER_SCALE.search(line) or any(a.start() <= last.start(1) < a.end() for a in _RANGE.finditer(text)):
        return NOTHING
    is_final = bool(_FINAL.match(text, last.start()))
    before = {float(hit[1]) for hit in hits[1]} if is_final and len(hits) > 1 else set()
    return Parsed(float(last[1]), "pattern", several=len(values | before) > 1)


def _word_before(text: str, position: int) -> str:
    return re.search(r"(\w*)[ \t*_]*\Z", text[max(position - 40, 0) : position])[1].casefold()  # type: ignore[index]


def _describe_several(numbers: Sequence[float]) -> str:
    return "it states several numbers (" + ", ".join(f"{number:g}" for number in numbers) + ")"


def _describe_other_statement(text: str) -> str | None:
    """Describe what an answer without a number states instead: another scale, or a range; None for neither."""
    text = _SCALE.sub(" ", text)
    other, between = _OTHER_SCALE.search(text), _RANGE.search(text)
    if other:
        return f"it rates on another scale ({other[0].strip()})"
    return f"it gives a range ({between[0].strip()})" if between else None


def _without_lines_of(prompt: str, text: str) -> str:
    """Remove the lines of a few words or more that the prompt contains too."""
    known = {line.strip() for line in prompt.splitlines() if len(line.split()) >= _FEWEST_WORDS}
    return "\n".join(line for line in text.splitlines() if line.strip() not in known).strip() if known else text
