"""A judge behind an endpoint: what the cache knows is not asked, and what is the same is asked once."""

import queue
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.metrics.judge.cache import AnswerCache, Payload, key_of
from gradprism.metrics.judge.client import Endpoint
from gradprism.metrics.judge.judge import Answer, Answers, Judge, Messages, n_tokens_asked
from gradprism.metrics.metric import Plan

Found = Generator[tuple[str, Answer] | None, None, None]

_HEARTBEAT = 0.5  # seconds without an answer after which whoever waits gets a chance to stop
_END = object()


class EndpointJudge(Judge):
    """Asks a model behind an OpenAI-compatible endpoint, several requests at once."""

    def __init__(self, endpoint: Endpoint, cache_file: Path):
        """`cache_file` is made with the first answer."""
        settings = endpoint.judge
        self.endpoint, self._cache_file = endpoint, cache_file
        self.name = str(settings.judge)
        self.identity = {
            "judge.judge": self.name,
            "judge.temperature": settings.temperature,
            "judge.judge_max_tokens": settings.judge_max_tokens,
        }

    @property
    def note(self) -> str:
        """Retries so far, and the trouble at hand."""
        retried = self.endpoint.counts.retried
        return ", ".join(filter(None, [f"{retried} retried" if retried else "", self.endpoint.trouble]))

    def answers(self, asked: Sequence[Messages]) -> Answers:
        """First what the cache knows, then the answers of the endpoint as they come, each in the cache already."""
        if not asked:
            return
        places, payloads = self._sorted(asked)
        with AnswerCache(self._cache_file) as cache:
            for key in list(payloads):
                if answer := cache.get(key):
                    del payloads[key]
                    self.endpoint.counts.known += len(places[key])
                    yield from ((place, answer) for place in places[key])
            if not payloads:
                return
            with closing(self._asked(payloads, cache)) as asking:  # before the cache is
                for found in asking:
                    if found is None:
                        yield None
                    else:
                        key, answer = found
                        yield from zip(places[key], _copies(answer), strict=False)

    def plan(self, asked: Sequence[Messages]) -> Plan:
        """Rows whose answer is in the cache, and a guess at the tokens of the others."""
        places, payloads = self._sorted(asked)
        cached = 0
        if self._cache_file.exists():
            with AnswerCache(self._cache_file) as cache:
                known = [key for key in payloads if cache.get(key)]
            cached = sum(len(places[key]) for key in known)
            for key in known:
                del payloads[key]
        tokens = sum(n_tokens_asked(payload["messages"]) for payload in payloads.values())
        most = len(payloads) * self.endpoint.judge.judge_max_tokens
        return Plan(len(asked), 0, cached, tokens, most, exact=False)

    def _sorted(self, asked: Sequence[Messages]) -> tuple[dict[str, list[int]], dict[str, Payload]]:
        """Each different request with the places where it stands."""
        places: dict[str, list[int]] = {}
        payloads: dict[str, Payload] = {}
        for place, messages in enumerate(asked):
            payload = self._payload(messages)
            key = key_of(payload, self.endpoint.url)
            payloads[key] = payload
            places.setdefault(key, []).append(place)
        return places, payloads

    def _payload(self, messages: Messages) -> Payload:
        settings = self.endpoint.judge
        most = "max_completion_tokens" if self.endpoint.is_openai else "max_tokens"  # its newer models know no other
        return {
            "model": settings.judge,
            "messages": [dict(message) for message in messages],
            "temperature": settings.temperature,
            most: settings.judge_max_tokens,
        }

    def _asked(self, payloads: Mapping[str, Payload], cache: AnswerCache) -> Found:
        """Answers from an event loop in a thread of its own, so that this also runs where a loop runs already."""
        start_portal = need("anyio.from_thread", "judge").start_blocking_portal
        self.endpoint.find_key()  # a missing one is found before anything begins
        given: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with start_portal() as portal:
            work = portal.start_task_soon(self._work, payloads, cache, given)
            work.add_done_callback(lambda _: given.put(_END))
            try:
                yield from _until_end(given)
                self._check(work)
            finally:
                work.cancel()

    def _check(self, work: Any) -> None:
        try:
            work.result()
        except GradPrismError as error:
            raise GradPrismError(
                f"{error}\nEverything answered so far is in {self._cache_file}; the same command goes on from there."
            ) from None

    async def _work(self, payloads: Mapping[str, Payload], cache: AnswerCache, given: "queue.SimpleQueue[Any]") -> None:
        waiting = iter(payloads.items())
        async with self.endpoint.open() as session:

            async def ask_in_turn() -> None:
                for key, payload in waiting:
                    answer = await session.ask(payload)
                    if not answer.problem:
                        cache.put(key, answer)  # before anybody hears of it: a kill must not lose it
                    given.put((key, answer))

            await _together([ask_in_turn] * min(self.endpoint.requests.concurrency, len(payloads)))


async def _together(workers: Iterable[Any]) -> None:
    """Run them at once; the first error ends all, and comes out as itself."""
    failed: BaseException | None = None
    try:
        async with need("anyio", "judge").create_task_group() as group:
            for worker in workers:
                group.start_soon(worker)
    except BaseExceptionGroup as errors:
        failed = errors.exceptions[0]
    if failed:
        raise failed


def _until_end(given: "queue.SimpleQueue[Any]") -> Iterator[tuple[str, Answer] | None]:
    while True:
        found = None
        with suppress(queue.Empty):
            found = given.get(timeout=_HEARTBEAT)
        if found is _END:
            return
        yield found


def _copies(answer: Answer) -> Iterator[Answer]:
    """An answer, and for further rows with the same question the same, at no cost."""
    yield answer
    while True:
        yield replace(answer, known=True)
