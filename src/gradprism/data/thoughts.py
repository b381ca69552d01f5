"""Split the text of a model into thoughts and answer, whichever marks the model's template puts around thoughts."""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ThoughtMarks:
    """Patterns of the marks that open and close a thought.

    `opened_by_template` says that the opening mark may stand in the prompt, so that a closing one alone ends a thought.
    """

    opening: str
    closing: str
    opened_by_template: bool = True


_NAMES = (
    "think", "thinking", "thought", "thoughts", "reason", "reasoning", "analysis", "reflection", "scratchpad",
    "seed:think", "mm:think", "longcat_think", "antthinking", "inner_monologue", "internal_monologue",
)  # fmt: skip

THOUGHT_MARKS = (
    *(ThoughtMarks(rf"(?i:<{name}>)", rf"(?i:</{name}>)") for name in _NAMES),  # the same name closes
    ThoughtMarks(r"(?i:\[THINK\])", r"(?i:\[/THINK\])"),  # Mistral
    ThoughtMarks(r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),  # Sky-T1, OpenThinker
    ThoughtMarks(r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),  # Cohere
    ThoughtMarks(r"◁think▷", r"◁/think▷"),  # Kimi
    ThoughtMarks(r"<\|open\|>think<\|sep\|>", r"<\|close\|>think<\|sep\|>"),  # Kimi K3
    ThoughtMarks(r"<\|channel>(?:thought\b)?", r"<channel\|>"),  # Gemma 4
    ThoughtMarks(r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),  # Apertus
    ThoughtMarks(r"\[unused16\]", r"\[unused17\]"),  # Pangu
    # What closes these ends answers, too, or is prose
    ThoughtMarks(r"<\|content_thinking\|>", r"<\|end_message\|>", opened_by_template=False),  # Inkling
    ThoughtMarks(r"(?:<\|im_start\|>assistant|\A\s*)/think\b", r"<\|im_end\|>", opened_by_template=False),  # HyperCLOVA
    ThoughtMarks(  # Granite 3.2
        r"(?:\A|(?<=\n))\s*Here(?: is|'s) my thought process:", r"Here(?: is|'s) my response:", opened_by_template=False
    ),
)

_OPENING = re.compile("|".join(f"(?P<m{position}>{marks.opening})" for position, marks in enumerate(THOUGHT_MARKS)))
_CLOSING = tuple(re.compile(marks.closing) for marks in THOUGHT_MARKS)
_CLOSING_ALONE = "|".join(marks.closing for marks in THOUGHT_MARKS if marks.opened_by_template)
_MARK = re.compile(f"{_OPENING.pattern}|{_CLOSING_ALONE}")

_HINTS = (
    "<",
    "◁",
    "think]",
    "/think",
    "[unused1",
    "my thought process:",
    "assistantfinal",
)  # any text with marks has one

# Messages of a channel each: harmony's <|channel|>analysis<|message|>, Muse's <|start|>assistant to=self<|message|>
_MESSAGE = re.compile(r"<\|message\|>")
_HEADER_BEGINS = ("<|start|>", "<|channel|>", "to=")
_LONGEST_HEADER = 200  # letters
_MESSAGE_ENDS = re.compile(r"<\|(?:end|return|call|eom|eot)\|>")
_ROLE = re.compile(r"<\|start\|>\s*(\w+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_HEADER_OPEN = re.compile(r"<\|start\|>[ \t]*assistant\s*\Z")

# The same from a server that took the special tokens out and left the names
_BARE_FINAL = re.compile(r"assistantfinal(?=[^a-z])")
_BARE_THOUGHT = re.compile(r"\A\s*(?:(?:analysis|commentary)(?=[A-Z])|thought\n)")

_FRAME = re.compile(  # around an answer, or at its end
    r"<\|(?:begin|end)_of_solution\|>|<\|(?:START|END)_(?:RESPONSE|TEXT)\|>|<\|open\|>response<\|sep\|>"
    r"|<\|close\|>(?:response|message)<\|sep\|>|<\|message_model\|>|<\|content_text\|>|<\|end_message\|>"
    r"|<\|im_start\|>assistant\b|<\|im_end\|>|<\|return\|>|<\|end\|>|<\|eo[mt]\|>|<\|eot_id\|>|<turn\|>"
    r"|<\|(?:endoftext|content_model_end_sampling)\|>"
)

_JSON_BEGINS = re.compile(r"\[(?=\s*[\"{])|\{(?=\s*\")")
_INLINE_CODE = re.compile(r"`[^`\n]+`")
_MOST_DECODED = 10_000_000  # characters read in vain behind brackets of one text, before the rest counts as unquoted
_LONGEST_OPENING = 80  # letters, whitespace behind it included

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Spoken:
    """Thoughts (with a blank line between them) and answer in the text of a model.

    Where a thought was never ended, `unclosed` is set and the answer is empty: the model had not said its last word.
    """

    thoughts: str
    answer: str
    unclosed: bool = False


@dataclass(frozen=True)
class Header:
    """Beginning and end of the header of a message, and whether the message is for the user."""

    start: int
    stop: int
    for_user: bool


def split_thoughts(text: str) -> Spoken:
    """Split the text of a model into thoughts and answer, without the marks of its template.

    A thought is what `THOUGHT_MARKS` enclose, or a message of any channel but the final one. A closing mark alone ends
    a thought that the prompt had opened. Marks within JSON or inline code are quoted, and mark nothing.
    """
    if not any(hint in text.casefold() for hint in _HINTS) and not _BARE_THOUGHT.match(text):
        return Spoken("", text.strip())
    headers = list(_find_headers(text))
    if headers:
        return _split_channels(text, headers)
    finals = [*_BARE_FINAL.finditer(text)]
    if finals:
        return Spoken(text[: finals[-1].start()].strip(), _without_frame(text[finals[-1].end() :]))
    if _BARE_THOUGHT.match(text):
        return Spoken(text.strip(), "", unclosed=True)
    return _split_marks(text)


def has_thought_marks(text: str) -> bool:
    """Return whether any thought or channel is marked in a text, quoted or not."""
    return bool(_MESSAGE.search(text) or _MARK.search(text))


def before_thought(text: str) -> str:
    """Return the text before the first mark that opens a thought."""
    found = _OPENING.search(text)
    return text[: found.start()] if found else text


def opening_at_end(prompt: str) -> str:
    """Return the mark with which a prompt ends if it opens a thought; also a header that still lacks its channel.

    Empty for a prompt behind which the answer begins.
    """
    tail = prompt[-_LONGEST_OPENING:]
    ends = (found[0] for found in _OPENING.finditer(tail) if not tail[found.end() :].strip())
    header = _HEADER_OPEN.search(tail)
    return next(ends, header[0] if header else "")


def outside(pattern: re.Pattern[str], text: str, spans: Spans, start: int = 0) -> Iterator[re.Match[str]]:
    """Yield the matches of a pattern from `start` on that begin in none of the spans, which ascend apart."""
    for found in pattern.finditer(text, start):
        before = bisect_right(spans, (found.start(), len(text))) - 1
        if before < 0 or found.start() >= spans[before][1]:
            yield found


def quoted_spans(text: str) -> Spans:
    """Return where whole JSON lists and objects stand in a text, and inline code: ascending, without overlaps."""
    spans, decoder, start, left = [], json.JSONDecoder(), 0, _MOST_DECODED
    while left > 0 and (found := _JSON_BEGINS.search(text, start)):
        start = found.end()
        try:
            _, start = decoder.raw_decode(text, found.start())
        except json.JSONDecodeError as error:
            left -= error.pos - found.start()
        except (ValueError, RecursionError):
            left -= _MOST_DECODED // 500
        else:
            spans.append((found.start(), start))
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(spans + [found.span() for found in _INLINE_CODE.finditer(text)]):
        if joined and begin < joined[-1][1]:
            begin, end = joined[-1][0], max(end, joined.pop()[1])
        joined.append((begin, end))
    return joined


def _split_marks(text: str) -> Spoken:
    thoughts: list[str] = []
    answer, position, quoted = "", 0, quoted_spans(text) if _MARK.search(text) else ()
    for mark in outside(_MARK, text, quoted):
        if mark.start() < position:
            continue  # within a thought
        answer += text[position : mark.start()]
        if mark.lastgroup is None:  # closes what nothing here has opened
            thoughts, answer, position = [text[: mark.start()]], "", mark.end()
            continue
        closing = _CLOSING[int(mark.lastgroup[1:])]
        end = next(outside(closing, text, quoted, mark.end()), None)
        if end is None:
            return Spoken(_join_thoughts([*thoughts, text[mark.end() :]]), "", unclosed=True)
        thoughts.append(text[mark.end() : end.start()])
        answer, position = answer + "\n", end.end()
    return Spoken(_join_thoughts(thoughts), _without_frame(answer + text[position:]))


def _split_channels(text: str, headers: Sequence[Header]) -> Spoken:
    """Split messages of channels; text before the first header is the rest of a thought."""
    thoughts: list[str] = [text[: headers[0].start]]
    answers: list[str] = []
    unclosed = False
    stops = [*(header.start for header in headers[1:]), len(text)]
    for header, stop in zip(headers, stops, strict=True):
        body = _MESSAGE_ENDS.split(text[header.stop : stop], maxsplit=1)[0]
        (answers if header.for_user else thoughts).append(body)
        unclosed = not header.for_user
    return Spoken(_join_thoughts(thoughts), "" if unclosed else _without_frame("\n".join(answers)), unclosed)


def _find_headers(text: str) -> Iterator[Header]:
    before = 0
    for mark in outside(_MESSAGE, text, quoted_spans(text) if _MESSAGE.search(text) else ()):
        window = max(before, mark.start() - _LONGEST_HEADER)
        found = (text.rfind(begins, window, mark.start()) for begins in _HEADER_BEGINS)
        start = next((position for position in found if position >= 0), mark.start())
        if start < mark.start() or not text[: mark.start()].strip():
            yield Header(start, mark.end(), _for_user(text[start : mark.start()]))
        before = mark.end()


def _for_user(header: str) -> bool:
    wanted = ((_ROLE, "assistant"), (_CHANNEL, "final"), (_RECIPIENT, "user"))
    return all((found := part.search(header)) is None or found[1] == name for part, name in wanted)


def _without_frame(answer: str) -> str:
    if "<" not in answer:
        return answer.strip()
    kept, position = [], 0
    for frame in outside(_FRAME, answer, quoted_spans(answer)):
        kept.append(answer[position : frame.start()])
        position = frame.end()
    return "\n".join([*kept, answer[position:]]).strip()


def _join_thoughts(thoughts: Sequence[str]) -> str:
    return "\n\n".join(thought.strip() for thought in thoughts if thought.strip())
