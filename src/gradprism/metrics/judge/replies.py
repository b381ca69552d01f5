"""Read the body of a chat completion."""

import json
from collections.abc import Mapping
from typing import Any

from gradprism.metrics.judge.judge import Answer, shortened
from gradprism.metrics.judge.masking import Mask

_TEXT_PARTS = {"text", "output_text"}
_THOUGHT_PARTS = {"thinking", "redacted_thinking", "reasoning", "reasoning_content", "reasoning_text", "summary_text"}
_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
_FINISHED = {None, "stop", "eos", "eos_token", "end_turn", "stop_sequence", "length"}  # servers differ
_LONGEST_FINISH = 120  # characters of a finish reason
_MOST_TOKENS = 2**31 - 1  # what the columns of a table can hold


def read_reply(body: str, mask: Mask = str) -> Answer:
    """Return the answer in a body; with a `problem` if it is malformed, refused, filtered or empty. Never raises.

    An answer that was cut at its token limit counts as an answer with the finish reason "length". Of an answer in parts
    the text parts count. Thoughts, in parts or in a field of their own, do not. `mask` takes the key out.
    """
    body = mask(body)
    try:
        reply = json.loads(body)
        choice = reply["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        text, refusal = _text_of(message.get("content")), message.get("refusal")
        if isinstance(text, str):
            text = mask(text)  # its parts may each have had a piece of the key
        thoughts = next((field for field in _THOUGHT_FIELDS if message.get(field)), None)
        usage = reply.get("usage") or {}
        counts = count_of(usage.get("prompt_tokens")), count_of(usage.get("completion_tokens"))
        if finish == "length" and text is None:
            text = ""  # all tokens were thoughts, which the server does not return
        problem = _problem(text, refusal, finish, thoughts)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Answer(problem=f"malformed answer of the endpoint: {_head(body)}")
    finish = unicode_of(finish[:_LONGEST_FINISH]) if isinstance(finish, str) else None
    return Answer(unicode_of(text) or unicode_of(refusal), finish, *counts, problem=problem)


def _text_of(content: Any) -> Any:
    """Return the text of a content in parts; any other content unchanged."""
    if not isinstance(content, list) or not all(isinstance(part, Mapping) for part in content):
        return content
    said = [part for part in content if part.get("type") not in _THOUGHT_PARTS]
    texts = [part.get("text") for part in said if part.get("type") in _TEXT_PARTS]
    if len(texts) < len(said) or not all(isinstance(text, str) for text in texts):
        return content
    return "".join(texts)


def _problem(text: Any, refusal: Any, finish: Any, thoughts: str | None) -> str | None:
    if refusal:
        return f"the judge refused: {_head(str(refusal))}"
    if finish == "content_filter":
        return "the endpoint's content filter stopped the answer (content_filter)"
    if text is not None and not isinstance(text, str):
        return f"malformed answer of the endpoint: content is no text but {_head(json.dumps(text))}"
    if not isinstance(finish, str | None) or finish not in _FINISHED:
        return f"the answer did not end by itself (finish_reason {shortened(repr(finish), 120)})"
    if thoughts and finish != "length" and not (text or "").strip():
        return f"the judge gave thoughts ({thoughts}) and no answer"
    if text is None:
        return "malformed answer of the endpoint: content is null"
    if not text.strip() and finish != "length":
        return "empty answer"
    return None


def count_of(tokens: Any) -> int | None:
    """Return a number of tokens that a table can store; None for anything else."""
    return tokens if type(tokens) is int and 0 <= tokens <= _MOST_TOKENS else None


def unicode_of(text: Any) -> str | None:
    """Replace halves of surrogate pairs, which JSON can encode and tables cannot store; None for other types."""
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else None


def _head(text: str) -> str:
    return repr(shortened(text, 120))
