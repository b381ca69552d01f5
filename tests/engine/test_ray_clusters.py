"""The Ray engine on clusters that lose a machine, run out of memory, are its own, or are not there."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from gradprism.core.errors import GradPrismError
from gradprism.engine.settings import EngineSettings
from tests.conftest import ROOT
from tests.engine.noted_work import Listening, devouring_at, nothing, slowly, work_with
from tests.engine.ray_clusters import Finished, Head, free_port, importable, own_cluster

pytestmark = [pytest.mark.slow, pytest.mark.cluster]  # each worker is a process of its own


@pytest.fixture
def ray() -> Iterator[Any]:
    found = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with importable():
        yield found


def test_a_worker_out_of_memory_is_replaced(ray: Any, tmp_path: Path) -> None:
    """Ray's own monitor kills it: a limit just above what the machine uses now, and a worker that takes 3 GiB more."""
    memory = psutil.virtual_memory()
    if memory.available < 6 << 30:
        pytest.skip(f"needs 6 GiB of free memory; this machine has {memory.available / 2**30:.1f}")
    limit = (memory.total - memory.available + (2 << 30)) / memory.total
    with own_cluster(gpus=2, memory_usage_threshold=limit, memory_monitor_refresh_ms=100):
        run = Finished(work_with(partial(devouring_at, 21, tmp_path, 3)))
    assert run.rows == list(range(40))
    assert not run.failed
    assert run.account.retries >= 1
    assert any("out of memory" in said for said in run.watch.said)


def test_a_node_of_the_cluster_is_removed(ray: Any) -> None:
    """One that is at work: on a busy machine the worker of the other may not have begun."""
    from ray._private import state
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = {node.node_id: node for node in (cluster.add_node(num_cpus=1, num_gpus=1) for _ in range(2))}
    removed: list[str] = []

    def remove_one_early() -> None:
        if watch.examples >= 6 and not removed:
            alive = (actor for actor in state.actors().values() if actor["State"] == "ALIVE")
            removed.append(next(actor["Address"]["NodeID"] for actor in alive))
            cluster.remove_node(nodes[removed[0]], allow_graceful=False)

    watch = Listening(on_batch=remove_one_early)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        run = Finished(work_with(partial(slowly, 0.15)), watch=watch)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert removed
    assert run.rows == list(range(40))
    assert not run.failed
    assert run.account.retries >= 1


def test_a_cluster_of_its_own_starts_and_stops(ray: Any) -> None:
    run = Finished(work_with(nothing), n=8)
    assert run.rows == list(range(8))
    assert not ray.is_initialized()
    assert "Starting Ray on this machine" in run.watch.said


@pytest.mark.exhaustive  # 20 s
def test_from_outside_the_cluster() -> None:
    """As ray://: a cluster of its own processes, and this one with nothing but a connection."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}  # Ray leaves some here
    environment = {**kept, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0",
                   "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "180"}  # fmt: skip
    port = free_port()
    inside = (
        "from functools import partial\nfrom tests.engine.noted_work import slowly, work_with\n"
        "from tests.engine.ray_clusters import Finished\n"
        f"run = Finished(work_with(partial(slowly, 0.05)), address='ray://127.0.0.1:{port}')\n"
        "assert run.rows == list(range(40)), run.rows\nassert run.watch.examples == 40\n"
    )
    with Head(environment, port, "--port=0", f"--ray-client-server-port={port}") as head:
        done = subprocess.run([sys.executable, "-c", inside], env=environment, capture_output=True, text=True,
                              timeout=900, check=False)  # fmt: skip
        logs = head.folder.glob("session_latest/logs/ray_client_server*")
        served = "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in sorted(logs))
    assert done.returncode == 0, f"{done.stderr[-2000:]}\n{served}"


def test_an_address_where_nobody_answers_is_refused(ray: Any) -> None:
    from gradprism.engine.ray.cluster import connected

    settings = EngineSettings(engine="ray", address="auto")
    with pytest.raises(GradPrismError, match="--address auto: no Ray cluster was reached"), connected(settings):
        pass
