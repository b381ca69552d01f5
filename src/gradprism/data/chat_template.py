"""Render conversations to text by a chat template, with their tools and documents, on a fixed date."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from functools import cached_property
from typing import Any

import jinja2

from gradprism.core.errors import GradPrismError
from gradprism.data.example import Example, RowProblemError, Turn
from gradprism.data.template_process import TemplateLimitError, render_apart
from gradprism.data.thoughts import before_thought

_DATE_CALL = re.compile(r"strftime_now\(\s*(?P<quote>['\"])(?P<format>.*?)(?P=quote)\s*\)")
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_THINKING_NAMES = ("reasoning_content", "thinking", "reasoning")
"""What templates call a turn's thinking; each gets it, as transformers passes it on since 5.20."""

_ASKED, _ANSWERED = "what-is-asked", "what-is-answered"
_RESERVED = {
    "messages", "conversations", "chat_template", "tokenize", "add_generation_prompt", "continue_final_message",
    "return_assistant_tokens_mask", "tools", "documents",
}  # fmt: skip


@dataclass(frozen=True)
class Rendered:
    """The text of a conversation, and the characters inside its `{% generation %}` marks, if it has any."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()


def prints_date(template: str) -> bool:
    """Return whether a template prints the current date."""
    return "strftime_now" in template


class ChatTemplate:
    """A template in the form of transformers' chat templates, and the tokenizer's special tokens for it."""

    def __init__(self, text: str, special_tokens: Mapping[str, Any], name: str, today: str | None):
        """Set the date that it prints to `today` (ISO 8601; the present day where None). Errors begin with `name`.

        Raises `GradPrismError` where the date is asked for in a form that cannot be fixed.
        """
        self.name = name
        day = date.fromisoformat(today) if today else date.today()
        self.text = _with_fixed_date(text, day, name)
        self._special_tokens = {**special_tokens}
        self._headers: dict[str, str] = {}

    @property
    def has_marks(self) -> bool:
        """True where the template itself marks what the assistant generates."""
        return _GENERATION.search(self.text) is not None

    def render(self, example: Example, *, generation_prompt: bool = False, null_content: bool = False) -> Rendered:
        """Render a conversation; with `null_content` a turn of tool calls alone has null in place of empty content.

        Raises `RowProblemError` where the template refuses it, `GradPrismError` where the template is not valid.
        """
        if reserved := sorted(_RESERVED & {*example.template_options}):
            raise RowProblemError(f"chat_template_kwargs holds {reserved[0]!r}, which is not the row's to set")
        messages = [self._message(turn, null_content) for turn in example.turns]
        return self._render_messages(messages, example, generation_prompt)

    def header(self, example: Example) -> str:
        """Return what the template sets before an answer: its generation prompt, or what it sets before a plain answer.

        A thought that the prompt opens is the answer's own: trainers have it in the loss.
        """
        options = json.dumps(dict(example.template_options), sort_keys=True, default=str)
        if options not in self._headers:
            self._headers[options] = self._find_header(example.template_options)
        return self._headers[options]

    def _find_header(self, options: Mapping[str, Any]) -> str:
        asked = Example(0, "", (Turn("user", _ASKED),), template_options=options)
        answered = replace(asked, turns=(*asked.turns, Turn("assistant", _ANSWERED)))
        try:
            bare, prompting = (self.render(asked, generation_prompt=prompt).text for prompt in (False, True))
            text = prompting if prompting != bare else self.render(answered).text.partition(_ANSWERED)[0]
        except RowProblemError:
            return ""
        after, before = (text.rpartition(_ASKED)[2] for text in (text, bare))
        return before_thought(after[whole_markers(after, shared_start(after, before)) :])

    def _message(self, turn: Turn, null_content: bool) -> dict[str, Any]:
        role = "system" if turn.role == "developer" and "developer" not in self.text else turn.role
        content: Any = turn.content
        if null_content and turn.tool_calls and not turn.content:
            content = None
        elif self._wants_parts:
            content = [{"type": "text", "text": turn.content}]
        message: dict[str, Any] = {"role": role, "content": content}
        if turn.thinking:
            message |= dict.fromkeys(_THINKING_NAMES, turn.thinking)
        if turn.tool_calls:
            message["tool_calls"] = [{"type": "function", **call} for call in turn.tool_calls]
        own = {"name": turn.name, "tool_call_id": turn.tool_call_id}
        return message | {name: value for name, value in own.items() if value is not None}

    @cached_property
    def _wants_parts(self) -> bool:
        """True where the template shows content that is a list of parts, and no plain text."""

        def shows(wrap: Any) -> bool:
            messages = [{"role": "user", "content": wrap(_ASKED)}, {"role": "assistant", "content": wrap(_ANSWERED)}]
            try:
                text = self._render_messages(messages, Example(0, ""), False).text
            except TemplateLimitError as error:
                raise GradPrismError(f"{self.name}: {error}, for two messages of a word each.") from None
            except RowProblemError:
                return False
            return _ASKED in text and _ANSWERED in text

        return not shows(str) and shows(lambda text: [{"type": "text", "text": text}])

    def _render_messages(self, messages: list[dict[str, Any]], example: Example, generation_prompt: bool) -> Rendered:
        options = {
            "conversations": [messages],
            "tools": [*example.tools] or None,
            "documents": [*example.documents] or None,
            "chat_template": self.text,
            "return_assistant_tokens_mask": self.has_marks,
            "add_generation_prompt": generation_prompt,
            **self._special_tokens,
            **example.template_options,
        }
        try:
            text, marks = render_apart(options)
        except jinja2.TemplateSyntaxError as error:  # concerns every row
            raise GradPrismError(f"{self.name}: line {error.lineno}: {error.message}") from None
        return Rendered(text, tuple((start, stop) for start, stop in marks))


def _with_fixed_date(template: str, day: date, name: str) -> str:
    """Write the date into a template in place of its calls for the present one."""
    midnight = datetime.combine(day, time())
    fixed = _DATE_CALL.sub(lambda call: json.dumps(midnight.strftime(call["format"])), template)
    if "strftime_now(" in fixed:
        raise GradPrismError(
            f"{name} asks for the present time in a form that cannot be fixed, so that a run resumed on "
            'another day would mix two texts. Expected strftime_now("FORMAT") with the format written out.'
        )
    return fixed


_MARKER = re.compile(r"<[|｜][^<>\s]{1,60}?[|｜]>|<[|｜]?[/\w▁:|｜-]{1,40}[|｜]?>|\[/?[A-Z][A-Z_]*\]")


def markers_in(text: str, special: frozenset[str] = frozenset()) -> list[tuple[int, int]]:
    """Return the spans of control tokens: those that look like one, and the tokenizer's own `special` ones."""
    found = [match.span() for match in _MARKER.finditer(text)]
    if special:
        own = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))))
        found += [match.span() for match in own.finditer(text)]
    return sorted(set(found))


def shared_start(one: str, other: str) -> int:
    """Count the characters with which both texts begin."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def whole_markers(text: str, length: int) -> int:
    """Return `length`, or where it falls within a control token of `text` the place where that one begins."""
    return min([length, *(start for start, stop in markers_in(text) if start < length < stop)])


def without_turns(example: Example, stop: int) -> Example:
    """Return the conversation up to turn `stop`, that one left out."""
    return replace(example, turns=example.turns[:stop])
