"""The local engine: one shard after the other, in this process."""

from collections.abc import Callable, Iterable

from gradprism.engine.shards import Shard
from gradprism.engine.work import Account, Part, Watch, Work


def run(
    shards: Iterable[Shard], work: Work[Part], publish: Callable[[int, Part], None], watch: Watch, account: Account
) -> None:
    """Work through the shards and publish each whole. Stopping at any instant loses only the shard in hand."""
    worker = work.load(watch.say)
    account.device = worker.device

    def on_batch(examples: int, tokens: int) -> None:
        account.examples += examples
        account.tokens += tokens
        watch.note(worker.note)
        watch.batch(examples, tokens)

    watch.begin(worker.found)
    try:
        for shard in shards:
            publish(shard.index, worker(shard.examples, on_batch))
    finally:
        account.device = worker.device
