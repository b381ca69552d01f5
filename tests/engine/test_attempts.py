"""Whatever dies, and whenever: every row comes back once, and only what kills is given up."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradprism.data.example import Example
from gradprism.engine.ray.attempts import MOST_DEATHS, MOST_LOSSES, TRIES, Attempts, Piece
from gradprism.engine.shards import Shard
from tests.engine.noted_work import Rows, joined, nothing, work_with

WORK = work_with(nothing)


def shards(n: int, size: int) -> list[Shard]:
    examples = [Example(row, str(row)) for row in range(n * size)]
    return [Shard(i, tuple(examples[i * size : (i + 1) * size])) for i in range(n)]


def rows_of(piece: Piece) -> Rows:
    return [(example.row, None) for example in piece.examples]


def worked_through(attempts: Attempts[Rows], poison: set[int], accidents: Sequence[int] = ()) -> dict[int, Rows]:
    """What is published where some rows kill their worker, and some calls do by accident."""
    published: dict[int, Rows] = {}

    def publish(parts: list[tuple[int, Rows]]) -> None:
        for index, part in parts:
            assert index not in published
            published[index] = part

    calls = 0
    while (piece := attempts.next()) is not None:
        calls += 1
        assert calls < 10_000
        if poison & {example.row for example in piece.examples} or calls in accidents:
            attempts.died(piece, "killed")
        else:
            publish(attempts.done(piece, rows_of(piece)))
    assert attempts.are_finished
    publish(attempts.remaining())
    return published


@given(poison=st.sets(st.integers(0, 63), max_size=2), size=st.sampled_from([1, 2, 7, 32]))
def test_rows_that_kill_are_found_and_every_row_comes_back_once(poison: set[int], size: int) -> None:
    n = 64 // size
    poison = {row for row in poison if row < n * size}
    published = worked_through(Attempts(shards(n, size), WORK), poison)
    assert sorted(published) == list(range(n))
    rows = joined(list(published.values()))
    assert [row for row, _ in rows] == list(range(n * size))
    assert {row for row, reason in rows if reason} == poison
    assert all(part == sorted(part) for part in published.values())


@given(accidents=st.lists(st.integers(1, 12), unique=True, max_size=TRIES - 1))
def test_accidents_cost_no_row(accidents: list[int]) -> None:
    attempts = Attempts(shards(4, 8), WORK)
    published = worked_through(attempts, set(), accidents)
    assert all(reason is None for part in published.values() for _, reason in part)
    assert attempts.n_failed == 0


def test_a_shard_that_always_kills_ends_and_the_others_are_whole() -> None:
    attempts = Attempts(shards(3, 32), WORK)
    published = worked_through(attempts, set(range(32, 64)))
    assert {row for row, reason in published[1] if reason} == set(range(32, 64))
    assert all(reason is None for index in (0, 2) for _, reason in published[index])
    assert attempts.n_failed == 32
    reasons = {reason for _, reason in published[1]}
    assert f"{MOST_DEATHS} workers died on its shard: killed" in reasons


@pytest.mark.parametrize("size", [1, 4, 8, 32])
def test_a_shard_costs_no_more_workers_than_it_is_given(size: int) -> None:
    attempts, deaths = Attempts(shards(1, size), WORK), 0
    while (piece := attempts.next()) is not None:
        attempts.died(piece, "killed")
        deaths += 1
    assert deaths <= MOST_DEATHS
    assert [row for _, part in attempts.remaining() for row, _ in part] == list(range(size))


def test_rows_are_not_given_up_before_something_has_been_finished() -> None:
    attempts = Attempts(shards(2, 4), WORK)
    while (piece := attempts.next()) is not None and piece.index == 0:
        attempts.died(piece, "no room")
    assert piece is not None
    assert not attempts.are_finished  # had this been the machine, nothing would have been published
    published = attempts.done(piece, rows_of(piece))
    assert sorted(index for index, _ in published) == [0, 1]


def test_a_node_that_goes_says_nothing_about_the_rows_it_had() -> None:
    attempts = Attempts(shards(1, 4), WORK)
    for _ in range(MOST_LOSSES):
        piece = attempts.next()
        assert piece is not None
        assert piece.is_whole
        assert piece.tries == 0
        attempts.died(piece, "its node went", with_its_node=True)
    last = attempts.next()
    assert last is not None
    assert attempts.done(last, rows_of(last)) == [(0, rows_of(last))]
    assert attempts.retries == MOST_LOSSES


def test_a_part_that_its_worker_has_published_is_not_published_again() -> None:
    attempts = Attempts(shards(1, 4), WORK)
    piece = attempts.next()
    assert piece is not None
    assert attempts.next() is None
    assert not attempts.are_finished
    assert attempts.done(piece, None) == []
    assert attempts.are_finished


def test_what_dies_is_done_again_before_anything_new() -> None:
    attempts = Attempts(shards(2, 2), WORK)
    first = attempts.next()
    assert first is not None
    attempts.died(first, "killed")
    again = attempts.next()
    assert again is not None
    assert (again.index, again.tries) == (0, 1)


@pytest.mark.parametrize("size", [32, 3])
def test_one_row_that_kills_costs_few_workers(size: int) -> None:
    attempts = Attempts(shards(1, size), WORK)
    worked_through(attempts, {1})
    assert attempts.retries <= TRIES + 6
