"""The Ray engine: workers load the model once each and process shards, on one machine or many.

It uses Ray's core, not Ray Data; docs/scale.md says why.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from gradprism.core.errors import GradPrismError, first_line
from gradprism.core.progress import Progress, Say
from gradprism.engine.ray.cluster import connected, plan_workers, resources_of_nodes
from gradprism.engine.ray.failures import local_error, reason_of
from gradprism.engine.ray.scheduler import PATIENCE, Scheduler
from gradprism.engine.ray.shard_queue import ShardQueue
from gradprism.engine.ray.worker import hide_gpus
from gradprism.engine.settings import EngineSettings
from gradprism.engine.shards import Shard
from gradprism.engine.task import Account, OnLoaded, Part, Sink, Task

Answer = TypeVar("Answer")


def run(
    shards: Iterable[Shard],
    task: Task[Any, Part],
    sink: Sink[Part],
    progress: Progress,
    account: Account,
    on_loaded: OnLoaded,
    settings: EngineSettings,
    n_shards: int,
) -> None:
    """Process the shards on the workers of a Ray cluster; the shard of a worker that dies is retried on another.

    Raises `GradPrismError` where no worker can be started, none finishes a shard, or the cluster is lost.
    """
    progress.say("Connecting to Ray" if settings.address else "Starting Ray on this machine")
    with connected(settings) as ray, _loss_of_cluster_explained(ray, settings):
        workers = plan_workers(settings, resources_of_nodes(ray), n_shards)
        Scheduler(ray, workers, ShardQueue(shards, task), task, sink, progress, account, on_loaded).run()


def ask_worker(settings: EngineSettings, function: Callable[[], Answer], say: Say) -> Answer:
    """Call a function on a machine of the cluster, with the resources of a worker, and return its answer.

    Raises `GradPrismError` where the function raises it, or the cluster is lost.
    """
    say("Asking a worker of the Ray cluster for its arithmetic")
    with connected(settings) as ray, _loss_of_cluster_explained(ray, settings):
        worker = plan_workers(settings, resources_of_nodes(ray), 1)
        task = ray.remote(num_cpus=worker.cpus, num_gpus=worker.gpus, max_retries=3)(_call)
        waiting = task.remote(function, bool(worker.gpus))
        while not ray.wait([waiting], timeout=PATIENCE)[0]:
            say(f"Waiting for the cluster to have {worker.cpus:g} CPUs and {worker.gpus:g} GPUs free")
        try:
            answer: Answer = ray.get(waiting)
        except ray.exceptions.RayTaskError as error:
            raise local_error(error) from error
        return answer


def _call(function: Callable[[], Answer], has_gpu: bool) -> Answer:
    if not has_gpu:
        hide_gpus()
    return function()


@contextmanager
def _loss_of_cluster_explained(ray: Any, settings: EngineSettings) -> Iterator[None]:
    """Turn failures of the connection into `GradPrismError`. A ray:// client raises them as plain `Exception`."""
    bare = Exception if (settings.address or "").startswith("ray://") else None
    try:
        yield
    except (GradPrismError, RuntimeError):
        raise
    except Exception as error:
        if type(error) is not bare and not isinstance(error, ray.exceptions.RayError | ConnectionError):
            raise
        why = reason_of(error) if isinstance(error, ray.exceptions.RayError) else first_line(error)
        raise GradPrismError(
            f"The Ray cluster was lost: {why}\nWhat was published is safe; the same command resumes."
        ) from error
