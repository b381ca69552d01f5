"""What was understood of a data set, in a terminal: format, counts, and the loss mask in colour."""

import statistics
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gradprism.jobs.inspect import Inspection, Understood
from gradprism.terminal.tables import plain_table

_LOSS_STYLE = "black on bright_green"
_MOST_CHARACTERS = 1500


def inspection_of(found: Inspection) -> RenderableType:
    """Sources and schemas, a few examples with the tokens that carry the loss marked, counts over all rows."""
    return Group(_sources(found), *_shown(found), _counts(found))


def _sources(found: Inspection) -> RenderableType:
    table = plain_table("Data", ["source", "format", "schema", "columns used", "other columns kept"], left=5)
    first = next((item.example for item in found.shown if not item.example.problem), None)
    kept = ", ".join(first.columns) if first else ""
    for source, schema in zip(found.examples.sources, found.examples.schemas, strict=True):
        name, uses = (schema.name, ", ".join(schema.uses)) if schema else ("no readable row", "")
        table.add_row(Text(source.name), source.format, Text(name), Text(uses), Text(kept))
    return table


def _shown(found: Inspection) -> Iterator[RenderableType]:
    for item in found.shown:
        title = f"row {item.example.row}   id {item.example.example_id}"
        if item.encoded:
            e = item.encoded
            cut = ", truncated" if e.truncated else ""
            title += f"   {e.n_tokens:,} tokens, {e.n_response_tokens:,} in the loss{cut}"
        yield Panel(_text(item), title=Text(title), title_align="left", border_style="red" if item.problem else "dim")


def _text(item: Understood) -> Text:
    if item.problem:
        return Text(f"skipped: {item.problem}", style="red")
    if not item.pieces:
        return Text("\n").join(
            Text.assemble((f"{turn.role}: ", "bold"), _shortened(turn.content)) for turn in item.example.turns
        )
    text = Text()
    for piece, in_loss in item.pieces:
        text.append(_shortened(piece), style=_LOSS_STYLE if in_loss else "")
    return text


def _shortened(text: str) -> str:
    if len(text) <= _MOST_CHARACTERS:
        return text
    half = _MOST_CHARACTERS // 2
    return f"{text[:half]} … {len(text) - 2 * half:,} characters … {text[-half:]}"


def _counts(found: Inspection) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    skipped = sum(found.problems.values())
    table.add_row("[bold]rows", f"{len(found.examples):,} chosen, {skipped:,} would be skipped")
    ids = "the data's own `id`" if found.examples.has_ids else "the row number (`id` is missing or not unique)"
    table.add_row("[bold]example id", ids)
    if found.lengths:
        table.add_row("[bold]tokens", f"{sum(found.lengths):,}; an example: {_spread(found.lengths)}")
        table.add_row("[bold]in the loss", f"{sum(found.response_lengths):,}; {_spread(found.response_lengths)}")
        table.add_row("[bold]truncated", f"{found.n_truncated:,}")
        legend = Text.assemble("tokens marked ", ("like this", _LOSS_STYLE), " carry the loss")
        table.add_row("", legend)
    for problem, n in sorted(found.problems.items(), key=lambda item: -item[1])[:8]:
        table.add_row("[red]skipped", Text(f"{n:,} x {problem}"))
    return table


def _spread(lengths: tuple[int, ...]) -> str:
    return f"{min(lengths):,} to {max(lengths):,}, median {statistics.median(lengths):,.0f}"
