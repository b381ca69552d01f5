"""How many workers fit, and what each gets; and heads that are reached and serve no connection at first."""

import socket
import threading
import types
from typing import Any

import pytest

from gradprism.core.errors import GradPrismError
from gradprism.engine.ray import cluster
from gradprism.engine.ray.cluster import WorkerShape, connected, plan_workers, wait_for_head
from gradprism.engine.settings import EngineSettings

LAPTOP = [{"CPU": 8.0, "memory": 1.0}]
TWO_GPU_MACHINES = [{"CPU": 64.0, "GPU": 8.0}, {"CPU": 64.0, "GPU": 4.0}, {"CPU": 4.0}]


def planned(nodes: list[dict[str, float]], most: int = 1000, **options: object) -> WorkerShape:
    return plan_workers(EngineSettings(engine="ray", **options), nodes, most)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("nodes", "options", "expected"),
    [
        (LAPTOP, {}, WorkerShape(1, 8, 0)),
        (LAPTOP, {"workers": 2}, WorkerShape(2, 4, 0)),
        (LAPTOP, {"workers": 3}, WorkerShape(3, 2, 0)),
        (LAPTOP, {"cpus_per_worker": 2}, WorkerShape(4, 2, 0)),
        (LAPTOP, {"workers": 16}, WorkerShape(16, 0.5, 0)),
        ([{"CPU": 8.0}, {"CPU": 4.0}], {"workers": 3}, WorkerShape(3, 4, 0)),
        ([{"CPU": 8.0}, {"CPU": 8.0}], {"workers": 3}, WorkerShape(3, 4, 0)),
        (TWO_GPU_MACHINES, {}, WorkerShape(12, 1, 1)),
        (TWO_GPU_MACHINES, {"gpus_per_worker": 2}, WorkerShape(6, 1, 2)),
        (TWO_GPU_MACHINES, {"gpus_per_worker": 0.5, "cpus_per_worker": 2}, WorkerShape(24, 2, 0.5)),
        (TWO_GPU_MACHINES, {"gpus_per_worker": 0, "cpus_per_worker": 4}, WorkerShape(33, 4, 0)),
        (TWO_GPU_MACHINES, {"gpus_per_worker": 0.2}, WorkerShape(60, 1, 0.2)),
        ([{"CPU": 4.0, "GPU": 8.0}], {}, WorkerShape(4, 1, 1)),
        (TWO_GPU_MACHINES, {"workers": 2}, WorkerShape(2, 1, 1)),
    ],
)
def test_workers_fill_the_cluster(
    nodes: list[dict[str, float]], options: dict[str, float], expected: WorkerShape
) -> None:
    assert planned(nodes, **options) == expected


def test_no_more_workers_than_shards() -> None:
    assert planned(LAPTOP, most=3, cpus_per_worker=1).workers == 3


@pytest.mark.parametrize("options", [{"gpus_per_worker": 1}, {"cpus_per_worker": 9}])
def test_more_than_this_machine_has_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(GradPrismError, match="this machine has"):
        planned(LAPTOP, **options)


def test_a_cluster_may_grow_to_what_is_asked_for() -> None:
    assert planned([{"CPU": 4.0}], address="auto", workers=8, gpus_per_worker=1) == WorkerShape(8, 1, 1)


@pytest.mark.parametrize("options", [{}, {"workers": 4}, {"gpus_per_worker": 1}])
def test_a_bare_head_says_nothing_about_its_workers(options: dict[str, float]) -> None:
    with pytest.raises(GradPrismError, match="--workers N together with --gpus-per-worker"):
        planned([{"CPU": 0.0}], address="auto", **options)
    assert planned([{"CPU": 0.0}], address="auto", workers=64, gpus_per_worker=1) == WorkerShape(64, 1, 1)


def test_options_of_the_cluster_without_it_are_refused() -> None:
    with pytest.raises(ValueError, match="workers: only for the Ray engine; add --engine ray"):
        EngineSettings(workers=2)


class BusyHead:
    """Stands in for Ray where a head cannot start what serves a connection; no real one does so on demand."""

    exceptions = types.SimpleNamespace(RayError=KeyError)

    def __init__(self, failures: int):
        self.failures, self.tries, self.stopped = failures, 0, False

    def is_initialized(self) -> bool:
        return False

    def init(self, **_: Any) -> None:
        self.tries += 1
        if self.tries <= self.failures:
            raise ConnectionAbortedError("Initialization failure from server:\nTraceback ...\nZombieProcess: pid=7\n")

    def shutdown(self) -> None:
        self.stopped = True


def join(ray: BusyHead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "need", lambda *_: ray)
    monkeypatch.setattr(cluster, "_PAUSE", 0.0)
    with connected(EngineSettings(engine="ray", address="ray://head:10001")):
        assert not ray.stopped


def test_a_head_that_is_busy_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = BusyHead(failures=2)
    join(ray, monkeypatch)
    assert ray.tries == 3
    assert ray.stopped


def test_a_head_that_never_serves_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = BusyHead(failures=100)
    with pytest.raises(GradPrismError, match="no Ray cluster was reached: ZombieProcess: pid=7"):
        join(ray, monkeypatch)
    assert ray.tries < 10
    assert ray.stopped


def with_head_at(port: int, *, client: bool = False) -> Any:
    """Ray as far as it is asked where its head is."""
    context = types.SimpleNamespace(gcs_address=f"127.0.0.1:{port}")
    connection = types.SimpleNamespace(ray=types.SimpleNamespace(is_connected=lambda: client))
    return types.SimpleNamespace(
        get_runtime_context=lambda: context, util=types.SimpleNamespace(client=connection)
    )  # fmt: skip


def test_a_head_that_is_gone_is_named_before_ray_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "HEAD_PATIENCE", 0.1)
    monkeypatch.setattr(cluster, "TICK", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as head:
        port = head.getsockname()[1]
        wait_for_head(with_head_at(port))
    with pytest.raises(ConnectionError, match=rf"its head at 127\.0\.0\.1:{port} has not answered for 0\.1 s"):
        wait_for_head(with_head_at(port))
    wait_for_head(with_head_at(port, client=True))


def test_a_head_that_comes_back_in_time_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "TICK", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = head.getsockname()
    later = threading.Timer(0.2, lambda: heads.append(socket.create_server(address)))
    heads = list[socket.socket]()
    later.start()
    try:
        wait_for_head(with_head_at(address[1]))
        assert heads
    finally:
        later.join()
        for each in heads:
            each.close()
