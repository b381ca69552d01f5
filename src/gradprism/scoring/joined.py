"""Join scores that something else has computed, such as another tool's file, to the rows of a run."""

import hashlib
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import polars as pl

from gradprism.core.errors import GradPrismError, first_line
from gradprism.core.progress import OnBatch
from gradprism.data.example import Example
from gradprism.data.example_set import ExampleSet
from gradprism.files.paths import to_path
from gradprism.metrics.context import MetricContext
from gradprism.metrics.metric import Metric, Plan, Score
from gradprism.metrics.registry import RESERVED_NAMES, known_metrics
from gradprism.prism.measures import known_measures
from gradprism.scoring.settings import ScoreRecipe

_READERS: dict[str, Callable[[io.BytesIO], pl.DataFrame]] = {
    ".parquet": pl.read_parquet,
    ".jsonl": lambda file: pl.read_ndjson(file, infer_schema_length=None),
    ".ndjson": lambda file: pl.read_ndjson(file, infer_schema_length=None),
    ".json": lambda file: pl.read_json(file, infer_schema_length=None),
    ".csv": lambda file: pl.read_csv(file, infer_schema_length=None),
}
_KEYS = {"id": ("example_id", "id"), "row": ("row",)}
_MOST_NAMED = 3


class JoinedColumn(Metric):
    """One column of a file, as a metric of the rows that it names."""

    description = "a column of a file"
    columns: Mapping[str, Any] = {}
    waits = True  # nothing is computed: it is joined in this process, whatever the engine

    def __init__(self, name: str, column: str, file: str, by_row: bool, values: Mapping[Any, float | None]):
        """Make the metric; `values` by row number or example_id."""
        self.name, self.column, self._by_row, self._values = name, column, by_row, values
        digest = hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16]
        self.identity = {"joined.column": column, "joined.values": digest}
        self.about = f"column {column} of {file}"

    @classmethod
    def make(cls, context: MetricContext) -> Self:
        """Raise `GradPrismError`: a column is joined by `gradprism score --from`."""
        raise GradPrismError("A joined column is no metric of its own. Expected gradprism score --from FILE.")

    def score(self, examples: Sequence[Example], on_batch: OnBatch) -> list[Score]:
        """Look up the value of each row."""
        on_batch(len(examples), 0)
        return [self._score_of(self._values[self.key_of(each)]) for each in examples]

    def plan(self, examples: Sequence[Example]) -> Plan:
        """Count the rows."""
        return Plan(len(examples))

    def key_of(self, example: Example) -> Any:
        """Return what names the row in the file."""
        return example.row if self._by_row else example.example_id

    def _score_of(self, value: float | None) -> Score:
        return Score.skipped(f"no value in the column {self.column}") if value is None else Score(value)


def joined_columns(recipe: ScoreRecipe, examples: ExampleSet) -> list[JoinedColumn]:
    """Read the file of a recipe, and return each column as a metric of all rows.

    Raises `GradPrismError` for a file, key or column that cannot be used, keys that are there twice, and rows that the
    file does not have: nothing is joined in part.
    """
    joined = recipe.joined
    assert joined.from_file is not None
    path = to_path(joined.from_file)
    table = _read(path, recipe.joined.on)
    key, by_row = _key_of(joined.on, table, path)
    columns = joined.column or _only_numbers(table, key, path)
    keys = _keys(table, key, by_row, path)
    wanted = [each.row if by_row else each.example_id for each in examples]
    _refuse_duplicates(wanted, "the data")
    in_file = {*keys}
    if missing := [each for each in wanted if each not in in_file]:
        raise GradPrismError(
            f"{path} has no score of {len(missing):,} of the {len(wanted):,} rows: {_named(missing)}. Expected every "
            f"row under {key} (--on {joined.on}); leave rows out of the run with --rows, or add them to the file."
        )
    there = set(wanted)
    found = []
    for column, name in zip(columns, _metric_names(columns, recipe.name), strict=True):
        values = zip(keys, _values(table, column, path), strict=True)
        found.append(JoinedColumn(name, column, path.name, by_row, {k: value for k, value in values if k in there}))
    return found


def joined_names(recipe: ScoreRecipe) -> list[str]:
    """Return the names of the metrics that a recipe joins."""
    assert recipe.joined.from_file is not None
    path = to_path(recipe.joined.from_file)
    table = _read(path, recipe.joined.on)
    key, _ = _key_of(recipe.joined.on, table, path)
    return _metric_names(recipe.joined.column or _only_numbers(table, key, path), recipe.name)


def _read(path: Path, on: str) -> pl.DataFrame:
    """Read a file; ids of a CSV file as they are written there: 007 is not 7."""
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise GradPrismError(f"--from {path}: expected a file that ends in {', '.join(_READERS)}.")
    try:
        table = reader(io.BytesIO(path.read_bytes()))
        if path.suffix == ".csv" and on.rpartition("=")[2] == "id":
            ids = _key_of(on, table, path)[0]
            return pl.read_csv(path, infer_schema_length=None, schema_overrides={ids: pl.String})
        return table
    except (OSError, pl.exceptions.PolarsError) as error:
        raise GradPrismError(f"--from {path} cannot be read: {first_line(error)}") from error


def _key_of(on: str, table: pl.DataFrame, path: Path) -> tuple[str, bool]:
    """Return the column of keys, and whether they are row numbers."""
    named, _, kind = on.rpartition("=")
    if kind not in _KEYS:
        raise GradPrismError(f"--on {on}: expected id or row, or COLUMN=id and COLUMN=row for a column of {path.name}.")
    for name in (named,) if named else _KEYS[kind]:
        if name in table.columns:
            return name, kind == "row"
    raise GradPrismError(
        f"{path} has no column {named or ' or '.join(_KEYS[kind])}, by which its rows would be told (--on {on}). It "
        f"has {', '.join(table.columns)}. Expected --on COLUMN=id or --on COLUMN=row, rows counted from 0."
    )


def _keys(table: pl.DataFrame, key: str, by_row: bool, path: Path) -> list[Any]:
    keys = table[key]
    if by_row and not keys.dtype.is_integer():
        raise GradPrismError(f"{path}: the column {key} is {keys.dtype}; expected row numbers, counted from 0.")
    if keys.dtype.is_nested() or keys.null_count():
        raise GradPrismError(f"{path}: the column {key} has no key in some row. Expected one in each.")
    found = keys.to_list() if by_row else keys.cast(pl.String).to_list()
    _refuse_duplicates(found, str(path))
    return found


def _refuse_duplicates(keys: Sequence[Any], where: str) -> None:
    if len(keys) > len({*keys}):
        twice = pl.Series(keys).value_counts().filter(pl.col("count") > 1).to_series().sort().to_list()
        raise GradPrismError(
            f"{where}: {len(twice):,} keys are there more than once: {_named(twice)}. Expected each once, so that "
            "every row has one score; or --on row."
        )


def _only_numbers(table: pl.DataFrame, key: str, path: Path) -> tuple[str, ...]:
    numbers = [name for name in _paths(table) if name != key]
    if len(numbers) != 1:
        held = ", ".join(numbers) or "its columns, of which none holds numbers"
        raise GradPrismError(f"{path}: expected --column with some of {held}.")
    return tuple(numbers)


def _paths(table: pl.DataFrame) -> Iterator[str]:
    """Yield the columns that hold numbers, and the fields of structures that do, as A.B."""
    for name, kind in table.schema.items():
        if isinstance(kind, pl.Struct):
            yield from (f"{name}.{inner}" for inner in _paths(table[name].struct.unnest()))
        elif kind.is_numeric() or kind == pl.Boolean:
            yield name


def _values(table: pl.DataFrame, column: str, path: Path) -> list[float | None]:
    """Return the values of a column; None for null and NaN, by which pandas writes what is missing."""
    if column not in {*_paths(table)}:
        held = ", ".join(_paths(table)) or "no column of numbers"
        what = f"is {table.schema[column]}, and no number" if column in table.columns else "is not there"
        raise GradPrismError(f"{path}: the column {column} {what}. The file has {held}.")
    values = table
    first, *rest = [column] if column in table.columns else column.split(".")
    series = values[first]
    for name in rest:
        series = series.struct.field(name)
    return [None if each is None or math.isnan(each) else each for each in series.cast(pl.Float64).to_list()]


def _metric_names(columns: Sequence[str], name: str | None) -> list[str]:
    if name and len(columns) > 1:
        raise GradPrismError(f"--name {name} with {len(columns)} columns; expected one column to be named.")
    names = [_metric_name(column, name) for column in columns]
    for made in names:
        if len(alike := [column for column, other in zip(columns, names, strict=True) if other == made]) > 1:
            raise GradPrismError(
                f"The columns {', '.join(alike)} would all be called {made}. Expected each column once, and those of "
                "one name joined one at a time, with --name."
            )
    return names


def _metric_name(column: str, name: str | None) -> str:
    made = name or re.sub(r"[^A-Za-z0-9_-]+", "_", column).strip("_-")
    if made in {*known_metrics(), *RESERVED_NAMES, *known_measures(), "row", "example_id"}:
        raise GradPrismError(
            f"The column {column} would be called {made}, which is the name of a metric or measure that gradprism "
            "computes itself. Expected --name with another one."
        )
    if not made:
        raise GradPrismError(f"The column {column!r} leaves no name. Expected --name: letters, digits, _ and -.")
    return made


def _named(keys: Sequence[Any]) -> str:
    shown = ", ".join(map(repr, keys[:_MOST_NAMED]))
    return shown + (", ..." if len(keys) > _MOST_NAMED else "")
