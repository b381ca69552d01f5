"""Start Ray's workers, hand out pieces of work, take what comes back, and replace workers that die."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, NoReturn

from gradprism import __version__
from gradprism.core.errors import DeviceError, GradPrismError
from gradprism.core.progress import Progress
from gradprism.engine.ray.cluster import WorkerShape
from gradprism.engine.ray.failures import as_here, first_line, reason_of, went_with_its_node
from gradprism.engine.ray.shard_queue import MOST_CRASHES, Piece, ShardQueue
from gradprism.engine.ray.worker import Done, LoadedWorker, RayWorker
from gradprism.engine.task import Account, OnLoaded, Part, Sink, Task

TICK = 0.5
"""Seconds between two looks at how far the workers are."""
PATIENCE = 30.0
"""Seconds without any worker until that is said, and said again."""
_MOST_LOADING_CRASHES = 3  # in turn


@dataclass(eq=False)
class _WorkerHandle:
    """One worker, as the scheduler knows it."""

    actor: Any
    answer: Any  # to its last call: loading, or a piece; None while it is free
    loaded: LoadedWorker | None = None  # once it has loaded
    piece: Piece | None = None
    request: Any = None  # how far it is
    counted: tuple[int, int] = (0, 0)  # examples and tokens of its piece that have been counted


class Scheduler(Generic[Part]):
    """Keeps the workers at work until every shard is published."""

    def __init__(
        self,
        ray: Any,
        shape: WorkerShape,
        queue: ShardQueue[Part],
        task: Task[Part],
        sink: Sink[Part],
        progress: Progress,
        account: Account,
        on_loaded: OnLoaded,
    ) -> None:
        """`ray`: the module, connected to a cluster."""
        self._ray, self._shape, self._queue = ray, shape, queue
        self._sink, self._progress, self._account, self._on_loaded = sink, progress, account, on_loaded
        threads = None if shape.gpus else max(int(shape.cpus), 1)
        self._actor = ray.remote(
            num_cpus=shape.cpus,
            num_gpus=shape.gpus,
            max_restarts=0,  # a new one is started instead: then it is known which died, and on what
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            max_concurrency=2,  # a piece, and meanwhile `progress`
        )(RayWorker)
        self._inside = (task, sink.publish_elsewhere, threads, bool(shape.gpus))
        self._workers: list[_WorkerHandle] = []
        self._began = False
        self._alone_since = time.monotonic()
        self._loading_crashes = self._crashes_in_a_row = 0
        self._most_in_a_row = 3 * MOST_CRASHES + shape.workers

    def run(self) -> None:
        """Work until every shard is published."""
        self._progress.say(f"Loading the model in {_in_words(self._shape.workers, 'worker', 'workers')}")
        self._workers = [self._start_worker() for _ in range(self._shape.workers)]
        try:
            while not self._queue.are_finished:
                self._poll()
                self._assign_pieces()
            self._publish(self._queue.remaining())
        finally:
            for worker in self._workers:
                self._stop_worker(worker)

    def _start_worker(self) -> _WorkerHandle:
        actor = self._actor.remote(*self._inside)
        return _WorkerHandle(actor, actor.load.remote())

    def _stop_worker(self, worker: _WorkerHandle) -> None:
        with suppress(Exception):  # it may be dead already, or the connection gone
            self._ray.kill(worker.actor)

    def _assign_pieces(self) -> None:
        """Give every free worker a piece."""
        for worker in self._workers:
            if worker.answer is None and worker.loaded:
                worker.piece = self._queue.next()
                if worker.piece is None:
                    return
                worker.answer, worker.request, worker.counted = (
                    worker.actor.work.remote(worker.piece),
                    None,
                    (0, 0),
                )

    def _poll(self) -> None:
        """Wait a moment for answers, and say how far the work is."""
        answers = {worker.answer: worker for worker in self._workers if worker.answer is not None}
        ready, _ = self._ray.wait(list(answers), num_returns=1, timeout=TICK)
        if ready:
            ready, _ = self._ray.wait(list(answers), num_returns=len(answers), timeout=0)
        for answer in ready:
            self._take_answer(answers[answer])
        if not ready:
            self._request_progress()
            self._note_waiting()

    def _take_answer(self, worker: _WorkerHandle) -> None:
        """Take a worker's answer, or note that it has died."""
        answer, worker.answer = worker.answer, None
        try:
            result = self._ray.get(answer)
        except self._ray.exceptions.RayTaskError as error:  # it lives, and has raised something
            if worker.loaded is None:
                self._drop_worker(worker, as_here(error))
            elif isinstance(error.cause, DeviceError | MemoryError):
                self._replace_worker(worker, first_line(error.cause), with_its_node=False)
            else:
                raise as_here(error) from error
        except self._ray.exceptions.RayError as error:
            self._replace_worker(
                worker, reason_of(error), with_its_node=went_with_its_node(error) or self._is_gone(worker)
            )
        else:
            if isinstance(result, LoadedWorker):
                self._begin_worker(worker, result)
            else:
                self._finish_piece(worker, result)

    def _begin_worker(self, worker: _WorkerHandle, loaded: LoadedWorker) -> None:
        if loaded.version != __version__:
            self._drop_worker(
                worker, GradPrismError(f"A worker has gradprism {loaded.version}, and this process {__version__}.")
            )
            return
        worker.loaded = loaded
        self._loading_crashes = 0
        if not self._began:
            self._began = True
            self._on_loaded(loaded.found)
        devices = [other.loaded.device for other in self._workers if other.loaded]
        self._account.workers = max(self._account.workers, len(devices))
        self._account.device = ", ".join(sorted({*self._account.device.split(", "), *devices} - {""}))

    def _finish_piece(self, worker: _WorkerHandle, done: Done[Part]) -> None:
        piece, counted, worker.piece = worker.piece, worker.counted, None
        assert piece is not None
        try:
            self._assign_pieces()  # before sink, so that nobody waits for the disk
        finally:  # whatever the next rows hold
            if piece.is_whole and done.part is None:
                self._sink.check()
            self._publish(self._queue.done(piece, done.part))
        self._crashes_in_a_row = 0
        self._account.examples += done.examples
        self._account.tokens += done.tokens
        self._account.peak_memory_mib = max(self._account.peak_memory_mib or 0, done.peak_memory_mib or 0) or None
        self._progress.batch(done.examples - counted[0], done.tokens - counted[1])

    def _publish(self, parts: Sequence[tuple[int, Part]]) -> None:
        for index, part in parts:
            self._sink.publish(index, part)

    def _drop_worker(self, worker: _WorkerHandle, error: Exception) -> None:
        """Go on without a worker that cannot load the model. Raises `error` where it was the last."""
        self._workers.remove(worker)
        self._stop_worker(worker)
        if not self._workers:
            raise error
        self._note(
            f"{len(self._workers)} of {_in_words(self._shape.workers, 'worker', 'workers')}: {first_line(error)}"
        )

    def _replace_worker(self, worker: _WorkerHandle, reason: str, *, with_its_node: bool) -> None:
        """Start another worker in place of a dead one, and have its piece done again."""
        if worker.piece:
            self._repeat_piece(worker, reason, with_its_node)
        elif worker.loaded is None and not with_its_node:
            self._loading_crashes += 1
            if self._loading_crashes >= _MOST_LOADING_CRASHES:
                self._drop_worker(worker, self._cannot_load(reason))
                return
        self._stop_worker(worker)  # it may only have been out of reach
        self._workers.remove(worker)
        self._workers.append(self._start_worker())

    def _cannot_load(self, reason: str) -> GradPrismError:
        return GradPrismError(
            f"{self._loading_crashes} workers in turn died while they loaded the model: {reason}\n"
            "Expected room for the model in each worker: fewer --workers, more --gpus-per-worker, or a smaller --dtype."
        )

    def _repeat_piece(self, worker: _WorkerHandle, reason: str, with_its_node: bool) -> None:
        """Take back the piece of a dead worker. Raises `GradPrismError` where no worker gets anywhere any more."""
        assert worker.piece is not None
        n_failed = self._queue.n_failed
        self._queue.crashed(worker.piece, reason, with_its_node=with_its_node)
        worker.piece = None
        self._account.retries = self._queue.retries
        self._note(f"{_in_words(self._account.retries, 'retry', 'retries')}, the last: {reason}")
        self._progress.batch(self._queue.n_failed - n_failed - worker.counted[0], -worker.counted[1])
        self._crashes_in_a_row += not with_its_node
        if self._crashes_in_a_row >= self._most_in_a_row:
            self._refuse_to_go_on(reason)

    def _refuse_to_go_on(self, reason: str) -> NoReturn:
        raise GradPrismError(
            f"{self._crashes_in_a_row} workers died one after the other, and none came to the end of a shard. "
            f"The last: {reason}\nExpected room for the work in each worker: a smaller --batch-tokens or --max-length, "
            "fewer --workers, or more --gpus-per-worker. What was published is safe; the same command resumes."
        )

    def _is_gone(self, worker: _WorkerHandle) -> bool:
        """Tell whether the worker's machine is no longer part of the cluster."""
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        return worker.loaded is not None and worker.loaded.node not in alive

    def _request_progress(self) -> None:
        """Ask the busy workers how far they are; take the answers to the last such request."""
        requests = {worker.request: worker for worker in self._workers if worker.request is not None}
        ready = self._ray.wait(list(requests), num_returns=len(requests), timeout=0)[0] if requests else []
        for answer in ready:
            worker, requests[answer].request = requests[answer], None
            with suppress(self._ray.exceptions.RayError):  # its piece's answer will say so
                self._count(worker, self._ray.get(answer))
        for worker in self._workers:
            if worker.piece and worker.request is None:
                worker.request = worker.actor.progress.remote()
        if self._began:
            self._progress.batch(0, 0)  # a chance to stop

    def _count(self, worker: _WorkerHandle, so_far: tuple[int, int]) -> None:
        """Say how much further a worker's piece is."""
        further = so_far[0] - worker.counted[0], so_far[1] - worker.counted[1]
        worker.counted = so_far
        if any(further):
            self._progress.batch(*further)

    def _note_waiting(self) -> None:
        """Say now and then, while no worker is loaded, what is waited for."""
        now = time.monotonic()
        if any(worker.loaded for worker in self._workers):
            self._alone_since = now
        elif now - self._alone_since > PATIENCE:
            self._alone_since = now
            has = self._ray.cluster_resources()
            self._note(
                f"waiting for a worker to start: each takes {self._shape.cpus:g} CPUs and {self._shape.gpus:g} GPUs, "
                f"the whole cluster has {has.get('CPU', 0):g} and {has.get('GPU', 0):g}"
            )

    def _note(self, text: str) -> None:
        """Show a text beside the counts; before there are any, as a stage."""
        (self._progress.note if self._began else self._progress.say)(text)


def _in_words(n: int, one: str, more: str) -> str:
    return f"{n:,} {one if n == 1 else more}"
