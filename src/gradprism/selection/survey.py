"""Columns and lengths of a data set that a selection needs, read in one pass that keeps no texts."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from gradprism.data.example import Example
from gradprism.data.example_set import ExampleSet

_LONGEST_NUMBER = 32  # characters


@dataclass(frozen=True)
class Survey:
    """Rows, columns and lengths of a data set, a row each, in the order of the data."""

    rows: pl.DataFrame  # row, example_id, problem
    columns: Mapping[str, pl.Series]  # the wanted columns that the data have
    characters: pl.Series  # of the response; null where the row cannot be read
    prompt_characters: pl.Series  # of all else; null as above
    names: frozenset[str]  # of all columns, nested ones too
    numeric: frozenset[str]  # of the columns with a number in them; in files of text alone, with what reads as one


@dataclass
class _Gathered:
    rows: list[tuple[int, str, str | None]] = field(default_factory=list)
    characters: list[tuple[int | None, int | None]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    numeric: set[str] = field(default_factory=set)


def survey_of(examples: ExampleSet, wanted: Iterable[str]) -> Survey:
    """Read all rows once, keeping the columns of the wanted names."""
    found, columns = _Gathered(), {name: list[Any]() for name in wanted}
    written_as_text = {source.format for source in examples.sources} <= {"CSV", "TSV"}
    numeric = str | int | float if written_as_text else int | float
    for example, record in examples.records():
        fields = record.fields or {}
        found.rows.append((example.row, example.example_id, example.problem))
        found.characters.append(_characters(example))
        found.names.update(map(str, fields))
        found.numeric.update(
            name
            for name, value in fields.items()
            if name not in found.numeric and isinstance(value, numeric) and _is_number(value)
        )
        for name, values in columns.items():
            values.append(fields.get(name))
    return Survey(
        pl.DataFrame(found.rows, schema={"row": pl.Int64, "example_id": pl.String, "problem": pl.String}, orient="row"),
        {name: scalars(name, values, written_as_text) for name, values in columns.items() if name in found.names},
        pl.Series("length", [response for response, _ in found.characters], dtype=pl.Float64, strict=False),
        pl.Series("prompt_length", [prompt for _, prompt in found.characters], dtype=pl.Float64, strict=False),
        frozenset(found.names),
        frozenset(found.numeric),
    )


def texts_of(examples: ExampleSet) -> Callable[[frozenset[int]], Iterator[tuple[int, str]]]:
    """Return a function that reads the rows asked for again, and yields each with the text of all its turns."""

    def texts(rows: frozenset[int]) -> Iterator[tuple[int, str]]:
        for example in examples:
            if example.row in rows:
                yield example.row, "\n".join(turn.text for turn in example.turns)

    return texts


def _characters(example: Example) -> tuple[int | None, int | None]:
    """Count the characters of the response and of all else; None for a row that cannot be read."""
    if example.problem:
        return None, None
    total = sum(len(turn.text) for turn in example.turns)
    response = sum(len(turn.text) for turn in example.turns if turn.role == "assistant" and turn.in_loss)
    return response, total - response


def _is_number(value: object) -> bool:
    if isinstance(value, str) and len(value) > _LONGEST_NUMBER:
        return False
    return isinstance(value, str | int | float) and _number(value) is not None


def _number(value: str | int | float) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
    except OverflowError:
        return math.inf


def scalars(name: str, values: list[Any], written_as_text: bool = False) -> pl.Series:
    """Convert a column to one type: flags, integers, numbers, or text where kinds are mixed.

    Lists and objects become null. Files that have no type but text (`written_as_text`) give numbers where every cell
    that is not blank is one.
    """
    kept = [value if isinstance(value, str | int | float) and value == value else None for value in values]
    if written_as_text:
        kept = [None if value is None or not str(value).strip() else value for value in kept]
    present = [value for value in kept if value is not None]
    kinds = {type(value) for value in present}
    if kinds <= {bool}:
        return pl.Series(name, kept, dtype=pl.Boolean)
    if kinds <= {int} and all(abs(value) < 2**63 for value in present if isinstance(value, int)):
        return pl.Series(name, kept, dtype=pl.Int64)
    if kinds <= {int, float, bool} or (written_as_text and all(map(_is_number, present))):
        return pl.Series(name, [None if value is None else _number(value) for value in kept], dtype=pl.Float64)
    return pl.Series(name, [None if value is None else _as_text(value) for value in kept], dtype=pl.String)


def _as_text(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode()
