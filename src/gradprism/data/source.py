"""Where rows come from, which of them are taken, and the examples they become."""

import hashlib
import random
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from gradprism.data.example import Example, RowProblemError
from gradprism.data.formats import SUFFIXES, Record, data_suffix, file_format, read_file
from gradprism.data.schemas import Schema, find_schema, parse_columns
from gradprism.errors import GradPrismError
from gradprism.places import is_named, is_shared, place
from gradprism.recipe import ReadSettings


@dataclass(frozen=True)
class Source:
    """One file, folder, hub data set or Python collection; `records` starts reading it anew at each call."""

    name: str
    format: str
    records: Callable[[], Iterator[Record]]


@dataclass(frozen=True)
class ExampleSet:
    """The chosen rows of one or several sources, scanned once and read again as a stream."""

    sources: tuple[Source, ...]
    schemas: tuple[Schema | None, ...]  # one a source; None where a source has no readable row
    chosen: range | frozenset[int]
    has_ids: bool
    n_unreadable: int
    n_conversations: int  # rows of turns, or with a history: no plain prompt and response
    fingerprint: str  # of the chosen rows' ids and contents, in order

    def __len__(self) -> int:
        """Count the chosen rows."""
        return len(self.chosen)

    def __iter__(self) -> Iterator[Example]:
        """Read the chosen rows, in the order of the data."""
        return (example for example, _ in self.records())

    def records(self) -> Iterator[tuple[Example, Record]]:
        """Read the chosen rows, each beside the record that it was made of: its own fields, untouched."""
        return _read(self.sources, self.schemas, self.chosen, self.has_ids)


def open_examples(data: Any, settings: ReadSettings) -> ExampleSet:
    """Find the sources, their schemas and the chosen rows.

    `data` is a path, URL or hub id, several of them, or Python objects: a list of dicts, a `datasets.Dataset`, a
    polars or pandas frame. Reads the rows once (up to the last chosen one): for their number, whether `id`
    is unique among them, and their fingerprint. Holds 8 bytes a row meanwhile, for the ids.
    """
    sources = _sources(data, settings)
    columns = parse_columns(settings.columns)
    schemas = tuple(_schema_of(source, columns) for source in sources)
    if not any(schemas):
        raise GradPrismError(_nothing_readable(sources))
    examples = _scan(sources, schemas, _choose(sources, settings))
    if not examples:
        raise GradPrismError(
            f"No rows chosen: {', '.join(source.name for source in sources)} has "
            f"{_count(sources)} rows, --rows {settings.rows or 'all'}."
        )
    return examples


def _scan(
    sources: tuple[Source, ...], schemas: tuple[Schema | None, ...], chosen: range | frozenset[int]
) -> ExampleSet:
    content, ids, n_rows, n_unreadable, n_conversations = hashlib.sha256(), array("Q"), 0, 0, 0
    for example, _ in _read(sources, schemas, chosen, has_ids=True):
        content.update(f"{example.row}\0{example.example_id}\0{example.content_hash}\n".encode())
        ids.append(int.from_bytes(hashlib.blake2b(example.example_id.encode(), digest_size=8).digest()))
        n_rows += 1
        n_unreadable += example.problem is not None
        n_conversations += example.is_conversation
    if isinstance(chosen, range):  # the data may end before the range does
        chosen = chosen[:n_rows]
    unique = len(set(ids)) == len(ids)
    return ExampleSet(sources, schemas, chosen, unique, n_unreadable, n_conversations, content.hexdigest())


def _read(
    sources: tuple[Source, ...],
    schemas: tuple[Schema | None, ...],
    chosen: range | frozenset[int],
    has_ids: bool,
) -> Iterator[tuple[Example, Record]]:
    stop = chosen.stop if isinstance(chosen, range) else max(chosen) + 1
    pairs = ((record, schema) for source, schema in zip(sources, schemas, strict=True) for record in source.records())
    for row, (record, schema) in enumerate(islice(pairs, stop)):
        if row in chosen:
            yield to_example(row, record, schema, has_ids), record


def to_example(row: int, record: Record, schema: Schema | None, has_ids: bool) -> Example:
    """Turn one record into an example; what is wrong with it becomes the example's `problem`."""
    fields: Mapping[str, Any] = record.fields or {}
    own_id = fields.get(schema.id_column) if schema and has_ids else None
    missing = own_id is None or own_id != own_id  # NaN is the empty cell of a pandas frame
    example_id = str(row) if missing else str(own_id).encode("utf-8", "backslashreplace").decode()
    if record.problem or schema is None or record.fields is None:
        return Example(row, example_id, problem=record.problem or "no known columns")
    columns = {name: value for name, value in schema.scalars(fields).items() if name != schema.id_column}
    try:
        return Example(row, example_id, schema.turns(fields), columns)
    except RowProblemError as problem:
        return Example(row, example_id, columns=columns, problem=str(problem))


def _schema_of(source: Source, columns: Mapping[str, str]) -> Schema | None:
    readable = (record.fields for record in source.records() if record.fields)
    first = next(readable, None)
    return None if first is None else find_schema(first, columns)


def _nothing_readable(sources: Sequence[Source]) -> str:
    for source in sources:
        first = next(source.records(), None)
        if first is not None:
            return f"No row of {source.name} can be read. The first problem: {first.problem}"
    return f"{', '.join(source.name for source in sources)} holds no rows."


def _choose(sources: Sequence[Source], settings: ReadSettings) -> range | frozenset[int]:
    """Rows A:B first, then the random sample, then the limit."""
    first, stop = _row_range(settings.rows)
    if settings.sample is None:
        ends = [end for end in (stop, first + settings.limit if settings.limit else None) if end is not None]
        return range(first, min(ends, default=sys.maxsize))
    total = _count(sources) if stop is None else min(stop, _count(sources))
    if settings.sample > max(total - first, 0):
        raise GradPrismError(f"--sample {settings.sample}: there are only {max(total - first, 0)} rows.")
    sample = sorted(random.Random(settings.seed).sample(range(first, total), settings.sample))
    return frozenset(sample[: settings.limit])


def _count(sources: Sequence[Source]) -> int:
    return sum(1 for source in sources for _ in source.records())


def _row_range(text: str | None) -> tuple[int, int | None]:
    if text is None:
        return 0, None
    first, colon, last = text.partition(":")
    with suppress(ValueError):
        bounds = int(first or 0), int(last) if last else None
        if colon and bounds[0] >= 0 and (bounds[1] is None or bounds[0] < bounds[1]):
            return bounds
    raise GradPrismError(f"--rows {text!r}: expected A:B with 0 <= A < B, for example 0:100 or 500:")


def _sources(data: Any, settings: ReadSettings) -> tuple[Source, ...]:
    if is_named(data):
        data = (data,)
    if isinstance(data, Sequence) and data and all(map(is_named, data)):
        return tuple(source for name in data for source in _named(str(name), settings))
    return (_in_memory(data),)


def _in_memory(data: Any) -> Source:
    """A list of dicts, a `datasets.Dataset`, or a polars or pandas frame."""
    if hasattr(data, "iter_rows"):
        rows: Iterable[Any] = data.to_dicts()
    elif hasattr(data, "to_dict") and hasattr(data, "columns"):
        rows = data.to_dict(orient="records")
    else:
        rows = data
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable) or iter(rows) is rows:
        raise GradPrismError(
            f"Cannot read rows from a {type(data).__name__}: expected a path, a hub id, a list of dicts, "
            "a datasets.Dataset or a data frame (not an iterator: the rows are read more than once)."
        )
    return Source("Python objects", type(data).__name__, lambda: (_object_record(row) for row in rows))


def _object_record(row: object) -> Record:
    if isinstance(row, Mapping):
        return Record(row)
    return Record(None, f"a {type(row).__name__}, expected a dict with named columns")


def _named(name: str, settings: ReadSettings) -> Iterator[Source]:
    path = place(name)
    if path.is_dir():
        yield from _folder(path, settings)
    elif path.exists() or data_suffix(path) in SUFFIXES or is_shared(path) or name.startswith((".", "/", "~")):
        if not path.exists():
            raise GradPrismError(f"No such file: {name}")
        yield Source(name, file_format(path), lambda: read_file(path))
    else:
        yield _hub(name, settings)


def _folder(path: Path, settings: ReadSettings) -> Iterator[Source]:
    if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        yield _saved(path, settings)
        return
    files = sorted(file for file in path.iterdir() if data_suffix(file) in SUFFIXES)
    if not files:
        raise GradPrismError(
            f"The folder {path} is neither a saved `datasets` folder nor does it hold data files "
            f"({', '.join(SUFFIXES)})."
        )
    for file in files:
        yield Source(str(file), file_format(file), lambda file=file: read_file(file))  # type: ignore[misc]


def _saved(path: Path, settings: ReadSettings) -> Source:
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise GradPrismError(f"Cannot read the saved data set {path}: {error}") from error
    if settings.split and not isinstance(saved, Mapping):
        raise GradPrismError(f"--split {settings.split}: the saved data set {path} has no splits.")
    loaded = _one_split(saved, str(path), settings.split)
    return Source(str(path), "saved datasets folder", lambda: (Record(row) for row in loaded))


def _hub(name: str, settings: ReadSettings) -> Source:
    import datasets

    try:
        loaded = datasets.load_dataset(name, settings.config, split=settings.split)
    except Exception as error:  # the hub client raises many types; all mean that the data is not to be had
        raise GradPrismError(
            f"{name!r} is no file or folder here, and the hub did not give it: {type(error).__name__}: {error}\n"
            "Expected a data file, a saved `datasets` folder, or a hub id such as owner/name "
            "(with --config and --split where it has several)."
        ) from error
    split = _one_split(loaded, name, settings.split)
    return Source(name, "hub data set", lambda: (Record(row) for row in split))


def _one_split(loaded: Any, name: str, split: str | None) -> Any:
    if not isinstance(loaded, Mapping):
        return loaded
    if split is None and len(loaded) == 1:
        return next(iter(loaded.values()))
    if split not in loaded:
        raise GradPrismError(f"{name} has the splits {', '.join(map(repr, loaded))}; choose one with --split.")
    return loaded[split]
