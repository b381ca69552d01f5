"""Whatever dies, and whenever: every row comes back once, and only what kills is given up."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradprism.data.example import Example
from gradprism.engine.ray.shard_queue import MOST_CRASHES, MOST_LOSSES, TRIES, Piece, ShardQueue
from gradprism.engine.shards import Shard
from tests.engine.noted_work import Rows, joined, nothing, work_with

WORK = work_with(nothing)


def shards(n: int, size: int) -> list[Shard]:
    examples = [Example(row, str(row)) for row in range(n * size)]
    return [Shard(i, tuple(examples[i * size : (i + 1) * size])) for i in range(n)]


def rows_of(piece: Piece) -> Rows:
    return [(example.row, None) for example in piece.examples]


def worked_through(queue: ShardQueue[Rows], poison: set[int], accidents: Sequence[int] = ()) -> dict[int, Rows]:
    """What is published where some rows kill their worker, and some calls do by accident."""
    published: dict[int, Rows] = {}

    def publish(parts: list[tuple[int, Rows]]) -> None:
        for index, part in parts:
            assert index not in published
            published[index] = part

    calls = 0
    while (piece := queue.next()) is not None:
        calls += 1
        assert calls < 10_000
        if poison & {example.row for example in piece.examples} or calls in accidents:
            queue.crashed(piece, "killed")
        else:
            publish(queue.done(piece, rows_of(piece)))
    assert queue.are_finished
    publish(queue.remaining())
    return published


@given(poison=st.sets(st.integers(0, 63), max_size=2), size=st.sampled_from([1, 2, 7, 32]))
def test_rows_that_kill_are_found_and_every_row_comes_back_once(poison: set[int], size: int) -> None:
    n = 64 // size
    poison = {row for row in poison if row < n * size}
    published = worked_through(ShardQueue(shards(n, size), WORK), poison)
    assert sorted(published) == list(range(n))
    rows = joined(list(published.values()))
    assert [row for row, _ in rows] == list(range(n * size))
    assert {row for row, reason in rows if reason} == poison
    assert all(part == sorted(part) for part in published.values())


@given(accidents=st.lists(st.integers(1, 12), unique=True, max_size=TRIES - 1))
def test_accidents_cost_no_row(accidents: list[int]) -> None:
    queue = ShardQueue(shards(4, 8), WORK)
    published = worked_through(queue, set(), accidents)
    assert all(reason is None for part in published.values() for _, reason in part)
    assert queue.n_failed == 0


def test_a_shard_that_always_kills_ends_and_the_others_are_whole() -> None:
    queue = ShardQueue(shards(3, 32), WORK)
    published = worked_through(queue, set(range(32, 64)))
    assert {row for row, reason in published[1] if reason} == set(range(32, 64))
    assert all(reason is None for index in (0, 2) for _, reason in published[index])
    assert queue.n_failed == 32
    reasons = {reason for _, reason in published[1]}
    assert f"{MOST_CRASHES} workers died on its shard: killed" in reasons


@pytest.mark.parametrize("size", [1, 4, 8, 32])
def test_a_shard_costs_no_more_workers_than_it_is_given(size: int) -> None:
    queue, crashes = ShardQueue(shards(1, size), WORK), 0
    while (piece := queue.next()) is not None:
        queue.crashed(piece, "killed")
        crashes += 1
    assert crashes <= MOST_CRASHES
    assert [row for _, part in queue.remaining() for row, _ in part] == list(range(size))


def test_rows_are_not_given_up_before_something_has_been_finished() -> None:
    queue = ShardQueue(shards(2, 4), WORK)
    while (piece := queue.next()) is not None and piece.index == 0:
        queue.crashed(piece, "no room")
    assert piece is not None
    assert not queue.are_finished  # had this been the machine, nothing would have been published
    published = queue.done(piece, rows_of(piece))
    assert sorted(index for index, _ in published) == [0, 1]


def test_a_node_that_goes_says_nothing_about_the_rows_it_had() -> None:
    queue = ShardQueue(shards(1, 4), WORK)
    for _ in range(MOST_LOSSES):
        piece = queue.next()
        assert piece is not None
        assert piece.is_whole
        assert piece.tries == 0
        queue.crashed(piece, "its node went", with_its_node=True)
    last = queue.next()
    assert last is not None
    assert queue.done(last, rows_of(last)) == [(0, rows_of(last))]
    assert queue.retries == MOST_LOSSES


def test_a_part_that_its_worker_has_published_is_not_published_again() -> None:
    queue = ShardQueue(shards(1, 4), WORK)
    piece = queue.next()
    assert piece is not None
    assert queue.next() is None
    assert not queue.are_finished
    assert queue.done(piece, None) == []
    assert queue.are_finished


def test_what_dies_is_done_again_before_anything_new() -> None:
    queue = ShardQueue(shards(2, 2), WORK)
    first = queue.next()
    assert first is not None
    queue.crashed(first, "killed")
    again = queue.next()
    assert again is not None
    assert (again.index, again.tries) == (0, 1)


@pytest.mark.parametrize("size", [32, 3])
def test_one_row_that_kills_costs_few_workers(size: int) -> None:
    queue = ShardQueue(shards(1, size), WORK)
    worked_through(queue, {1})
    assert queue.retries <= TRIES + 6
