"""Positions of turns in a rendered conversation, found by rendering it once more with stand-ins for its texts.

A template shows a stand-in where it shows the text. Where putting the texts back gives the very characters of the
rendered conversation, the place of every text is certain, whatever the template does between them.
"""

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from gradprism.data.chat_template import ChatTemplate, Rendered, markers_in, shared_start, without_turns
from gradprism.data.example import Example, RowProblemError, Turn

Span = tuple[int, int]
"""Characters of the rendered text: the first, and the one after the last."""

_KEPT = re.compile(r"(<[^<>\n]{1,80}>|\[/?[A-Z][A-Z_]*\]|[◁▷]/?think[◁▷]|/no_think\b|/think\b)")
"""What templates look for inside of a text: it stays as it is, and only the text between has stand-ins."""
_JSON_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class _HiddenText:
    """One piece of text that has a stand-in: its turn, and the forms in which a template may write it."""

    turn: int
    what: str  # the text, the thinking, the tool call
    forms: tuple[str, ...]


@dataclass
class _StandIns:
    """Stand-ins for texts: words unlike anything in the conversation or the template."""

    salt: str
    hidden: dict[str, _HiddenText] = field(default_factory=dict)

    def text(self, turn: int, what: str, text: str) -> str:
        """Hide the pieces of a text between control tokens, and keep those tokens and the white space around pieces."""
        pieces = _KEPT.split(text)
        if not any(piece.strip() for piece in pieces[::2]):
            return self._hide_piece(turn, what, text)
        pieces[::2] = [self._hide_piece(turn, what, piece) for piece in pieces[::2]]
        return "".join(pieces)

    def call(self, turn: int, call: Mapping[str, Any]) -> dict[str, Any]:
        """Hide the name of a tool call and every text among its arguments."""
        function = call.get("function", call)
        arguments = function.get("arguments")
        hidden = {**function, "name": self._hide_piece(turn, "tool call", str(function.get("name", "")))}
        if isinstance(arguments, str):
            hidden["arguments"] = _JSON_STRING.sub(
                lambda found: '"' + self._hide_piece(turn, "tool call", found[1], escaped=True) + '"', arguments
            )
        elif arguments is not None:
            hidden["arguments"] = self._hide_leaves(turn, arguments)
        return {**call, "function": hidden} if "function" in call else hidden

    def _hide_leaves(self, turn: int, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: self._hide_leaves(turn, item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._hide_leaves(turn, item) for item in value]
        return self._hide_piece(turn, "tool call", value) if isinstance(value, str) else value

    def _hide_piece(self, turn: int, what: str, text: str, *, escaped: bool = False) -> str:
        core = text.strip()
        if not core:
            return text
        word = f"{self.salt}{len(self.hidden)}q"
        self.hidden[word] = _HiddenText(turn, what, tuple(dict.fromkeys(_written_forms(core, escaped))))
        return text.replace(core, word, 1)


def _written_forms(text: str, escaped: bool) -> Iterator[str]:
    """Yield the forms in which a template may write a text: unchanged, or escaped for JSON or HTML."""
    yield text
    for ascii_only in (False, True):
        yield json.dumps(text, ensure_ascii=ascii_only)[1:-1]
    yield html.escape(text)
    if escaped:
        with suppress(ValueError):
            yield from _written_forms(json.loads(f'"{text}"'), False)


@dataclass(frozen=True)
class Answer:
    """One scored answer: its turn, and the characters of it that are part of the loss."""

    turn: int
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class LocatedAnswers:
    """A rendered conversation, the characters of each answer, and the parts of its context that are not shown."""

    text: str
    answers: tuple[Answer, ...]
    left_out: tuple[str, ...]


def find_answers(
    template: ChatTemplate, example: Example, scored: Sequence[int], special: frozenset[str] = frozenset()
) -> LocatedAnswers:
    """Render a conversation and find the turns `scored` in it, each with what ends it.

    `special` are the tokenizer's special tokens. Raises `RowProblemError` where the template refuses the conversation,
    or does not show a scored turn with all that it says.
    """
    null = [False, True] if any(turn.tool_calls and not turn.content for turn in example.turns) else [False]
    problem: RowProblemError | None = None
    for null_content in null:
        try:
            return _AnswerSearch(template, example, scored, special, null_content).found()
        except RowProblemError as error:
            problem = problem or error
    raise problem or AssertionError


class _AnswerSearch:
    """One rendering of a conversation, in which its answers are found."""

    def __init__(
        self,
        template: ChatTemplate,
        example: Example,
        scored: Sequence[int],
        special: frozenset[str],
        null_content: bool,
    ):
        self._template, self._example, self._scored, self._special = template, example, scored, special
        self._null_content = null_content
        self._rendered = self._render(example)

    def _render(self, example: Example, *, generation_prompt: bool = False) -> Rendered:
        return self._template.render(example, generation_prompt=generation_prompt, null_content=self._null_content)

    def found(self) -> LocatedAnswers:
        """Find the answers by the stand-ins for all turns, else by those for one answer, else by prefixes."""
        layout = self._layout(range(len(self._example.turns)))
        if layout is not None:
            self._refuse_left_out(layout)
        found = {turn: self._spans(layout, turn) if layout else self._spans_of_one(turn) for turn in self._scored}
        for turn, spans in found.items():
            self._refuse_lost_numbers(turn, spans)
        answers = tuple(Answer(turn, spans) for turn, spans in found.items())
        lost_turns = layout.left_out(self._example) if layout else ()
        return LocatedAnswers(self._rendered.text, answers, (*lost_turns, *self._extras_left_out()))

    def _layout(self, turns: Iterable[int]) -> "_Layout | None":
        """Find the texts of some turns; None where the template treats other words differently."""
        return self._layout_in(self._example, self._rendered.text, frozenset(turns))

    def _layout_in(self, example: Example, text: str, turns: frozenset[int]) -> "_Layout | None":
        words = _StandIns(_unused_word(example, self._template.text))
        hidden = tuple(_hide(turn, i, words) if i in turns else turn for i, turn in enumerate(example.turns))
        try:
            skeleton = self._render(replace(example, turns=hidden)).text
        except RowProblemError:
            return None
        return _align(text, skeleton, words)

    def _refuse_left_out(self, layout: "_Layout") -> None:
        for turn in self._scored:
            if missing := layout.missing(turn):
                raise RowProblemError(self._left_out(turn, f"the {missing}"))
            if twice := layout.repeated(turn):
                raise RowProblemError(f"the chat template shows the {twice} of turn {turn}, an answer, more than once")

    def _refuse_lost_numbers(self, turn: int, spans: Sequence[Span]) -> None:
        """Refuse a call whose numbers are not shown: they have no stand-ins."""
        text = "".join(self._rendered.text[slice(*span)] for span in spans)
        calls = (call.get("function", call).get("arguments") for call in self._example.turns[turn].tool_calls)
        for number in (number for arguments in calls for number in _call_numbers(arguments)):
            if not any(form in text for form in (str(number), json.dumps(number))):
                raise RowProblemError(self._left_out(turn, f"{number!r} in the tool call"))

    def _left_out(self, turn: int, what: str) -> str:
        answers = [i for i, said in enumerate(self._example.turns) if said.role == "assistant"]
        last = (
            " Use turns=last, or a template that shows it" if turn != answers[-1] else " Use a template that shows it"
        )
        return f"the chat template leaves out {what} of answer {answers.index(turn) + 1} of {len(answers)}.{last}"

    def _spans(self, layout: "_Layout", turn: int) -> tuple[Span, ...]:
        if not self._template.has_marks:
            return (self._span(layout, turn),)
        marks = layout.marks_of(turn, self._rendered.marks)
        for start, stop, what in layout.pieces(turn):
            if not any(a <= start and stop <= b for a, b in marks):
                raise RowProblemError(
                    f"the generation marks of the chat template leave out the {what} of turn {turn}, an answer"
                )
        return tuple(marks)

    def _span(self, layout: "_Layout", turn: int) -> Span:
        """Return the span from behind the header of a turn to the end of what ends it."""
        start, stop = layout.span_of(turn)
        if (other := layout.within(turn)) is not None:
            raise RowProblemError(
                f"the chat template shows turn {other} in the midst of turn {turn}, an answer; which of it is the "
                "answer's cannot be told"
            )
        before, after = layout.gap_before(start), layout.gap_after(stop)
        own_lead, own_tail = _edges_of_turn(self._example.turns[turn])
        lead = len(self._text_before_answer(before, own_lead))
        if turn == len(self._example.turns) - 1:
            return start - lead, stop + len(after)
        own = len(own_tail) if after.startswith(own_tail) else 0
        return start - lead, stop + own + self._ending(turn, after[own:], own)

    def _text_before_answer(self, before: str, own: str) -> str:
        """Return the part of the text before an answer's first piece that belongs to the answer: all behind its header.

        White space there is the template's, unless the turn begins with it. Where no header is found, only the control
        tokens with which the turn begins are its own.
        """
        position = self._header(before)
        if position is None:
            return own if own.strip() and before.endswith(own) else ""
        lead = before[position:]
        if lead.removesuffix(own).strip():
            return lead
        return own if lead.endswith(own) else ""

    def _header(self, before: str) -> int | None:
        """Return where the header of an answer ends in the text before it, which may lack a part of the header."""
        header = self._template.header(self._example)
        edges = {edge for span in markers_in(header, self._special) for edge in span}
        for length in sorted({*edges, len(header), len(header.rstrip())} - {0}, reverse=True):
            position = before.rfind(header[:length])
            rest = before[position + length :].lstrip()
            if position >= 0 and (length == len(header) or not rest or _begins_with_marker(rest, self._special)):
                return position + length
        return None

    def _ending(self, turn: int, after: str, own: int) -> int:
        """Count the characters behind a turn's own text that end it, as where the conversation ends with this turn."""
        tail = self._text_after_answer(turn)
        if tail is not None and after.startswith(tail[own:].rstrip()):
            return len(tail[own:]) if after.startswith(tail[own:]) else len(tail[own:].rstrip())
        shared = shared_start(after, (tail or "")[own:])
        markers = markers_in(after, self._special)
        whole = [stop for _, stop in markers if stop <= shared]
        later = [stop for _, stop in markers if stop > shared]
        return whole[-1] if whole else later[0] if later else 0

    def _text_after_answer(self, turn: int) -> str | None:
        """Return the text behind the last piece of a turn where the conversation ends with it."""
        cut = without_turns(self._example, turn + 1)
        with suppress(RowProblemError):
            text = self._render(cut).text
            layout = self._layout_in(cut, text, frozenset({turn}))
            if layout is not None and layout.has(turn):
                return text[layout.span_of(turn)[1] :]
        return None

    def _spans_of_one(self, turn: int) -> tuple[Span, ...]:
        """Find one answer where the stand-ins for all turns do not fit: by those for itself, else by prefixes."""
        layout = self._layout({turn})
        if layout is not None and (missing := layout.missing(turn)):
            raise RowProblemError(self._left_out(turn, f"the {missing}"))
        if self._template.has_marks:
            return self._marks_of_one(turn)
        if layout is not None:
            span = self._span(layout, turn)
            if not self._holds_others(turn, self._rendered.text[span[0] : layout.span_of(turn)[0]]):
                return (span,)
        return (self._span_by_prefixes(turn),)

    def _holds_others(self, turn: int, text: str) -> bool:
        """Return whether a text holds anything that another turn says."""
        words = _StandIns("\0")
        for index, other in enumerate(self._example.turns):
            if index != turn:
                _hide(other, index, words)
        return any(form in text for piece in words.hidden.values() for form in piece.forms)

    def _marks_of_one(self, turn: int) -> tuple[Span, ...]:
        """Return the generation marks between the turns around an answer, where they hold all of it."""
        turns = self._example.turns
        layout = self._layout({i for i, other in enumerate(turns) if other.role != "assistant"})
        beside = {i for i in (turn - 1, turn + 1) if 0 <= i < len(turns)}
        if layout is None or not all(layout.has(i) for i in beside):
            raise RowProblemError(f"which generation marks of the chat template are those of turn {turn} is not clear")
        after, before = layout.between_neighbours(turn)
        marks = tuple(mark for mark in self._rendered.marks if after <= mark[0] and mark[1] <= before)
        self._refuse_incomplete(turn, marks)
        return marks

    def _span_by_prefixes(self, turn: int) -> Span:
        """Return what rendering adds between the prompt before an answer and the answer itself."""
        text = self._rendered.text
        before = self._render(without_turns(self._example, turn), generation_prompt=True).text if turn else ""
        through = self._render(without_turns(self._example, turn + 1)).text
        if not (turn and through.startswith(before) and text.startswith(through)):
            raise RowProblemError(
                f"inconsistent chat template: what it makes of turn {turn} depends on its words and on what follows "
                "(it rewrites earlier turns); the mask cannot be trusted. "
                "Use turns=last, template=paper, or a Jinja file with generation marks"
            )
        span = len(before), len(through)
        self._refuse_incomplete(turn, [span])
        return span

    def _refuse_incomplete(self, turn: int, spans: Sequence[Span]) -> None:
        words = _StandIns("\0")
        _hide(self._example.turns[turn], turn, words)
        text = "".join(self._rendered.text[slice(*span)] for span in spans)
        for piece in words.hidden.values():
            if not any(form in text for form in piece.forms):
                raise RowProblemError(self._left_out(turn, f"the {piece.what}"))

    def _extras_left_out(self) -> tuple[str, ...]:
        """List what a row brings besides its turns that the template does not show: tools, documents."""
        example = self._example
        without = {"tools": replace(example, tools=()), "documents": replace(example, documents=())}
        given = {what: other for what, other in without.items() if getattr(example, what)}
        return tuple(what for what, other in given.items() if self._renders_equal(other))

    def _renders_equal(self, other: Example) -> bool:
        with suppress(RowProblemError):
            return self._render(other).text == self._rendered.text
        return False


@dataclass(frozen=True)
class _Layout:
    """Positions of each piece of hidden text in a rendered conversation, in the order of the text."""

    text: str
    pieces_shown: tuple[tuple[int, int, _HiddenText], ...]
    absent: tuple[_HiddenText, ...]

    def pieces(self, turn: int) -> list[tuple[int, int, str]]:
        """Return the pieces of a turn, each where it stands first."""
        first: dict[int, tuple[int, int, str]] = {}
        for start, stop, hidden in self.pieces_shown:
            if hidden.turn == turn:
                first.setdefault(id(hidden), (start, stop, hidden.what))
        return [*first.values()]

    def has(self, turn: int) -> bool:
        """Return whether anything of a turn is shown."""
        return bool(self.pieces(turn))

    def missing(self, turn: int) -> str | None:
        """Return a part of a turn that the template does not show, if there is one."""
        lost = next((hidden.what for hidden in self.absent if hidden.turn == turn), None)
        return lost or (None if self.has(turn) else "whole")

    def repeated(self, turn: int) -> str | None:
        """Return a part of a turn that occurs more than once; names of functions may, where results repeat them."""
        seen: set[int] = set()
        for _, _, hidden in self.pieces_shown:
            if hidden.turn == turn and hidden.what != "tool call":
                if id(hidden) in seen:
                    return hidden.what
                seen.add(id(hidden))
        return None

    def span_of(self, turn: int) -> Span:
        """Return the characters from the first piece of a turn to its last."""
        pieces = self.pieces(turn)
        return min(start for start, _, _ in pieces), max(stop for _, stop, _ in pieces)

    def within(self, turn: int) -> int | None:
        """Return another turn that is shown between the pieces of a turn, if there is one."""
        start, stop = self.span_of(turn)
        return next((h.turn for a, b, h in self.pieces_shown if start < a and b < stop and h.turn != turn), None)

    def between_neighbours(self, turn: int) -> Span:
        """Return the span between the end of the turns before one and the beginning of those behind it."""
        before = [stop for _, stop, hidden in self.pieces_shown if hidden.turn < turn]
        after = [start for start, _, hidden in self.pieces_shown if hidden.turn > turn]
        return max(before, default=0), min(after, default=len(self.text))

    def gap_before(self, start: int) -> str:
        """Return the text between a place and the piece before it."""
        return self.text[max((b for _, b, _ in self.pieces_shown if b <= start), default=0) : start]

    def gap_after(self, stop: int) -> str:
        """Return the text between a place and the next piece."""
        return self.text[stop : min((a for a, _, _ in self.pieces_shown if a >= stop), default=len(self.text))]

    def marks_of(self, turn: int, marks: Sequence[Span]) -> list[Span]:
        """Return the generation marks of a turn: those that hold some of it, and empty ones right beside these."""
        found: list[Span] = []
        for mark in marks:
            whose = next((hidden.turn for a, b, hidden in self.pieces_shown if a < mark[1] and mark[0] < b), None)
            follows = bool(found) and not self.text[found[-1][1] : mark[0]].strip()
            if whose == turn or (whose is None and follows):
                found.append(mark)
        return found

    def left_out(self, example: Example) -> tuple[str, ...]:
        """List the turns of the context that are not shown whole; of answers before, parts may be forgotten."""
        turns = example.turns
        lost = {
            hidden.turn for hidden in self.absent if turns[hidden.turn].role != "assistant" or not self.has(hidden.turn)
        }
        return tuple(f"{turns[turn].role} turn" for turn in sorted(lost))


def _hide(turn: Turn, index: int, words: _StandIns) -> Turn:
    return replace(
        turn,
        thinking=words.text(index, "thinking", turn.thinking),
        content=words.text(index, "text", turn.content),
        tool_calls=tuple(words.call(index, call) for call in turn.tool_calls),
    )


def _call_numbers(value: Any) -> Iterator[int | float]:
    """Yield the numbers and flags among the arguments of a call."""
    if isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _call_numbers(item)
    elif isinstance(value, int | float):
        yield value


def _begins_with_marker(text: str, special: frozenset[str]) -> bool:
    return any(start == 0 for start, _ in markers_in(text, special))


def _edges_of_turn(turn: Turn) -> tuple[str, str]:
    """Return the white space and control tokens before and behind the texts of a turn that are its own."""
    first, last = turn.thinking or turn.content, "" if turn.tool_calls else turn.content or turn.thinking
    lead = _until_text(_KEPT.split(first), str.lstrip, first)
    tail = _until_text(_KEPT.split(last)[::-1], str.rstrip, last)
    return "".join(lead), "".join(tail[::-1])


def _until_text(pieces: Sequence[str], strip: Callable[[str], str], whole: str) -> list[str]:
    """Take pieces up to the first one with text, of that one the white space."""

    def edge(text: str) -> str:
        return text.replace(strip(text), "", 1)

    position = next((i for i, piece in enumerate(pieces) if i % 2 == 0 and piece.strip()), None)
    return [edge(whole)] if position is None else [*pieces[:position], edge(pieces[position])]


def _unused_word(example: Example, template: str) -> str:
    """Return a beginning for stand-ins that occurs nowhere in a conversation or template."""
    everything = template + "".join(turn.text for turn in example.turns)
    return next(word for n in range(len(everything) + 1) if (word := f"gp{n}z") not in everything)


def _align(text: str, skeleton: str, words: _StandIns) -> _Layout | None:
    """Put the texts back in place of their stand-ins; None where that does not give the rendered text."""
    parts = re.split(f"({re.escape(words.salt)}\\d+q)", skeleton)
    literals, shown = parts[::2], parts[1::2]
    if not text.startswith(literals[0]):
        return None
    position, pieces = len(literals[0]), []
    for word, literal in zip(shown, literals[1:], strict=True):
        hidden = words.hidden[word]
        form = next((form for form in hidden.forms if text.startswith(form + literal, position)), None)
        if form is None:
            return None
        pieces.append((position, position + len(form), hidden))
        position += len(form) + len(literal)
    if position != len(text):
        return None
    return _Layout(
        text, tuple(pieces), tuple(hidden for word, hidden in words.hidden.items() if word not in set(shown))
    )
