"""The Ray engine against real faults, on a real cluster of this machine; the work itself is a toy.

What the same faults do to a run of gradients: tests/engine/test_ray_runs.py.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gradprism.core.errors import GradPrismError
from tests.engine.noted_work import (
    Listening,
    device_lost_at,
    killed_at,
    out_of_memory_at,
    refused,
    refused_at,
    refused_once,
    slowly,
    unloadable,
    work_with,
)
from tests.engine.ray_clusters import Finished, own_cluster

pytestmark = [pytest.mark.slow, pytest.mark.cluster]  # each worker is a process of its own


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with own_cluster(gpus=2) as ray:
        yield ray


def test_every_shard_comes_back_once_and_is_counted() -> None:
    run = Finished(work_with(partial(slowly, 0.1)))
    assert run.rows == list(range(40))
    assert not run.failed
    assert (run.watch.examples, run.watch.tokens) == (40, 400)
    assert (run.account.examples, run.account.tokens, run.account.workers, run.account.retries) == (40, 400, 2, 0)
    assert run.account.device == "here"
    assert run.account.peak_memory_mib


def test_workers_killed_in_the_middle_of_shards(tmp_path: Path) -> None:
    run = Finished(work_with(partial(killed_at, frozenset({5, 6, 18, 33}), tmp_path)))
    assert run.rows == list(range(40))
    assert not run.failed
    assert run.account.retries == 4
    assert run.watch.examples == 40
    assert any("4 retries" in said for said in run.watch.said)


def test_a_row_that_always_kills_ends_as_the_one_failed_row() -> None:
    run = Finished(work_with(partial(killed_at, frozenset({13}), None)))
    assert run.rows == list(range(40))
    assert set(run.failed) == {13}
    assert "workers died on its shard" in run.failed[13]
    assert run.watch.examples == 40


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.exhaustive)])  # 7 deaths, and 13
def test_a_shard_that_always_kills_ends_as_failed_rows(size: int) -> None:
    kills = frozenset(range(2 * size, 3 * size))
    run = Finished(work_with(partial(killed_at, kills, None)), n=4 * size, size=size)
    assert run.rows == list(range(4 * size))
    assert set(run.failed) == kills


def test_a_device_that_fails_is_left_for_another(tmp_path: Path) -> None:
    run = Finished(work_with(partial(device_lost_at, 9, tmp_path)))
    assert run.rows == list(range(40))
    assert not run.failed
    assert run.account.retries == 1


def test_a_worker_without_memory_is_left_for_another(tmp_path: Path) -> None:
    run = Finished(work_with(partial(out_of_memory_at, 9, tmp_path)))
    assert run.rows == list(range(40))
    assert not run.failed
    assert run.account.retries == 1
    assert any("MemoryError" in said for said in run.watch.said)


def test_a_model_that_no_worker_can_load_ends_the_run_in_its_own_words() -> None:
    with pytest.raises(GradPrismError, match="No model at /nowhere"):
        Finished(refused())


def test_a_worker_that_cannot_load_the_model_is_done_without(tmp_path: Path) -> None:
    run = Finished(refused_once(tmp_path / "mark"))
    assert run.rows == list(range(40))
    assert run.account.workers == 1
    assert any("1 of 2 workers" in said and "CUDA out of memory" in said for said in run.watch.said)


def test_where_nothing_can_be_finished_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradprism.engine.ray.scheduler.MOST_CRASHES", 2)  # each crash is a new process
    published: list[int] = []
    with pytest.raises(GradPrismError, match="workers died one after the other") as caught:
        Finished(work_with(partial(killed_at, frozenset(range(200)), None)), n=200, published=published)
    assert not published
    assert "--batch-tokens" in str(caught.value)


def test_what_no_worker_can_do_ends_the_run_in_its_own_words() -> None:
    with pytest.raises(GradPrismError, match="this can never work") as caught:
        Finished(work_with(partial(refused_at, 9)))
    assert "Traceback" not in str(caught.value)


def test_a_model_that_fits_no_worker_is_given_up() -> None:
    with pytest.raises(GradPrismError, match="died while they loaded the model") as caught:
        Finished(unloadable())
    assert "--gpus-per-worker" in str(caught.value)


def test_an_interrupt_stops_it() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Finished(work_with(partial(slowly, 0.2)), watch=Listening(on_batch=interrupt))
