"""Show a data set in a terminal: format, counts, and the loss mask in colour.

Texts are escaped here already: rich drops bells, form feeds and carriage returns from a text before a console sees
them.
"""

import json
import statistics
from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from gradprism.core.console import escaped
from gradprism.core.terminal_tables import spaced, summary_table
from gradprism.data.example import Example
from gradprism.data.example_set import SchemaCount
from gradprism.inspection.api import InspectedExample, Inspection

_LOSS_STYLE = "#000000 on #87d787"
_MARKS = ("⟦", "⟧")  # around the tokens of the loss where there is no colour
_MOST_CHARACTERS = 1500
_MOST_PROBLEMS = 8
_MOST_UNUSED = 24


def inspection_of(found: Inspection, colour: bool) -> RenderableType:
    """Return sources and schemas, some examples with the tokens of the loss marked, and counts over all rows."""
    panels = [_example_panel(item, colour) for item in found.shown]
    panels += [_example_panel(item, colour, why) for why, item in found.unusual]
    return Group(*spaced([_sources_table(found), Group(*panels), _counts_table(found, colour)]))


def _sources_table(found: Inspection) -> RenderableType:
    examples = found.examples
    rows = [("data", f"{source.name}  ({source.format})") for source in examples.sources]
    rows += [("read as", _schema_line(schema)) for schema in examples.schemas]
    rows += [("not read", f"{name}: no row of it is understood") for name in examples.unread_sources]
    if kept := dict.fromkeys(name for item in (*found.shown, *(each for _, each in found.unusual))
                             for name in item.example.columns):  # fmt: skip
        rows.append(("also kept", f"{', '.join(map(str, kept))}  (to group and select by)"))
    if examples.unused:
        rows.append(("not used", _unused_columns(examples.unused)))
    return summary_table((name, escaped(text)) for name, text in rows)


def _schema_line(schema: SchemaCount) -> str:
    """Describe a schema by its columns and its number of rows, and that of each column which not all rows have."""
    columns = (name if n == schema.rows else f"{name} (in {n:,})" for name, n in schema.uses.items())
    return f"{schema.name}, from {', '.join(columns)}: {_n_rows(schema.rows)}"


def _unused_columns(columns: Mapping[str, int]) -> str:
    named = [f"{name} ({_n_rows(n)})" for name, n in columns.items()]
    more = f" and {len(named) - _MOST_UNUSED} more" if len(named) > _MOST_UNUSED else ""
    return ", ".join(named[:_MOST_UNUSED]) + more


def _n_rows(n: int) -> str:
    return f"{n:,} {'row' if n == 1 else 'rows'}"


def _example_panel(item: InspectedExample, colour: bool, why: str | None = None) -> RenderableType:
    title = f"row {item.example.row}   id {item.example.example_id}"
    if item.encoded:
        cut = ", truncated" if item.encoded.truncated else ""
        title += f"   {item.encoded.n_tokens:,} tokens, {item.encoded.n_response_tokens:,} in the loss{cut}"
    style = "red" if item.problem else "yellow" if why else "dim"
    about = [Text(escaped(f"unusual: {why}"), style="yellow")] if why and not item.problem else []
    body = Text("\n").join([*about, _example_text(item, colour)])
    return Panel(body, title=Text(escaped(title)), title_align="left", border_style=style)


def _example_text(item: InspectedExample, colour: bool) -> Text:
    if item.problem:
        problem = Text(escaped(f"skipped: {item.problem}"), style="red")
        return Text("\n").join([problem, *_turn_lines(item.example)])
    if not item.pieces:
        return Text("\n").join(_turn_lines(item.example))
    return Text.assemble(*(_mark_loss(escaped(_shorten(piece)), in_loss, colour) for piece, in_loss in item.pieces))


def _turn_lines(example: Example) -> Iterator[Text]:
    """Yield the tools of an example, and each turn with all that it says."""
    for label, objects in (("tools", example.tools), ("documents", example.documents)):
        if objects:
            yield Text.assemble((f"{label}: ", "bold"), escaped(_shorten(json.dumps(objects, ensure_ascii=False))))
    if example.template_options:
        options = json.dumps(example.template_options, ensure_ascii=False)
        yield Text.assemble(("for the template: ", "bold"), escaped(_shorten(options)))
    for turn in example.turns:
        note = "" if turn.in_loss else " (not in the loss)"
        yield Text.assemble((f"{turn.role}{note}: ", "bold"), escaped(_shorten(turn.text)))


def _mark_loss(text: str, in_loss: bool, colour: bool) -> str | tuple[str, str]:
    if not in_loss:
        return text
    return (text, _LOSS_STYLE) if colour else text.join(_MARKS)


def _shorten(text: str) -> str:
    if len(text) <= _MOST_CHARACTERS:
        return text
    half = _MOST_CHARACTERS // 2
    return f"{text[:half]} … {len(text) - 2 * half:,} characters … {text[-half:]}"


def _counts_table(found: Inspection, colour: bool) -> RenderableType:
    return summary_table(_count_rows(found, colour))


def _count_rows(found: Inspection, colour: bool) -> Iterator[tuple[str, str | Text]]:
    yield "rows", f"{len(found.examples):,} chosen, {sum(found.problems.values()):,} would be skipped"
    yield "conversations", f"{found.examples.n_conversations:,} (rows of turns; the others are a prompt and a response)"
    yield "example id", "the data's own" if found.examples.has_ids else "row number (no `id`, or not unique)"
    if found.template:
        yield "template", escaped(found.template)
    for what, n in sorted(found.left_out.items(), key=lambda item: -item[1]):
        yield "not shown", Text(escaped(f"the {what} of {_n_rows(n)}: the template leaves it out"), style="yellow")
    if n := found.examples.n_placeholders:
        yield (
            "no picture",
            Text(f"the text of {_n_rows(n)} has the place of one (<image>): read as text", style="yellow"),
        )
    if found.lengths:
        yield "tokens", f"{sum(found.lengths):,}; an example has {_range_and_median(found.lengths)}"
        yield (
            "in the loss",
            f"{sum(found.response_lengths):,}; an example has {_range_and_median(found.response_lengths)}",
        )
        yield "truncated", f"{found.n_truncated:,}"
        yield "", Text.assemble("tokens marked ", _mark_loss("like this", True, colour), " are loss tokens")
    for problem, n in sorted(found.problems.items(), key=lambda item: -item[1])[:_MOST_PROBLEMS]:
        yield "skipped", Text(escaped(f"{n:,} x {problem}"), style="red")


def _range_and_median(lengths: tuple[int, ...]) -> str:
    return f"{min(lengths):,} to {max(lengths):,}, median {statistics.median(lengths):,.0f}"
