"""Data card of a selection: counts, thresholds, ties, lengths, the choice and length, and how to repeat it."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.core.markdown import code, code_block, header_lines, inline, table_row
from gradprism.core.settings import recipe_text
from gradprism.data.example_set import ExampleSet
from gradprism.data.settings import ReadSettings
from gradprism.selection.selection import Selection
from gradprism.selection.settings import SelectRecipe, SelectSettings
from gradprism.stats.ranking import TIE_RULE


def data_card(selection: Selection, recipe: SelectRecipe, examples: ExampleSet, files: Mapping[str, Path]) -> str:
    """Write the data card in Markdown; the same selection gives the same text."""
    return "\n\n".join(_sections(selection, recipe, examples, files)) + "\n"


def _sections(
    selection: Selection, recipe: SelectRecipe, examples: ExampleSet, files: Mapping[str, Path]
) -> Iterator[str]:
    sources = ", ".join(code(source.name) for source in examples.sources)
    yield f"# {inline(Path(str(recipe.out)).stem)}"
    yield (
        f"Selected by gradprism {version('gradprism')} from {', '.join(map(code, recipe.data))}. "
        f"The data: {sources}, {len(examples):,} rows, fingerprint `{examples.fingerprint[:16]}`."
    )
    yield "## Rows\n\n" + _row_counts(selection, files)
    if selection.notes:
        yield "\n".join(f"- {inline(note)}" for note in selection.notes)
    if selection.thresholds.height:
        yield "## Values in each group\n\n" + _markdown(selection.thresholds)
    if selection.cuts.height:
        yield (
            "## Cuts\n\nThe last value taken, the rows that share it, and how many of these were taken. "
            f"{TIE_RULE} Seed: {recipe.read.seed}.\n\n" + _markdown(selection.cuts)
        )
    yield f"## Length of the response, in {selection.length_unit}\n\n" + _markdown(selection.lengths)
    if selection.length_correlations.height:
        yield (
            "## Choice and length\n\nSpearman of what ranks with the length of response and prompt, over the rows that "
            f"can be ranked; {selection.median_lengths}.\n\n" + _markdown(selection.length_correlations)
        )
    if selection.diversity.height:
        yield (
            "## Diversity\n\nVendi score of the gradients: the number of rows that share nothing and are as diverse; "
            "beside it that of as many rows drawn at random from those that can be ranked, mean and middle 95%.\n\n"
            + _markdown(selection.diversity)
        )
    again = code_block(command(recipe), "sh"), code_block(recipe_text(recipe).rstrip(), "yaml")
    yield "\n\n".join(["## To make it again", *again])


def _row_counts(selection: Selection, files: Mapping[str, Path]) -> str:
    counts = {name: selection.rows_of(name).height for name in selection.groups}
    counts |= {"random": selection.baseline.height} if selection.settings.random else {}
    rows = [(name, n, code(files[name].name)) for name, n in counts.items()]
    rows.append(("left out", selection.left_out.height, code(files["left_out"].name)))
    rows += [(f"left out: {reason}", n, "") for reason, n in selection.reasons.items()]
    rows.append(("all rows", selection.table.height, ""))
    return _markdown_table(("", "rows", "file"), rows)


def _markdown(frame: pl.DataFrame) -> str:
    return _markdown_table(frame.columns, frame.rows())


def _markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    return "\n".join([*header_lines(header, len(header)), *(table_row(map(_cell, row)) for row in rows)])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def command(recipe: SelectRecipe) -> str:
    """Write the command that repeats a recipe, without the options at their defaults."""
    given: list[str] = []
    for settings, defaults in ((recipe.select, SelectSettings.model_fields), (recipe.read, ReadSettings.model_fields)):
        for name, value in settings:
            if value != defaults[name].default:
                given += _option(name, value)
    out = [] if recipe.out is None else ["--out", recipe.out]
    out += ["--for", recipe.trainer] if recipe.trainer else []
    return shlex.join(["gradprism", "select", *recipe.data, *given, *out])


def _option(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if value is True:
        return [flag]
    if isinstance(value, tuple):
        return [word for item in value for word in _option(name, item)]
    return [f"{flag}={value}"] if str(value).startswith("-") else [flag, str(value)]
