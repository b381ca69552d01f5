"""Read the chosen rows of one or several sources as examples, and count how they were read."""

import hashlib
import random
import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.data.cells import is_empty, is_missing
from gradprism.data.columns import listed, parse_columns, refuse_unknown_columns, response_parts
from gradprism.data.example import Example, RowProblemError
from gradprism.data.recognise import EXPECTED, find_columns, placeholder_in, refuse_media, scalars_of_unknown
from gradprism.data.record import Record
from gradprism.data.schemas import PAIR_ROLES, ColumnMap, Content, role_rank
from gradprism.data.settings import ReadSettings
from gradprism.data.sources import Source, sources_of


@dataclass(frozen=True)
class SchemaCount:
    """One schema in the data: its name, the number of rows that use each column, and its number of rows."""

    name: str
    uses: Mapping[str, int]
    rows: int


@dataclass(frozen=True)
class ExampleSet:
    """The chosen rows of one or several sources, scanned once and read again as a stream."""

    sources: tuple[Source, ...]
    schemas: tuple[SchemaCount, ...]  # the most frequent first; rows without a schema are in none
    chosen: range | frozenset[int]
    has_ids: bool
    n_unreadable: int
    n_conversations: int  # rows of turns, or with a history: no plain prompt and response
    n_placeholders: (
        int  # rows whose text has the place of a picture, such as <image>, and no picture: it is read as text
    )
    unused: Mapping[str, int]  # rows that hold something in a column, or in a field of a turn, that is not read
    unread_sources: tuple[str, ...]  # sources of which no chosen row can be read
    fingerprint: str  # of the chosen rows' ids and contents, in order
    columns: Mapping[str, str]  # as --columns names them, by role

    def __len__(self) -> int:
        """Count the chosen rows."""
        return len(self.chosen)

    def __iter__(self) -> Iterator[Example]:
        """Read the chosen rows, in the order of the data."""
        return (example for example, _ in self.records())

    def records(self) -> Iterator[tuple[Example, Record]]:
        """Read the chosen rows, each beside the record that it was made of: its own fields, untouched."""
        for row, _, record in _chosen_records(self.sources, self.chosen):
            yield read_row(row, record, self.columns, self.has_ids).example, record


def open_examples(data: Any, settings: ReadSettings) -> ExampleSet:
    """Find the sources, the chosen rows, and the schema of each.

    `data` is a path, URL or hub id, several of them, or Python objects: a list of dicts, a `datasets.Dataset`, a
    polars or pandas frame. Reads the rows once (up to the last chosen one): for their number, how they are read,
    whether `id` is unique among them, and their fingerprint. Holds 8 bytes a row meanwhile, for the ids. Raises
    `GradPrismError` where no row is chosen, or no chosen row has columns of a known meaning.
    """
    columns = parse_columns(settings.columns)
    sources = sources_of(data, settings)
    chosen, scan = _choose_rows(sources, settings), _Scan(columns.get("id", "id"))
    for row, source, record in _chosen_records(sources, chosen):
        scan.add(source, record, read_row(row, record, columns, has_ids=True))
    if not scan.n_rows:
        raise GradPrismError(_no_rows_message(sources, settings))
    if columns:
        _refuse_unknown_names(columns, scan.names, sources)
    if not scan.schemas:
        raise GradPrismError(_no_schema_message(scan))
    return ExampleSet(
        sources=sources,
        schemas=scan.counts(),
        chosen=chosen[: scan.n_rows] if isinstance(chosen, range) else chosen,  # the data may end before the range
        has_ids=scan.id_column in scan.names and len({*scan.ids}) == len(scan.ids),
        n_unreadable=scan.n_unreadable,
        n_conversations=scan.n_conversations,
        n_placeholders=scan.n_placeholders,
        unused=dict(sorted(scan.unused.items())),
        unread_sources=tuple(name for name, n_read in scan.read_of.items() if not n_read),
        fingerprint=scan.content.hexdigest(),
        columns=columns,
    )


@dataclass(frozen=True)
class ReadRow:
    """An example, and how it was read: no columns where the row has no schema, no content where it has a problem."""

    example: Example
    columns: ColumnMap | None = None
    content: Content | None = None


def read_row(row: int, record: Record, columns: Mapping[str, str], has_ids: bool) -> ReadRow:
    """Turn one record into an example; what is wrong with it becomes the example's `problem`."""
    fields: Mapping[str, Any] = record.fields or {}
    id_column = columns.get("id", "id")
    own_id = fields.get(id_column) if has_ids else None
    example_id = str(row) if is_missing(own_id) else _escape_surrogates(str(own_id))
    if record.problem or record.fields is None:
        return ReadRow(Example(row, example_id, problem=_escape_surrogates(record.problem or "no known columns")))
    found: ColumnMap | None = None
    try:
        found = find_columns(fields, columns)
        content = found.read(fields)
        if not {*columns} - {"id"}:  # else the row is read as its user says
            refuse_media(fields, (turn.text for turn in content.turns))
    except (RowProblemError, RecursionError) as problem:
        scalars = found.scalars(fields) if found else scalars_of_unknown(fields)
        scalars.pop(id_column, None)
        return ReadRow(Example(row, example_id, columns=scalars, problem=_escape_surrogates(str(problem))), found)
    scalars = {name: value for name, value in found.scalars(fields).items() if name != id_column}
    return ReadRow(_make_example(row, example_id, scalars, content), found, content)


def _make_example(row: int, example_id: str, columns: Mapping[str, Any], content: Content) -> Example:
    """Return the example; halves of surrogate pairs are a problem, and the turns stay beside it for the hash."""
    return Example(
        row, example_id, content.turns, columns, problem=content.not_unicode,
        tools=content.tools, documents=content.documents, template_options=content.template_options,
        rejected=content.rejected, is_conversation=content.is_conversation,
    )  # fmt: skip


def _escape_surrogates(text: str) -> str:
    """Escape halves of surrogate pairs, which no table can hold."""
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass
class _Scan:
    """Counts of the chosen rows, added up in one pass over them."""

    id_column: str
    n_rows: int = 0
    n_unreadable: int = 0
    n_conversations: int = 0
    n_placeholders: int = 0
    content: Any = field(default_factory=hashlib.sha256)
    ids: "array[int]" = field(default_factory=lambda: array("Q"))
    names: dict[str, None] = field(default_factory=dict)
    schemas: Counter[ColumnMap] = field(default_factory=Counter)
    unused: Counter[str] = field(default_factory=Counter)
    read_of: dict[str, int] = field(default_factory=dict)
    first_problem: tuple[Source, Record, str] | None = None

    def add(self, source: Source, record: Record, read: ReadRow) -> None:
        """Count a row."""
        example, fields = read.example, record.fields or {}
        self.content.update(f"{example.row}\0{example.example_id}\0{example.content_hash}\n".encode())
        self.ids.append(int.from_bytes(hashlib.blake2b(example.example_id.encode(), digest_size=8).digest()))
        self.n_rows += 1
        self.n_unreadable += example.problem is not None
        self.n_conversations += example.is_conversation and not example.problem
        if not example.problem:
            self.n_placeholders += placeholder_in(turn.text for turn in example.turns) is not None
        self.names.update(dict.fromkeys(map(str, fields)))
        self.read_of[source.name] = self.read_of.get(source.name, 0) + (example.problem is None)
        if read.columns is None:
            had_fields = self.first_problem and self.first_problem[1].fields
            if self.first_problem is None or (fields and not had_fields):
                self.first_problem = source, record, str(example.problem)
            return
        self.schemas[read.columns] += 1
        kept = {*read.columns.uses, *example.columns, self.id_column}
        self.unused.update(str(name) for name, value in fields.items() if name not in kept and not is_empty(value))
        if read.content:
            self.unused.update(read.content.unused)

    def counts(self) -> tuple[SchemaCount, ...]:
        """Return the schemas, the most frequent first; pairs are called by all columns that their rows use."""
        kinds: dict[str, list[tuple[ColumnMap, int]]] = {}
        for columns, n_rows in self.schemas.items():
            kinds.setdefault(columns.kind, []).append((columns, n_rows))
        counts = [_add_up(maps) for _, maps in sorted(kinds.items())]
        return tuple(sorted(counts, key=lambda count: -count.rows))


def _add_up(maps: Sequence[tuple[ColumnMap, int]]) -> SchemaCount:
    """Add up the rows of one kind, whose optional columns differ."""
    uses = Counter[tuple[int, str]]()
    for columns, n_rows in maps:
        uses.update({(role_rank(role), name): n_rows for role, names in columns.by_role for name in names})
    ordered = sorted(uses.items())
    pair = " / ".join(name for (rank, name), _ in ordered if rank < len(PAIR_ROLES))
    return SchemaCount(maps[0][0].schema.title or pair, {name: n for (_, name), n in ordered}, sum(n for _, n in maps))


def _chosen_records(sources: Sequence[Source], chosen: range | frozenset[int]) -> Iterator[tuple[int, Source, Record]]:
    stop = chosen.stop if isinstance(chosen, range) else max(chosen) + 1
    pairs = ((source, record) for source in sources for record in source.records())
    for row, (source, record) in enumerate(islice(pairs, stop)):
        if row in chosen:
            yield row, source, record


def _refuse_unknown_names(columns: Mapping[str, str], seen: Mapping[str, None], sources: Sequence[Source]) -> None:
    """Raise `GradPrismError` where no row of the data, chosen or not, has a column that is named."""
    names = [*seen]
    wanted = {name for role, name in columns.items() if role != "response"}
    wanted |= {*response_parts(columns, names)} if "response" in columns else set()
    if not wanted <= {*names}:
        rows = (record.fields or {} for source in sources for record in source.records())
        names = [*dict.fromkeys([*names, *(str(name) for fields in rows for name in fields)])]
        refuse_unknown_columns(columns, names)


def _no_rows_message(sources: Sequence[Source], settings: ReadSettings) -> str:
    names = ", ".join(source.name for source in sources)
    if n_rows := _count_rows(sources):
        return f"No rows chosen: {names} has {n_rows} rows, --rows {settings.rows or 'all'}."
    return f"{names} holds no rows."


def _no_schema_message(scan: _Scan) -> str:
    assert scan.first_problem, "there are rows, and none has a schema"
    source, record, problem = scan.first_problem
    if not record.fields:
        return f"No row of {source.name} can be read. The first problem: {problem}"
    return (
        f"Do not know how to read rows with the columns {listed(map(str, record.fields))}.\n"
        f"The first of {source.name}: {problem}.\n{EXPECTED}"
    )


def _choose_rows(sources: Sequence[Source], settings: ReadSettings) -> range | frozenset[int]:
    """Return the rows that are left of `--rows A:B`, then of the random sample, then of the limit."""
    first, stop = _parse_row_range(settings.rows)
    if settings.sample is None:
        ends = [end for end in (stop, first + settings.limit if settings.limit else None) if end is not None]
        return range(first, min(ends, default=sys.maxsize))
    total = _count_rows(sources) if stop is None else min(stop, _count_rows(sources))
    if settings.sample > max(total - first, 0):
        raise GradPrismError(f"--sample {settings.sample}: there are only {max(total - first, 0)} rows.")
    sample = sorted(random.Random(settings.seed).sample(range(first, total), settings.sample))
    return frozenset(sample[: settings.limit])


def _count_rows(sources: Sequence[Source]) -> int:
    return sum(1 for source in sources for _ in source.records())


def _parse_row_range(text: str | None) -> tuple[int, int | None]:
    if text is None:
        return 0, None
    first, colon, last = text.partition(":")
    with suppress(ValueError):
        bounds = int(first or 0), int(last) if last else None
        if colon and bounds[0] >= 0 and (bounds[1] is None or bounds[0] < bounds[1]):
            return bounds
    raise GradPrismError(f"--rows {text!r}: expected A:B with 0 <= A < B, for example 0:100 or 500:")
