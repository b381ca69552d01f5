from collections.abc import Iterator

from gradprism.data.example import Example
from gradprism.engine.local import run
from gradprism.engine.shards import Shard, cut
from gradprism.engine.task import Account
from tests.engine.noted_work import Listening, Rows, noted_work


def examples(n: int) -> list[Example]:
    return [Example(row, str(row)) for row in range(n)]


def test_shards_keep_their_numbers_when_some_are_done() -> None:
    shards = list(cut(examples(10), 4, {0}))
    assert [(shard.index, [example.row for example in shard.examples]) for shard in shards] == [
        (1, [4, 5, 6, 7]),
        (2, [8, 9]),
    ]


def test_the_engine_takes_a_shard_at_a_time_and_publishes_it_before_the_next() -> None:
    events: list[str] = []

    def stream() -> Iterator[Shard]:
        for shard in cut(examples(6), 2, set()):
            events.append(f"take {shard.index}")
            yield shard

    class Publishing:
        publish_elsewhere = None

        def publish(self, index: int, part: Rows) -> None:
            events.append(f"publish {index}")

        def check(self) -> None:
            """It is held."""

    account, progress = Account(), Listening()
    run(stream(), noted_work(events), Publishing(), progress, account, progress.begin)
    assert events == ["load", *(f"{what} {i}" for i in range(3) for what in ("take", "work", "publish"))]
    assert (account.examples, account.tokens, account.device) == (6, 60, "here")
