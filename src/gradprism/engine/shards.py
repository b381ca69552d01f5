"""Shards: the units of work that an engine hands out, and a run publishes."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from gradprism.data.example import Example


@dataclass(frozen=True)
class Shard:
    """Consecutive examples; `index` numbers the part of the run that they become."""

    index: int
    examples: tuple[Example, ...]


def cut(examples: Iterable[Example], part_rows: int, done: Container[int]) -> Iterator[Shard]:
    """Cut a stream of examples into shards of `part_rows`, leaving out those already done."""
    stream = iter(examples)
    index = 0
    while taken := tuple(islice(stream, part_rows)):
        if index not in done:
            yield Shard(index, taken)
        index += 1


def n_parts(rows: int, part_rows: int) -> int:
    """How many parts so many rows come to."""
    return -(-rows // part_rows)


def rows_in(parts: Iterable[int], part_rows: int, rows: int) -> int:
    """How many of the `rows` these parts hold; the last part may be shorter."""
    return sum(min(part_rows, rows - index * part_rows) for index in parts)
