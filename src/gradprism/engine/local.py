"""The local engine: one shard after the other, in this process."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from gradprism.engine.shards import Shard

Part = TypeVar("Part")


def run(shards: Iterable[Shard], work: Callable[[Shard], Part], publish: Callable[[int, Part], None]) -> None:
    """Work through the shards and publish each whole. Stopping at any instant loses only the shard in hand."""
    for shard in shards:
        publish(shard.index, work(shard))
