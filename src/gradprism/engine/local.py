"""The local engine: one shard after the other, in this process."""

from collections.abc import Iterable

from gradprism.core.progress import Progress
from gradprism.engine.shards import Shard
from gradprism.engine.task import Account, OnLoaded, Part, Sink, Task


def run(
    shards: Iterable[Shard],
    task: Task[Part],
    sink: Sink[Part],
    progress: Progress,
    account: Account,
    on_loaded: OnLoaded,
) -> None:
    """Work through the shards and publish each whole. Stopping at any instant loses only the shard in hand."""
    task.load(progress.say)
    account.device = task.device

    def on_batch(examples: int, tokens: int) -> None:
        account.examples += examples
        account.tokens += tokens
        progress.note(task.note)
        progress.batch(examples, tokens)

    on_loaded(task.found)
    try:
        for shard in shards:
            sink.publish(shard.index, task.run(shard.examples, on_batch))
    finally:
        account.device = task.device
