"""A Ray cluster: joined, or started on this machine for as long as it is needed; and how many workers fit in it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gradprism.errors import GradPrismError
from gradprism.extras import need
from gradprism.recipe import EngineSettings

# Heard by Ray when it is imported and started. What becomes of a dead worker is said in our own words.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*(worker died or was killed|[Ww]orkers? .*killed due to memory pressure)",
}


@dataclass(frozen=True)
class Crew:
    """How many workers there are to be, and what each of them gets."""

    workers: int
    cpus: float
    gpus: float


@contextmanager
def connected(settings: EngineSettings) -> Iterator[Any]:
    """Ray, connected to the cluster of `settings.address`, or to one of its own that ends with the context.

    A connection that the calling program holds already is used and left alone. Raises `GradPrismError` where Ray is
    not installed or the cluster is not to be had.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    ray = need("ray", "ray")
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(
            address=settings.address or "local",
            log_to_driver=False,
            logging_level="ERROR",
            **({} if settings.address else {"include_dashboard": False}),
        )
    except (ConnectionError, OSError, RuntimeError, ValueError, TimeoutError) as error:
        raise GradPrismError(
            f"--address {settings.address or '(none)'}: no Ray cluster was reached: {_first_line(error)}\n"
            "Expected `auto` on a machine of the cluster, ray://HEAD:10001 from elsewhere, or no --address for a "
            "cluster of its own on this machine. One that asks for a token (Ray 2.60 does by itself) gets it from "
            "RAY_AUTH_TOKEN or ~/.ray/auth_token, where RAY_AUTH_MODE=token is set."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def crew_for(settings: EngineSettings, nodes: Sequence[Mapping[str, float]], most: int) -> Crew:
    """How many workers, and what each gets; `nodes` are the resources of each machine, `most` the shards there are.

    By itself a worker takes one GPU; without any in the cluster, all CPUs of a machine, or their share where the
    number of workers is given.
    """
    gpus = [node.get("GPU", 0.0) for node in nodes]
    cpus = [node.get("CPU", 0.0) for node in nodes]
    each_gpus = float(bool(sum(gpus))) if settings.gpus_per_worker is None else settings.gpus_per_worker
    if each_gpus > max(gpus, default=0.0) and settings.address is None:
        raise GradPrismError(f"--gpus-per-worker {each_gpus:g}: this machine has {sum(gpus):g} GPUs.")
    if each_gpus:
        workers = settings.workers or max(int(sum(n // each_gpus for n in gpus)), 1)
        each_cpus = 1.0 if settings.cpus_per_worker is None else settings.cpus_per_worker
    else:
        each_cpus = settings.cpus_per_worker or _share(cpus, settings.workers or sum(n >= 1 for n in cpus))
        workers = settings.workers or max(int(sum(n // each_cpus for n in cpus)), 1)
    if each_cpus > max(cpus, default=0.0) and settings.address is None:
        raise GradPrismError(f"--cpus-per-worker {each_cpus:g}: this machine has {sum(cpus):g} CPUs.")
    return Crew(min(workers, most), each_cpus, each_gpus)


def _share(cpus: Sequence[float], workers: int) -> float:
    """The most whole CPUs that so many workers can each have; a fraction where there are fewer CPUs than workers."""
    for each in range(int(max(cpus, default=1)), 0, -1):
        if sum(n // each for n in cpus) >= workers:
            return float(each)
    return max(int(1000 * sum(cpus) / max(workers, 1)) / 1000, 0.001)


def nodes_of(ray: Any) -> list[Mapping[str, float]]:
    """The resources of every machine of the cluster that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
