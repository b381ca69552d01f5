"""Shards: the units of work that an engine hands out, and a run publishes."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import TypeVar

from gradprism.data.example import Example

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Consecutive examples; `index` numbers the part of the run that they become."""

    index: int
    examples: tuple[Example, ...]


def cut(examples: Iterable[Example], part_rows: int, done: Container[int]) -> Iterator[Shard]:
    """Cut a stream of examples into shards of `part_rows`, leaving out those already done."""
    for index, taken in numbered_parts(examples, part_rows):
        if index not in done:
            yield Shard(index, taken)


def numbered_parts(items: Iterable[Item], part_rows: int) -> Iterator[tuple[int, tuple[Item, ...]]]:
    """Cut a stream into parts of `part_rows`, the last one shorter, each with its number."""
    stream = iter(items)
    for index in count():
        if not (taken := tuple(islice(stream, part_rows))):
            return
        yield index, taken


def n_parts(rows: int, part_rows: int) -> int:
    """How many parts so many rows come to."""
    return -(-rows // part_rows)


def rows_in(parts: Iterable[int], part_rows: int, rows: int) -> int:
    """How many of the `rows` these parts hold; the last part may be shorter."""
    return sum(min(part_rows, rows - index * part_rows) for index in parts)
