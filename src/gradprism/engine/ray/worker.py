"""The worker, a Ray actor: loads the model once, then processes one piece after the other."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic

from gradprism import __version__
from gradprism.core.progress import say_nothing
from gradprism.engine.peak import peak_memory_mib
from gradprism.engine.ray.shard_queue import Piece
from gradprism.engine.task import Part, Task


@dataclass(frozen=True)
class LoadedWorker:
    """The answer of a worker that has loaded its model: where it runs, and what it found."""

    node: str
    device: str
    version: str  # of gradprism
    found: Mapping[str, Any]


@dataclass(frozen=True)
class Done(Generic[Part]):
    """The answer of a worker that has processed a piece."""

    part: Part | None  # None where the worker has published it
    examples: int
    tokens: int
    peak_memory_mib: int | None


class RayWorker:
    """A worker, which loads the model once and then processes pieces; `progress` can be called meanwhile.

    For that Ray runs the methods in two threads. All work runs in a third thread of its own: alternating between the
    two took a third longer.
    """

    def __init__(
        self, task: Task[Any, Any], publish: Callable[[int, Any], None] | None, threads: int | None, has_gpu: bool
    ):
        """Make a worker that has not loaded yet.

        `threads` are torch's (its default where None); `publish` writes a whole shard's part, None where the scheduler
        writes it.
        """
        if not has_gpu:  # Ray leaves GPUs visible that it has assigned to no worker
            hide_gpus()
        self._task, self._publish, self._threads = task, publish, threads
        self._examples = self._tokens = 0
        self._executor = ThreadPoolExecutor(1)

    def load(self) -> LoadedWorker:
        """Load the model, and return where it runs and what was found in it."""
        import ray

        self._executor.submit(self._load).result()
        node = ray.get_runtime_context().get_node_id()
        return LoadedWorker(node, self._task.device, __version__, self._task.found)

    def work(self, piece: Piece) -> Done[Any]:
        """Process a piece; publish its part here where it is a whole shard and the worker can reach the run."""
        self._examples = self._tokens = 0
        part = self._executor.submit(self._task.run, piece.examples, self._count).result()
        if self._publish and piece.is_whole:
            self._publish(piece.index, part)
            part = None
        return Done(part, self._examples, self._tokens, peak_memory_mib())

    def progress(self) -> tuple[int, int]:
        """Return how many examples and tokens of the current piece are done."""
        return self._examples, self._tokens

    def _count(self, examples: int, tokens: int) -> None:
        self._examples += examples
        self._tokens += tokens

    def _load(self) -> None:
        if self._threads:  # torch keeps it for the calling thread only
            import torch

            torch.set_num_threads(self._threads)
        self._task.load(say_nothing)


def hide_gpus() -> None:
    """Hide all GPUs from this process; called before torch has looked for them."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
