"""Connect to a Ray cluster, or start one on this machine, and plan the workers that fit in it."""

import math
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from gradprism.core.errors import GradPrismError, first_line
from gradprism.core.optional import need
from gradprism.engine.ray.failures import last_line
from gradprism.engine.settings import EngineSettings

# Read by Ray when it is imported and started. Dead workers are reported by the scheduler, not by Ray's own log.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*(worker died or was killed|[Ww]orkers? .*killed due to memory pressure)",
}

TICK = 0.5
"""Seconds between two requests for the progress of the workers."""
HEAD_PATIENCE = 15.0
"""Seconds that the head of a cluster may be unreachable. After 60 Ray itself ends this process, without a message."""

# A busy head node that is reached by ray:// may fail to start the process that serves the connection.
_CONNECTION_TRIES, _PAUSE = 4, 3.0  # seconds


@dataclass(frozen=True)
class WorkerShape:
    """The number of workers, and the CPUs and GPUs of each."""

    workers: int
    cpus: float
    gpus: float


@contextmanager
def connected(settings: EngineSettings) -> Iterator[Any]:
    """Connect Ray to the cluster at `settings.address`, or to a new one on this machine that ends with the context.

    A connection that the calling program has opened already is used and not closed. Raises `GradPrismError` where Ray
    is not installed or the cluster cannot be reached.
    """
    with _environment():
        ray = need("ray", "ray")
        if ray.is_initialized():
            yield ray
            return
        try:
            _connect(ray, settings)
            yield ray
        finally:  # also after an incomplete start
            ray.shutdown()


@contextmanager
def _environment() -> Iterator[None]:
    """Set those environment variables of Ray that the user has not set, and unset them afterwards."""
    ours = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _connect(ray: Any, settings: EngineSettings) -> None:
    own = {} if settings.address else {"include_dashboard": False}
    try:
        for tries_left in reversed(range(_CONNECTION_TRIES)):
            try:
                ray.init(address=settings.address or "local", log_to_driver=False, logging_level="ERROR", **own)
                return
            except ConnectionAbortedError:
                if not tries_left:
                    raise
                time.sleep(_PAUSE)
    except (ray.exceptions.RayError, ConnectionError, OSError, RuntimeError, ValueError, TimeoutError) as error:
        why = last_line(error) if isinstance(error, ConnectionAbortedError) else first_line(error)
        raise GradPrismError(
            f"--address {settings.address or '(none)'}: no Ray cluster was reached: {why}\n"
            "Expected `auto` on a machine of the cluster, ray://HEAD:10001 from elsewhere, or no --address for a "
            "new cluster on this machine. For a cluster that requires a token (Ray 2.60 does by default), set "
            "RAY_AUTH_MODE=token, and the token in RAY_AUTH_TOKEN or ~/.ray/auth_token."
        ) from error


def plan_workers(settings: EngineSettings, nodes: Sequence[Mapping[str, float]], most: int) -> WorkerShape:
    """Plan the number of workers, and the CPUs and GPUs of each.

    `nodes` are the resources of each machine, `most` is the number of shards.

    By default a worker takes one GPU; in a cluster without GPUs, all CPUs of a machine, or a share of them where the
    number of workers is given. Raises `GradPrismError` where this machine has less than one worker takes, or where an
    autoscaling cluster has no machine yet to plan by.
    """
    gpus = [node.get("GPU", 0.0) for node in nodes]
    cpus = [node.get("CPU", 0.0) for node in nodes]
    given = (settings.gpus_per_worker, settings.cpus_per_worker)
    if not sum(gpus) + sum(cpus) and (given == (None, None) or settings.workers is None):
        raise GradPrismError(
            "The Ray cluster has no free machine yet, so the resources of a worker cannot be planned. Expected "
            "--workers N together with --gpus-per-worker or --cpus-per-worker; the cluster then grows to fit."
        )
    each_gpus = float(bool(sum(gpus))) if given[0] is None else given[0]
    if each_gpus:
        each_cpus = 1.0 if given[1] is None else given[1]
    else:
        each_cpus = given[1] or _cpus_per_worker(cpus, settings.workers or sum(n >= 1 for n in cpus))
    if settings.address is None:
        _refuse_missing_resources(each_gpus, max(gpus, default=0.0), "GPU")
        _refuse_missing_resources(each_cpus, max(cpus, default=0.0), "CPU")
    fitting = sum(_count_fitting_workers(each_gpus, each_cpus, *has) for has in zip(gpus, cpus, strict=True))
    return WorkerShape(min(settings.workers or max(fitting, 1), most), each_cpus, each_gpus)


def _refuse_missing_resources(each: float, has: float, what: str) -> None:
    if each > has:
        raise GradPrismError(f"--{what.lower()}s-per-worker {each:g}: this machine has {has:g} {what}s.")


def _count_fitting_workers(each_gpus: float, each_cpus: float, gpus: float, cpus: float) -> int:
    """Return how many workers fit on one machine. A fifth of a GPU fits five times, in spite of binary rounding."""
    kinds = ((each_gpus, gpus), (each_cpus, cpus))
    return min(math.floor(has / each + 1e-9) for each, has in kinds if each)


def _cpus_per_worker(cpus: Sequence[float], workers: int) -> float:
    """Return the largest whole number of CPUs that each worker can have; a fraction if there are fewer CPUs."""
    for each in range(int(max(cpus, default=1)), 0, -1):
        if sum(n // each for n in cpus) >= workers:
            return float(each)
    return max(int(1000 * sum(cpus) / max(workers, 1)) / 1000, 0.001)


def resources_of_nodes(ray: Any) -> list[Mapping[str, float]]:
    """Return the resources of each live machine of the cluster, by name."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def wait_for_head(ray: Any) -> None:
    """Wait until the head of the cluster can be reached; raises `ConnectionError` after `HEAD_PATIENCE` seconds.

    Called before requests that only the head can answer: Ray waits in these until it ends this process. A ray:// client
    has a connection to the head alone, and notices by itself.
    """
    if ray.util.client.ray.is_connected():
        return
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    end = time.monotonic() + HEAD_PATIENCE
    while True:
        with suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), timeout=TICK):
            return
        if time.monotonic() > end:
            raise ConnectionError(f"its head at {host}:{port} has not answered for {HEAD_PATIENCE:g} s")
        time.sleep(TICK)
