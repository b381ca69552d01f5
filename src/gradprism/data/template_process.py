"""Render chat templates within limits: a template of a stranger may loop for ever, or make gigabytes of text."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jinja2

from gradprism.core.limited_process import MEMORY, Answers, limited_process
from gradprism.data.example import RowProblemError

SECONDS = 3.0
"""The most processor time for one text, compiling its template included."""
CHARACTERS = 2**24
"""The most characters of one text."""
RENDERER = f"{__name__}:make_renderer"
_MOST_OF_A_PROBLEM = 300  # characters


class TemplateLimitError(RowProblemError):
    """A template that needs more time, memory or characters than one text may have."""

    def __init__(self) -> None:
        """State the limits."""
        super().__init__(
            f"the chat template needs more than one text may have: {SECONDS:g} s of processor time, "
            f"{MEMORY // 2**20:,} MB of memory, {CHARACTERS:,} characters"
        )


def render_apart(options: Mapping[str, Any]) -> tuple[str, list[list[int]]]:
    """Return the text that a template makes of one conversation, and the spans that the template marks.

    `options` are those of transformers' `render_jinja_template`. Any thread may call. Raises
    `jinja2.TemplateSyntaxError`, `TemplateLimitError`, and `RowProblemError` where the template fails.
    """
    answer = limited_process(RENDERER, SECONDS).ask(options)
    if answer is None or answer.get("text", "") is None:
        raise TemplateLimitError
    if "line" in answer:
        raise jinja2.TemplateSyntaxError(answer["problem"], answer["line"])
    if "problem" in answer:
        raise RowProblemError(f"the chat template refuses this conversation: {answer['problem']}")
    return answer["text"], answer["marks"]


def make_renderer() -> Answers:
    """Return the function that renders, in the process that is limited."""
    from transformers.utils.chat_template_utils import render_jinja_template

    return partial(_answer, render_jinja_template)


def _answer(render: Any, request: dict[str, Any]) -> dict[str, Any]:
    try:
        texts, marks = render(**request)
    except MemoryError:
        return {"text": None}
    except jinja2.TemplateSyntaxError as error:
        return {"problem": str(error.message)[:_MOST_OF_A_PROBLEM], "line": error.lineno}
    except Exception as error:
        return {"problem": str(error)[:_MOST_OF_A_PROBLEM] or type(error).__name__}
    return {"text": texts[0] if len(texts[0]) <= CHARACTERS else None, "marks": marks[0] if marks else []}
