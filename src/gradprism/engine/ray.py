"""The Ray engine: actors hold the model once and take shards, on one machine or many.

Ray's core, not Ray Data: a part keeps its number whoever made it; a shard that kills its workers is cut down to the
row that does it, and ends as a failed row; and retries are counted. Ray Data starts a killed block again until the
end of time, or drops it whole.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from gradprism.engine.attempts import MOST_DEATHS, Attempts, Piece
from gradprism.engine.cluster import Crew, connected, crew_for, nodes_of
from gradprism.engine.peak import peak_memory_mib
from gradprism.engine.shards import Shard
from gradprism.engine.work import Account, Part, Publishing, Say, Watch, Work, Worker
from gradprism.errors import DeviceError, GradPrismError
from gradprism.recipe import EngineSettings

_TICK = 0.5  # seconds between two looks at how far the workers are
_PATIENCE = 30.0  # seconds until it is said that the cluster has no room yet
_MOST_LOADING_DEATHS = 3  # one after the other, and no worker has ever come so far as to begin

Load = Callable[[Say], Worker[Any]]
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

    Raises `GradPrismError` where no worker can be had, or none gets anywhere.
    """
    watch.say("Connecting to Ray" if settings.address else "Starting Ray on this machine")
    with connected(settings) as ray:
        crew = crew_for(settings, nodes_of(ray), n_shards)
        _Foreman(ray, crew, Attempts(shards, work), work.load, publishing, watch, account).run()


def ask(settings: EngineSettings, question: Callable[[], Answer]) -> Answer:
    """Answer a question where a worker would be."""
    with connected(settings) as ray:
        crew = crew_for(settings, nodes_of(ray), 1)
        task = ray.remote(num_cpus=crew.cpus, num_gpus=crew.gpus)(question)
        answer: Answer = ray.get(task.remote())
        return answer


@dataclass(frozen=True)
class _Done(Generic[Part]):
    """What a worker says of a piece."""

    part: Part | None  # None where the worker has published it
    examples: int
    tokens: int
    peak_memory_mib: int | None
    note: str


@dataclass(frozen=True)
class _Place:
    """Where a worker is, once it has loaded its model."""

    node: str
    device: str
    found: Mapping[str, Any]


class _Worker:
    """An actor's inside: loads the model once, then takes pieces. `progress` answers while a piece is in work."""

    def __init__(self, load: Load, publish: Callable[[int, Any], None] | None, threads: int | None):
        self._load, self._publish, self._threads = load, publish, threads
        self._examples = self._tokens = 0

    def load(self) -> _Place:
        import ray

        self._take_threads()
        self._worker = self._load(_unheard)
        return _Place(ray.get_runtime_context().get_node_id(), self._worker.device, self._worker.found)

    def work(self, piece: Piece) -> _Done[Any]:
        self._take_threads()
        self._examples = self._tokens = 0
        part = self._worker(piece.examples, self._count)
        if self._publish and piece.is_whole:
            self._publish(piece.index, part)
            part = None
        return _Done(part, self._examples, self._tokens, peak_memory_mib(), self._worker.note)

    def progress(self) -> tuple[int, int]:
        return self._examples, self._tokens

    def _count(self, examples: int, tokens: int) -> None:
        self._examples += examples
        self._tokens += tokens

    def _take_threads(self) -> None:
        """Threads are a setting of the calling thread, and Ray may choose another one for each call."""
        if self._threads:
            import torch

            torch.set_num_threads(self._threads)


def _unheard(text: str) -> None:
    """Nobody listens there."""


@dataclass(eq=False)
class _Hand:
    """One worker, as the foreman knows it."""

    actor: Any
    answer: Any  # to its last call: loading, or a piece; None while it is free
    place: _Place | None = None  # once it has loaded
    piece: Piece | None = None
    asked: Any = None  # how far it is
    seen: tuple[int, int] = (0, 0)  # examples and tokens of its piece that have been counted


class _Foreman(Generic[Part]):
    """Hires workers, hands out pieces, takes what comes back, and replaces who dies."""

    def __init__(
        self,
        ray: Any,
        crew: Crew,
        attempts: Attempts[Part],
        load: Load,
        publishing: Publishing[Part],
        watch: Watch,
        account: Account,
    ) -> None:
        self._ray, self._crew, self._attempts = ray, crew, attempts
        self._publishing, self._watch, self._account = publishing, watch, account
        threads = None if crew.gpus else max(int(crew.cpus), 1)
        self._actor = ray.remote(
            num_cpus=crew.cpus,
            num_gpus=crew.gpus,
            max_restarts=0,  # a new one is hired instead: then it is known who died, and on what
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            max_concurrency=2,  # a piece, and meanwhile `progress`
        )(_Worker)
        self._inside = (load, publishing.there, threads)
        self._hands: list[_Hand] = []
        self._began = False
        self._loading_deaths = self._deaths_in_a_row = 0

    def run(self) -> None:
        """Until every shard is published."""
        self._watch.say(f"Loading the model in {_several(self._crew.workers, 'worker', 'workers')}")
        self._hands = [self._hired() for _ in range(self._crew.workers)]
        waiting_since: float | None = time.monotonic()
        try:
            while not self._attempts.are_finished:
                if waiting_since and time.monotonic() - waiting_since > _PATIENCE and not self._began:
                    self._watch.say(self._wanted)
                    waiting_since = None
                self._hear()
                self._hand_out()
        finally:
            for hand in self._hands:
                self._ray.kill(hand.actor)

    def _hired(self) -> _Hand:
        actor = self._actor.remote(*self._inside)
        return _Hand(actor, actor.load.remote())

    @property
    def _wanted(self) -> str:
        each = f"{self._crew.cpus:g} CPUs" + (f" and {self._crew.gpus:g} GPUs" if self._crew.gpus else "")
        return f"Waiting for the cluster to start a worker ({each})"

    def _hand_out(self) -> None:
        """Give every free worker a piece."""
        for hand in self._hands:
            if hand.answer is None and hand.place:
                hand.piece = self._attempts.next()
                if hand.piece is None:
                    return
                hand.answer, hand.seen = hand.actor.work.remote(hand.piece), (0, 0)

    def _hear(self) -> None:
        """Wait a moment for answers, and say how far the work is."""
        answers = {hand.answer: hand for hand in self._hands if hand.answer is not None}
        ready, _ = self._ray.wait(list(answers), num_returns=1, timeout=_TICK)
        if ready:
            ready, _ = self._ray.wait(list(answers), num_returns=len(answers), timeout=0)
        for answer in ready:
            self._take(answers[answer])
        if not ready:
            self._look()

    def _take(self, hand: _Hand) -> None:
        """Take a worker's answer, or the news of its death."""
        answer, hand.answer = hand.answer, None
        try:
            result = self._ray.get(answer)
        except self._ray.exceptions.RayTaskError as error:  # it lives, and has raised something
            if not isinstance(error.cause, DeviceError | MemoryError):
                raise _as_here(error, hand) from error
            self._ray.kill(hand.actor)
            self._lost(hand, str(error.cause).splitlines()[0])
        except self._ray.exceptions.RayError as error:
            self._lost(hand, _reason(error))
        else:
            if isinstance(result, _Place):
                self._loaded(hand, result)
            else:
                self._finished(hand, result)

    def _loaded(self, hand: _Hand, place: _Place) -> None:
        hand.place = place
        self._loading_deaths = 0
        if not self._began:
            self._began = True
            self._watch.begin(place.found)
        places = [other.place.device for other in self._hands if other.place]
        self._account.workers = max(self._account.workers, len(places))
        self._account.device = ", ".join(sorted(set(places)))

    def _finished(self, hand: _Hand, done: _Done[Part]) -> None:
        piece, seen, hand.piece = hand.piece, hand.seen, None
        assert piece is not None
        self._hand_out()  # before publishing, so that nobody waits for the disk
        self._deaths_in_a_row = 0
        self._account.examples += done.examples
        self._account.tokens += done.tokens
        self._account.peak_memory_mib = max(self._account.peak_memory_mib or 0, done.peak_memory_mib or 0) or None
        self._published(piece, self._attempts.done(piece, done.part))
        self._watch.batch(done.examples - seen[0], done.tokens - seen[1])

    def _published(self, piece: Piece, part: Part | None) -> None:
        if part is not None:
            self._publishing.here(piece.index, part)
        else:
            self._publishing.check()

    def _lost(self, hand: _Hand, reason: str) -> None:
        """A worker has died: hire another, and have its piece done again."""
        self._hands.remove(hand)
        if hand.place is None:
            self._loading_deaths += 1
            if self._loading_deaths >= _MOST_LOADING_DEATHS and not any(other.place for other in self._hands):
                raise GradPrismError(
                    f"{self._loading_deaths} workers died while they loaded the model: {reason}\n"
                    "Expected room for the model in each worker: fewer --workers, more --gpus-per-worker, or a "
                    "smaller --dtype."
                )
        else:
            self._do_again(hand, reason)
        self._hands.append(self._hired())

    def _do_again(self, hand: _Hand, reason: str) -> None:
        """Take back the piece of a dead worker. Raises `GradPrismError` where no worker gets anywhere any more."""
        piece, hand.piece = hand.piece, None
        if piece is None:
            return
        n_failed = self._attempts.n_failed
        part = self._attempts.died(piece, reason, with_its_node=self._is_gone(hand))
        self._published(piece, part)
        self._account.retries = self._attempts.retries
        self._watch.note(f"{_several(self._account.retries, 'retry', 'retries')}, the last: {reason}")
        self._watch.batch(self._attempts.n_failed - n_failed - hand.seen[0], -hand.seen[1])
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row >= 2 * MOST_DEATHS:
            raise GradPrismError(
                f"{self._deaths_in_a_row} workers died one after the other, and none came to the end of a shard. "
                f"The last: {reason}\nWhat was published is safe; the same command resumes."
            )

    def _is_gone(self, hand: _Hand) -> bool:
        """Whether the worker's machine is no longer part of the cluster."""
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        return hand.place is not None and hand.place.node not in alive

    def _look(self) -> None:
        """Ask those at work how far they are; take the answers to the last such question."""
        asked = {hand.asked: hand for hand in self._hands if hand.asked is not None}
        ready = self._ray.wait(list(asked), num_returns=len(asked), timeout=0)[0] if asked else []
        for answer in ready:
            hand, asked[answer].asked = asked[answer], None
            try:
                so_far = self._ray.get(answer)
            except self._ray.exceptions.RayError:
                continue  # its piece's answer will say so
            if hand.piece:
                self._count(hand, so_far)
        for hand in self._hands:
            if hand.piece and hand.asked is None:
                hand.asked = hand.actor.progress.remote()
        if self._began:
            self._watch.batch(0, 0)  # a chance to stop

    def _count(self, hand: _Hand, so_far: tuple[int, int]) -> None:
        """Say how much further a worker's piece is."""
        further = so_far[0] - hand.seen[0], so_far[1] - hand.seen[1]
        hand.seen = so_far
        if any(further):
            self._watch.batch(*further)


def _as_here(error: Any, hand: _Hand) -> Exception:
    """What a worker has raised, as if it had been raised here."""
    if isinstance(error.cause, GradPrismError):
        return GradPrismError(f"In a worker: {error.cause}")
    return RuntimeError(f"A worker has failed:\n{error}")


def _reason(error: Exception) -> str:
    """Why a worker died, in a line."""
    text = str(error)
    if "memory" in text and ("OutOfMemory" in type(error).__name__ or "memory pressure" in text or "OOM" in text[:400]):
        return "out of memory"
    if "connection error code 2" in text:  # end of file: it went without a word
        return "its process was killed"
    detail = re.search(r"Worker exit detail: (.*?)(?:\.\s|$)", text)
    return detail[1] if detail else (text.splitlines() or [type(error).__name__])[0]


def _several(n: int, one: str, more: str) -> str:
    return f"{n:,} {one if n == 1 else more}"
