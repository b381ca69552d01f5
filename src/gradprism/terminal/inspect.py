"""What was understood of a data set, in a terminal: format, counts, and the loss mask in colour."""

import statistics
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from gradprism.jobs.inspect import Inspection, Understood
from gradprism.terminal.tables import facts, spaced

_LOSS_STYLE = "#000000 on #87d787"
_MARKS = ("⟦", "⟧")  # around the tokens of the loss where there is no colour
_MOST_CHARACTERS = 1500
_MOST_PROBLEMS = 8


def inspection_of(found: Inspection, colour: bool) -> RenderableType:
    """Sources and schemas, a few examples with the tokens of the loss marked, counts over all rows."""
    return Group(
        *spaced([_sources(found), Group(*(_shown(item, colour) for item in found.shown)), _counts(found, colour)])
    )


def _sources(found: Inspection) -> RenderableType:
    first = next((item.example for item in found.shown if not item.example.problem), None)
    rows = []
    for source, schema in zip(found.examples.sources, found.examples.schemas, strict=True):
        rows.append(("data", f"{source.name}  ({source.format})"))
        rows.append(("read as", f"{schema.name}, from {', '.join(schema.uses)}" if schema else "no readable row"))
    if first and first.columns:
        rows.append(("also kept", f"{', '.join(first.columns)}  (to group and select by)"))
    return facts(rows)


def _shown(item: Understood, colour: bool) -> RenderableType:
    title = f"row {item.example.row}   id {item.example.example_id}"
    if item.encoded:
        cut = ", truncated" if item.encoded.truncated else ""
        title += f"   {item.encoded.n_tokens:,} tokens, {item.encoded.n_response_tokens:,} in the loss{cut}"
    style = "red" if item.problem else "dim"
    return Panel(_text(item, colour), title=Text(title), title_align="left", border_style=style)


def _text(item: Understood, colour: bool) -> Text:
    if item.problem:
        return Text(f"skipped: {item.problem}", style="red")
    if not item.pieces:
        turns = (Text.assemble((f"{turn.role}: ", "bold"), _shortened(turn.content)) for turn in item.example.turns)
        return Text("\n").join(turns)
    return Text.assemble(*(_marked(_shortened(piece), in_loss, colour) for piece, in_loss in item.pieces))


def _marked(text: str, in_loss: bool, colour: bool) -> str | tuple[str, str]:
    if not in_loss:
        return text
    return (text, _LOSS_STYLE) if colour else text.join(_MARKS)


def _shortened(text: str) -> str:
    if len(text) <= _MOST_CHARACTERS:
        return text
    half = _MOST_CHARACTERS // 2
    return f"{text[:half]} … {len(text) - 2 * half:,} characters … {text[-half:]}"


def _counts(found: Inspection, colour: bool) -> RenderableType:
    return facts(_count_rows(found, colour))


def _count_rows(found: Inspection, colour: bool) -> Iterator[tuple[str, str | Text]]:
    yield "rows", f"{len(found.examples):,} chosen, {sum(found.problems.values()):,} would be skipped"
    yield "example id", "the data's own" if found.examples.has_ids else "row number (no `id`, or not unique)"
    if found.lengths:
        yield "tokens", f"{sum(found.lengths):,}; an example has {_spread(found.lengths)}"
        yield "in the loss", f"{sum(found.response_lengths):,}; an example has {_spread(found.response_lengths)}"
        yield "truncated", f"{found.n_truncated:,}"
        yield "", Text.assemble("tokens marked ", _marked("like this", True, colour), " carry the loss")
    for problem, n in sorted(found.problems.items(), key=lambda item: -item[1])[:_MOST_PROBLEMS]:
        yield "skipped", Text(f"{n:,} x {problem}", style="red")


def _spread(lengths: tuple[int, ...]) -> str:
    return f"{min(lengths):,} to {max(lengths):,}, median {statistics.median(lengths):,.0f}"
