"""A Ray cluster: joined, or started on this machine for as long as it is needed; and how many workers fit in it."""

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.engine.ray.failures import first_line, last_line
from gradprism.engine.settings import EngineSettings

# Heard by Ray when it is imported and started. What becomes of a dead worker is said in our own words.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*(worker died or was killed|[Ww]orkers? .*killed due to memory pressure)",
}

# Reached by ray://, a head may yet fail to start the process that serves the connection, as it does where it is busy.
_TRIES, _PAUSE = 4, 3.0  # seconds


@dataclass(frozen=True)
class WorkerShape:
    """The number of workers, and the CPUs and GPUs of each."""

    workers: int
    cpus: float
    gpus: float


@contextmanager
def connected(settings: EngineSettings) -> Iterator[Any]:
    """Connect Ray to the cluster of `settings.address`, or to one of its own that ends with the context.

    A connection that the calling program holds already is used and left alone. Raises `GradPrismError` where Ray is
    not installed or the cluster is not to be had.
    """
    with _environment():
        ray = need("ray", "ray")
        if ray.is_initialized():
            yield ray
            return
        try:
            _connect(ray, settings)
            yield ray
        finally:  # also of what was half started
            ray.shutdown()


@contextmanager
def _environment() -> Iterator[None]:
    """Set Ray's environment variables that the user has not set; take them back afterwards."""
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
        for further in reversed(range(_TRIES)):
            try:
                ray.init(address=settings.address or "local", log_to_driver=False, logging_level="ERROR", **own)
                return
            except ConnectionAbortedError:
                if not further:
                    raise
                time.sleep(_PAUSE)
    except (ray.exceptions.RayError, ConnectionError, OSError, RuntimeError, ValueError, TimeoutError) as error:
        why = last_line(error) if isinstance(error, ConnectionAbortedError) else first_line(error)
        raise GradPrismError(
            f"--address {settings.address or '(none)'}: no Ray cluster was reached: {why}\n"
            "Expected `auto` on a machine of the cluster, ray://HEAD:10001 from elsewhere, or no --address for a "
            "cluster of its own on this machine. One that asks for a token (Ray 2.60 does by itself) gets it from "
            "RAY_AUTH_TOKEN or ~/.ray/auth_token, where RAY_AUTH_MODE=token is set."
        ) from error


def plan_workers(settings: EngineSettings, nodes: Sequence[Mapping[str, float]], most: int) -> WorkerShape:
    """Plan how many workers there are, and what each gets.

    `nodes` are the resources of each machine, `most` the number of shards.

    By itself a worker takes one GPU; without any in the cluster, all CPUs of a machine, or their share where the
    number of workers is given. Raises `GradPrismError` where this machine has less than one worker takes, or where a
    cluster that may grow has nothing yet to decide by.
    """
    gpus = [node.get("GPU", 0.0) for node in nodes]
    cpus = [node.get("CPU", 0.0) for node in nodes]
    given = (settings.gpus_per_worker, settings.cpus_per_worker)
    if not sum(gpus) + sum(cpus) and (given == (None, None) or settings.workers is None):
        raise GradPrismError(
            "The Ray cluster has no free machine yet, so that nothing says what a worker should take. Expected "
            "--workers N together with --gpus-per-worker or --cpus-per-worker, for which the cluster then grows."
        )
    each_gpus = float(bool(sum(gpus))) if given[0] is None else given[0]
    if each_gpus:
        each_cpus = 1.0 if given[1] is None else given[1]
    else:
        each_cpus = given[1] or _share(cpus, settings.workers or sum(n >= 1 for n in cpus))
    if settings.address is None:
        _refuse_more_than_there_is(each_gpus, max(gpus, default=0.0), "GPU")
        _refuse_more_than_there_is(each_cpus, max(cpus, default=0.0), "CPU")
    fitting = sum(_fit(each_gpus, each_cpus, *has) for has in zip(gpus, cpus, strict=True))
    return WorkerShape(min(settings.workers or max(fitting, 1), most), each_cpus, each_gpus)


def _refuse_more_than_there_is(each: float, has: float, what: str) -> None:
    if each > has:
        raise GradPrismError(f"--{what.lower()}s-per-worker {each:g}: this machine has {has:g} {what}s.")


def _fit(each_gpus: float, each_cpus: float, gpus: float, cpus: float) -> int:
    """Count the workers that fit on one machine. A fifth of a GPU fits five times, whatever binary fractions say."""
    kinds = ((each_gpus, gpus), (each_cpus, cpus))
    return min(math.floor(has / each + 1e-9) for each, has in kinds if each)


def _share(cpus: Sequence[float], workers: int) -> float:
    """Return the most whole CPUs that each worker can have; a fraction where there are fewer CPUs than workers."""
    for each in range(int(max(cpus, default=1)), 0, -1):
        if sum(n // each for n in cpus) >= workers:
            return float(each)
    return max(int(1000 * sum(cpus) / max(workers, 1)) / 1000, 0.001)


def resources_of_nodes(ray: Any) -> list[Mapping[str, float]]:
    """Return the resources of every live machine of the cluster."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
