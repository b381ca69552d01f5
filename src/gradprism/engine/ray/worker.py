"""The inside of a Ray actor: the model, loaded once, and one piece after the other."""

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
    """A worker that has loaded its model: where it is."""

    node: str
    device: str
    version: str  # of gradprism
    found: Mapping[str, Any]


@dataclass(frozen=True)
class Done(Generic[Part]):
    """The answer of a worker to a piece."""

    part: Part | None  # None where the worker has published it
    examples: int
    tokens: int
    peak_memory_mib: int | None


class RayWorker:
    """Loads the model once, then takes pieces. `progress` answers while a piece is in work.

    For that Ray gives an actor two threads. All work is done in a third: where two took turns it took a third longer.
    """

    def __init__(self, task: Task[Any], publish: Callable[[int, Any], None] | None, threads: int | None, has_gpu: bool):
        """`threads` for torch, its own choice where None; `publish` where this worker reaches the run by itself."""
        if not has_gpu:  # Ray leaves those in sight that it has given to nobody
            hide_gpus()
        self._task, self._publish, self._threads = task, publish, threads
        self._examples = self._tokens = 0
        self._executor = ThreadPoolExecutor(1)

    def load(self) -> LoadedWorker:
        """Load the model; return where that was."""
        import ray

        self._executor.submit(self._load).result()
        node = ray.get_runtime_context().get_node_id()
        return LoadedWorker(node, self._task.device, __version__, self._task.found)

    def work(self, piece: Piece) -> Done[Any]:
        """Work through a piece; publish it where it is a whole shard and that is this worker's to do."""
        self._examples = self._tokens = 0
        part = self._executor.submit(self._task.run, piece.examples, self._count).result()
        if self._publish and piece.is_whole:
            self._publish(piece.index, part)
            part = None
        return Done(part, self._examples, self._tokens, peak_memory_mib())

    def progress(self) -> tuple[int, int]:
        """Return the examples and tokens of the piece in hand that are done."""
        return self._examples, self._tokens

    def _count(self, examples: int, tokens: int) -> None:
        self._examples += examples
        self._tokens += tokens

    def _load(self) -> None:
        if self._threads:  # a setting of the calling thread
            import torch

            torch.set_num_threads(self._threads)
        self._task.load(say_nothing)


def hide_gpus() -> None:
    """Make this process one without GPUs; before torch has looked for them."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
