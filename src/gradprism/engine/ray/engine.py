"""The Ray engine: actors hold the model once and take shards, on one machine or many.

Ray's core, not Ray Data; docs/scale.md says why.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from gradprism.core.errors import GradPrismError
from gradprism.engine.ray.attempts import Attempts
from gradprism.engine.ray.cluster import connected, crew_for, nodes_of
from gradprism.engine.ray.failures import as_here, first_line, reason_of
from gradprism.engine.ray.scheduler import PATIENCE, Foreman
from gradprism.engine.ray.worker import hide_gpus
from gradprism.engine.settings import EngineSettings
from gradprism.engine.shards import Shard
from gradprism.engine.work import Account, Part, Publishing, Say, Watch, Work

Answer = TypeVar("Answer")


def run(
    shards: Iterable[Shard],
    work: Work[Part],
    publishing: Publishing[Part],
    watch: Watch,
    account: Account,
    settings: EngineSettings,
    n_shards: int,
) -> None:
    """Work through the shards on the workers of a Ray cluster; whatever dies is begun again elsewhere.

    Raises `GradPrismError` where no worker can be had, none gets anywhere, or the cluster is lost.
    """
    watch.say("Connecting to Ray" if settings.address else "Starting Ray on this machine")
    with connected(settings) as ray, _said_where_lost(ray, settings):
        crew = crew_for(settings, nodes_of(ray), n_shards)
        Foreman(ray, crew, Attempts(shards, work), work.load, publishing, watch, account).run()


def ask(settings: EngineSettings, question: Callable[[], Answer], say: Say) -> Answer:
    """Answer a question where a worker would be.

    Raises `GradPrismError` where there is no answer.
    """
    say("Asking a worker of the Ray cluster what it computes in")
    with connected(settings) as ray, _said_where_lost(ray, settings):
        crew = crew_for(settings, nodes_of(ray), 1)
        task = ray.remote(num_cpus=crew.cpus, num_gpus=crew.gpus, max_retries=3)(_answered)
        waiting = task.remote(question, bool(crew.gpus))
        while not ray.wait([waiting], timeout=PATIENCE)[0]:
            say(f"Waiting for the cluster to have {crew.cpus:g} CPUs and {crew.gpus:g} GPUs free")
        try:
            answer: Answer = ray.get(waiting)
        except ray.exceptions.RayTaskError as error:
            raise as_here(error) from error
        return answer


def _answered(question: Callable[[], Answer], has_gpu: bool) -> Answer:
    if not has_gpu:
        hide_gpus()
    return question()


@contextmanager
def _said_where_lost(ray: Any, settings: EngineSettings) -> Iterator[None]:
    """Failures of the connection as the one error. From outside (ray://) they come as bare exceptions."""
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
