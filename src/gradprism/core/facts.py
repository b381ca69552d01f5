"""A few named lines about a result, as text and for a notebook."""

import html
from collections.abc import Iterable, Mapping
from typing import Any

AS_ASKED = "as asked for"
Facts = Iterable[tuple[str, str]]


def as_text(facts: Facts) -> str:
    """A line each, the names in one column."""
    return "\n".join(f"{name:<11}{text}" for name, text in facts)


def as_html(facts: Facts) -> str:
    """A small table; texts never become markup."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
        for name, text in facts
    )
    return f"<table>{rows}</table>"


def text_in_words(text: Mapping[str, Any]) -> str:
    """Template, why it is this one, its date, and cuts; `text` holds the settings of the text, as run.json has them."""
    first = text.get("response_tokens")
    cut = f", exactly the first {first:,} of each response" if first else ""
    why = text.get("why")
    because = f" ({why})" if why and why != AS_ASKED else ""
    day = f", dated {text['date']}" if text.get("date") else ""
    return f"{text.get('template')}{because}{day}, at most {text.get('max_length', 0):,} tokens{cut}"
