"""The local engine: processes one shard after the other, in this process."""

from collections.abc import Iterable
from typing import Any

from gradprism.core.progress import Progress
from gradprism.engine.shards import Shard
from gradprism.engine.task import Account, OnLoaded, Part, Sink, Task


def run(
    shards: Iterable[Shard],
    task: Task[Any, Part],
    sink: Sink[Part],
    progress: Progress,
    account: Account,
    on_loaded: OnLoaded,
) -> None:
    """Process the shards in order and publish each when it is finished; a kill loses the current shard only."""
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
