"""Start the workers, assign them shards, publish the parts they return, and replace workers that die."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, NoReturn

from gradprism import __version__
from gradprism.core.errors import DeviceError, GradPrismError, first_line
from gradprism.core.progress import Progress
from gradprism.engine.ray.cluster import TICK, WorkerShape, wait_for_head
from gradprism.engine.ray.failures import local_error, reason_of, went_with_its_node
from gradprism.engine.ray.shard_queue import MOST_CRASHES, Piece, ShardQueue
from gradprism.engine.ray.worker import Done, LoadedWorker, RayWorker
from gradprism.engine.task import Account, OnLoaded, Part, Sink, Task

PATIENCE = 30.0
"""Seconds without a loaded worker after which that is reported, and again after as many more."""
_MOST_LOADING_CRASHES = 3  # one after another


@dataclass(eq=False)
class _WorkerHandle:
    """The scheduler's state of one worker."""

    actor: Any
    answer: Any  # Ray's reference to the result of `load` or `work`; None while the worker is idle
    loaded: LoadedWorker | None = None  # None until it has loaded the model
    piece: Piece | None = None
    request: Any = None  # Ray's reference to the result of `progress`
    counted: tuple[int, int] = (0, 0)  # examples and tokens of its piece that have been reported


class Scheduler(Generic[Part]):
    """Keeps the workers at work until every shard is published."""

    def __init__(
        self,
        ray: Any,
        shape: WorkerShape,
        queue: ShardQueue[Part],
        task: Task[Any, Part],
        sink: Sink[Part],
        progress: Progress,
        account: Account,
        on_loaded: OnLoaded,
    ) -> None:
        """Prepare the workers; none is started yet. `ray` is the module, connected to a cluster."""
        self._ray, self._shape, self._queue = ray, shape, queue
        self._sink, self._progress, self._account, self._on_loaded = sink, progress, account, on_loaded
        threads = None if shape.gpus else max(int(shape.cpus), 1)
        self._actor = ray.remote(
            num_cpus=shape.cpus,
            num_gpus=shape.gpus,
            max_restarts=0,  # the scheduler starts a new worker itself, since it knows which piece the old one had
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            max_concurrency=2,  # `progress` answers while `work` runs
        )(RayWorker)
        self._worker_arguments = (task, sink.publish_elsewhere, threads, bool(shape.gpus))
        self._workers: list[_WorkerHandle] = []
        self._has_loaded = False  # whether any worker has
        self._none_loaded_since = time.monotonic()
        self._loading_crashes = self._crashes_in_a_row = 0
        self._most_crashes_in_a_row = 3 * MOST_CRASHES + shape.workers

    def run(self) -> None:
        """Work until every shard is published."""
        self._progress.say(f"Loading the model in {_counted(self._shape.workers, 'worker', 'workers')}")
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
        actor = self._actor.remote(*self._worker_arguments)
        return _WorkerHandle(actor, actor.load.remote())

    def _stop_worker(self, worker: _WorkerHandle) -> None:
        with suppress(Exception):  # it may be dead already, or the connection lost
            self._ray.kill(worker.actor)

    def _assign_pieces(self) -> None:
        """Give every idle worker a piece."""
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
        """Wait up to `TICK` seconds for answers; without any, report progress."""
        wait_for_head(self._ray)
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
        """Handle a worker's answer, or its death."""
        answer, worker.answer = worker.answer, None
        try:
            result = self._ray.get(answer)
        except self._ray.exceptions.RayTaskError as error:  # the worker lives, and its method has raised
            if worker.loaded is None:
                self._drop_worker(worker, local_error(error))
            elif isinstance(error.cause, DeviceError | MemoryError):
                self._replace_worker(worker, first_line(error.cause), with_its_node=False)
            else:
                raise local_error(error) from error
        except self._ray.exceptions.RayError as error:
            wait_for_head(self._ray)
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
        if not self._has_loaded:
            self._has_loaded = True
            self._on_loaded(loaded.found)
        devices = [other.loaded.device for other in self._workers if other.loaded]
        self._account.workers = max(self._account.workers, len(devices))
        self._account.device = ", ".join(sorted({*self._account.device.split(", "), *devices} - {""}))

    def _finish_piece(self, worker: _WorkerHandle, done: Done[Part]) -> None:
        piece, counted, worker.piece = worker.piece, worker.counted, None
        assert piece is not None
        try:
            self._assign_pieces()  # before publishing, so that no worker waits for the disk
        finally:  # also where reading the next rows raises
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
        """Continue without a worker that cannot load the model. Raises `error` if it was the last worker."""
        self._workers.remove(worker)
        self._stop_worker(worker)
        if not self._workers:
            raise error
        self._note(f"{len(self._workers)} of {_counted(self._shape.workers, 'worker', 'workers')}: {first_line(error)}")

    def _replace_worker(self, worker: _WorkerHandle, reason: str, *, with_its_node: bool) -> None:
        """Start a new worker in place of a dead one, whose piece is retried."""
        if worker.piece:
            self._retry_piece(worker, reason, with_its_node)
        elif worker.loaded is None and not with_its_node:
            self._loading_crashes += 1
            if self._loading_crashes >= _MOST_LOADING_CRASHES:
                self._drop_worker(worker, self._cannot_load(reason))
                return
        self._stop_worker(worker)  # it may still run, and only have been unreachable
        self._workers.remove(worker)
        self._workers.append(self._start_worker())

    def _cannot_load(self, reason: str) -> GradPrismError:
        return GradPrismError(
            f"{self._loading_crashes} workers in a row died while they loaded the model: {reason}\n"
            "Expected memory for the model in each worker: fewer --workers, more --gpus-per-worker, or a smaller "
            "--dtype."
        )

    def _retry_piece(self, worker: _WorkerHandle, reason: str, with_its_node: bool) -> None:
        """Return the piece of a dead worker to the queue. Raises `GradPrismError` after too many deaths in a row."""
        assert worker.piece is not None
        n_failed = self._queue.n_failed
        self._queue.crashed(worker.piece, reason, with_its_node=with_its_node)
        worker.piece = None
        self._account.retries = self._queue.retries
        self._note(f"{_counted(self._account.retries, 'retry', 'retries')}, the last: {reason}")
        self._progress.batch(self._queue.n_failed - n_failed - worker.counted[0], -worker.counted[1])
        self._crashes_in_a_row += not with_its_node
        if self._crashes_in_a_row >= self._most_crashes_in_a_row:
            self._raise_after_crashes(reason)

    def _raise_after_crashes(self, reason: str) -> NoReturn:
        raise GradPrismError(
            f"{self._crashes_in_a_row} workers died one after the other, and none finished a shard. "
            f"The last: {reason}\nExpected memory for the work in each worker: a smaller --batch-tokens or "
            "--max-length, fewer --workers, or more --gpus-per-worker. Published parts are kept; the same command "
            "resumes."
        )

    def _is_gone(self, worker: _WorkerHandle) -> bool:
        """Return whether the worker's machine is no longer part of the cluster."""
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        return worker.loaded is not None and worker.loaded.node not in alive

    def _request_progress(self) -> None:
        """Ask the busy workers for their progress, and report the answers to the previous request."""
        requests = {worker.request: worker for worker in self._workers if worker.request is not None}
        ready = self._ray.wait(list(requests), num_returns=len(requests), timeout=0)[0] if requests else []
        for answer in ready:
            worker, requests[answer].request = requests[answer], None
            with suppress(self._ray.exceptions.RayError):  # the answer to its piece reports the same
                self._report_progress(worker, self._ray.get(answer))
        for worker in self._workers:
            if worker.piece and worker.request is None:
                worker.request = worker.actor.progress.remote()
        if self._has_loaded:
            self._progress.batch(0, 0)  # raises where an interrupt is pending

    def _report_progress(self, worker: _WorkerHandle, so_far: tuple[int, int]) -> None:
        """Report the examples and tokens of a worker's piece that were finished since the last report."""
        new = so_far[0] - worker.counted[0], so_far[1] - worker.counted[1]
        worker.counted = so_far
        if any(new):
            self._progress.batch(*new)

    def _note_waiting(self) -> None:
        """Report every `PATIENCE` seconds, while no worker is loaded, which resources the workers wait for."""
        now = time.monotonic()
        if any(worker.loaded for worker in self._workers):
            self._none_loaded_since = now
        elif now - self._none_loaded_since > PATIENCE:
            self._none_loaded_since = now
            has = self._ray.cluster_resources()
            self._note(
                f"waiting for a worker to start: each takes {self._shape.cpus:g} CPUs and {self._shape.gpus:g} GPUs, "
                f"the whole cluster has {has.get('CPU', 0):g} and {has.get('GPU', 0):g}"
            )

    def _note(self, text: str) -> None:
        """Show a text beside the counts; as the name of a stage while there are no counts yet."""
        (self._progress.note if self._has_loaded else self._progress.say)(text)


def _counted(n: int, one: str, more: str) -> str:
    return f"{n:,} {one if n == 1 else more}"
