"""Shards: the units of work that an engine assigns, each of which becomes one part of a run."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Consecutive items, each with its number as `row`, that become the part number `index` of a run."""

    index: int
    examples: tuple[Any, ...]


def cut(examples: Iterable[Any], part_rows: int, done: Container[int]) -> Iterator[Shard]:
    """Cut a stream of items into shards of `part_rows`, without the shards already done."""
    for index, taken in numbered_parts(examples, part_rows):
        if index not in done:
            yield Shard(index, taken)


def numbered_parts(items: Iterable[Item], part_rows: int) -> Iterator[tuple[int, tuple[Item, ...]]]:
    """Yield parts of `part_rows` items with their numbers, counted from 0; the last part may be shorter."""
    stream = iter(items)
    for index in count():
        if not (taken := tuple(islice(stream, part_rows))):
            return
        yield index, taken


def n_parts(rows: int, part_rows: int) -> int:
    """Return the number of parts that `rows` rows are cut into."""
    return -(-rows // part_rows)


def rows_in(parts: Iterable[int], part_rows: int, rows: int) -> int:
    """Return the number of rows in the given parts of a run of `rows` rows."""
    return sum(min(part_rows, rows - index * part_rows) for index in parts)
