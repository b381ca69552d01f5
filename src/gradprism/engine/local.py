"""The local engine: one shard after the other, in this process."""

from collections.abc import Callable, Iterable

from gradprism.engine.shards import Shard
from gradprism.tables import Tables

Work = Callable[[Shard], Tables]
Publish = Callable[[int, Tables], None]


def run(shards: Iterable[Shard], work: Work, publish: Publish) -> None:
    """Work through the shards and publish each whole. Stopping at any instant loses only the shard in hand."""
    for shard in shards:
        publish(shard.index, work(shard))
