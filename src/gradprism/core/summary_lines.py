"""The summary of a result: a few lines, each a name and a text, for Python and for a notebook."""

import html
from collections.abc import Iterable, Mapping
from typing import Any

AS_REQUESTED = "as asked for"  # stored in run.json
SummaryLines = Iterable[tuple[str, str]]
"""Names and texts."""


def lines_as_text(lines: SummaryLines) -> str:
    """Write one line for each name, the texts aligned in one column."""
    rows = list(lines)
    width = max([10, *(len(name) for name, _ in rows)]) + 1
    return "\n".join(f"{name:<{width}}{text}" for name, text in rows)


def lines_as_html(lines: SummaryLines) -> str:
    """Write the lines as an HTML table, with names and texts escaped."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
        for name, text in lines
    )
    return f"<table>{rows}</table>"


def describe_text(text: Mapping[str, Any]) -> str:
    """Describe how rows became text: the template and why it was chosen, its date, and where texts are cut.

    `text` holds the settings of the text as run.json has them.
    """
    first = text.get("response_tokens")
    cut = f", exactly the first {first:,} of each response" if first else ""
    why = text.get("why")
    because = f" ({why})" if why and why != AS_REQUESTED else ""
    day = f", dated {text['date']}" if text.get("date") else ""
    return f"{text.get('template')}{because}{day}, at most {text.get('max_length', 0):,} tokens{cut}"
