"""Who hires Ray's workers, hands out pieces, takes what comes back, and replaces who dies."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, NoReturn

from gradprism import __version__
from gradprism.core.errors import DeviceError, GradPrismError
from gradprism.engine.ray.attempts import MOST_DEATHS, Attempts, Piece
from gradprism.engine.ray.cluster import Crew
from gradprism.engine.ray.failures import as_here, first_line, reason_of, went_with_its_node
from gradprism.engine.ray.worker import Done, Load, Place, RayWorker
from gradprism.engine.work import Account, Part, Publishing, Watch

TICK = 0.5
"""Seconds between two looks at how far the workers are."""
PATIENCE = 30.0
"""Seconds without any worker until that is said, and said again."""
_MOST_LOADING_DEATHS = 3  # in turn


@dataclass(eq=False)
class _Hand:
    """One worker, as the foreman knows it."""

    actor: Any
    answer: Any  # to its last call: loading, or a piece; None while it is free
    place: Place | None = None  # once it has loaded
    piece: Piece | None = None
    asked: Any = None  # how far it is
    seen: tuple[int, int] = (0, 0)  # examples and tokens of its piece that have been counted


class Foreman(Generic[Part]):
    """Keeps a crew of workers at work until every shard is published."""

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
        """`ray`: the module, connected to a cluster."""
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
        )(RayWorker)
        self._inside = (load, publishing.there, threads, bool(crew.gpus))
        self._hands: list[_Hand] = []
        self._began = False
        self._alone_since = time.monotonic()
        self._loading_deaths = self._deaths_in_a_row = 0
        self._most_in_a_row = 3 * MOST_DEATHS + crew.workers

    def run(self) -> None:
        """Until every shard is published."""
        self._watch.say(f"Loading the model in {_several(self._crew.workers, 'worker', 'workers')}")
        self._hands = [self._hired() for _ in range(self._crew.workers)]
        try:
            while not self._attempts.are_finished:
                self._hear()
                self._hand_out()
            self._publish(self._attempts.remaining())
        finally:
            for hand in self._hands:
                self._dismiss(hand)

    def _hired(self) -> _Hand:
        actor = self._actor.remote(*self._inside)
        return _Hand(actor, actor.load.remote())

    def _dismiss(self, hand: _Hand) -> None:
        with suppress(Exception):  # it may be dead already, or the connection gone
            self._ray.kill(hand.actor)

    def _hand_out(self) -> None:
        """Give every free worker a piece."""
        for hand in self._hands:
            if hand.answer is None and hand.place:
                hand.piece = self._attempts.next()
                if hand.piece is None:
                    return
                hand.answer, hand.asked, hand.seen = hand.actor.work.remote(hand.piece), None, (0, 0)

    def _hear(self) -> None:
        """Wait a moment for answers, and say how far the work is."""
        answers = {hand.answer: hand for hand in self._hands if hand.answer is not None}
        ready, _ = self._ray.wait(list(answers), num_returns=1, timeout=TICK)
        if ready:
            ready, _ = self._ray.wait(list(answers), num_returns=len(answers), timeout=0)
        for answer in ready:
            self._take(answers[answer])
        if not ready:
            self._look()
            self._say_what_is_waited_for()

    def _take(self, hand: _Hand) -> None:
        """Take a worker's answer, or the news of its death."""
        answer, hand.answer = hand.answer, None
        try:
            result = self._ray.get(answer)
        except self._ray.exceptions.RayTaskError as error:  # it lives, and has raised something
            if hand.place is None:
                self._without(hand, as_here(error))
            elif isinstance(error.cause, DeviceError | MemoryError):
                self._lost(hand, first_line(error.cause), with_its_node=False)
            else:
                raise as_here(error) from error
        except self._ray.exceptions.RayError as error:
            self._lost(hand, reason_of(error), with_its_node=went_with_its_node(error) or self._is_gone(hand))
        else:
            if isinstance(result, Place):
                self._loaded(hand, result)
            else:
                self._finished(hand, result)

    def _loaded(self, hand: _Hand, place: Place) -> None:
        if place.version != __version__:
            self._without(
                hand, GradPrismError(f"A worker has gradprism {place.version}, and this process {__version__}.")
            )
            return
        hand.place = place
        self._loading_deaths = 0
        if not self._began:
            self._began = True
            self._watch.begin(place.found)
        places = [other.place.device for other in self._hands if other.place]
        self._account.workers = max(self._account.workers, len(places))
        self._account.device = ", ".join(sorted({*self._account.device.split(", "), *places} - {""}))

    def _finished(self, hand: _Hand, done: Done[Part]) -> None:
        piece, seen, hand.piece = hand.piece, hand.seen, None
        assert piece is not None
        try:
            self._hand_out()  # before publishing, so that nobody waits for the disk
        finally:  # whatever the next rows hold
            if piece.is_whole and done.part is None:
                self._publishing.check()
            self._publish(self._attempts.done(piece, done.part))
        self._deaths_in_a_row = 0
        self._account.examples += done.examples
        self._account.tokens += done.tokens
        self._account.peak_memory_mib = max(self._account.peak_memory_mib or 0, done.peak_memory_mib or 0) or None
        self._watch.batch(done.examples - seen[0], done.tokens - seen[1])

    def _publish(self, parts: Sequence[tuple[int, Part]]) -> None:
        for index, part in parts:
            self._publishing.here(index, part)

    def _without(self, hand: _Hand, error: Exception) -> None:
        """Go on without a worker that cannot load the model. Raises `error` where it was the last."""
        self._hands.remove(hand)
        self._dismiss(hand)
        if not self._hands:
            raise error
        self._note(f"{len(self._hands)} of {_several(self._crew.workers, 'worker', 'workers')}: {first_line(error)}")

    def _lost(self, hand: _Hand, reason: str, *, with_its_node: bool) -> None:
        """A worker has died: hire another, and have its piece done again."""
        if hand.piece:
            self._do_again(hand, reason, with_its_node)
        elif hand.place is None and not with_its_node:
            self._loading_deaths += 1
            if self._loading_deaths >= _MOST_LOADING_DEATHS:
                self._without(hand, self._unloadable(reason))
                return
        self._dismiss(hand)  # it may only have been out of reach
        self._hands.remove(hand)
        self._hands.append(self._hired())

    def _unloadable(self, reason: str) -> GradPrismError:
        return GradPrismError(
            f"{self._loading_deaths} workers in turn died while they loaded the model: {reason}\n"
            "Expected room for the model in each worker: fewer --workers, more --gpus-per-worker, or a smaller --dtype."
        )

    def _do_again(self, hand: _Hand, reason: str, with_its_node: bool) -> None:
        """Take back the piece of a dead worker. Raises `GradPrismError` where no worker gets anywhere any more."""
        assert hand.piece is not None
        n_failed = self._attempts.n_failed
        self._attempts.died(hand.piece, reason, with_its_node=with_its_node)
        hand.piece = None
        self._account.retries = self._attempts.retries
        self._note(f"{_several(self._account.retries, 'retry', 'retries')}, the last: {reason}")
        self._watch.batch(self._attempts.n_failed - n_failed - hand.seen[0], -hand.seen[1])
        self._deaths_in_a_row += not with_its_node
        if self._deaths_in_a_row >= self._most_in_a_row:
            self._stuck(reason)

    def _stuck(self, reason: str) -> NoReturn:
        raise GradPrismError(
            f"{self._deaths_in_a_row} workers died one after the other, and none came to the end of a shard. "
            f"The last: {reason}\nExpected room for the work in each worker: a smaller --batch-tokens or --max-length, "
            "fewer --workers, or more --gpus-per-worker. What was published is safe; the same command resumes."
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
            with suppress(self._ray.exceptions.RayError):  # its piece's answer will say so
                self._count(hand, self._ray.get(answer))
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

    def _say_what_is_waited_for(self) -> None:
        """Now and then, while no worker has a place."""
        now = time.monotonic()
        if any(hand.place for hand in self._hands):
            self._alone_since = now
        elif now - self._alone_since > PATIENCE:
            self._alone_since = now
            has = self._ray.cluster_resources()
            self._note(
                f"waiting for a worker to start: each takes {self._crew.cpus:g} CPUs and {self._crew.gpus:g} GPUs, the "
                f"whole cluster has {has.get('CPU', 0):g} and {has.get('GPU', 0):g}"
            )

    def _note(self, text: str) -> None:
        """Beside the counts; before there are any, as a stage."""
        (self._watch.note if self._began else self._watch.say)(text)


def _several(n: int, one: str, more: str) -> str:
    return f"{n:,} {one if n == 1 else more}"
