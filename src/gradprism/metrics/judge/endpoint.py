"""A judge at an endpoint. Cached answers are not requested again, and equal requests are sent once."""

import queue
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.core.progress import Say, say_nothing
from gradprism.metrics.judge.cache import AnswerCache, Payload, key_of
from gradprism.metrics.judge.client import Endpoint
from gradprism.metrics.judge.judge import Answer, Answers, Judge, Messages, n_tokens_asked
from gradprism.metrics.metric import Plan

Found = Generator[tuple[str, Answer] | None, None, None]

_HEARTBEAT = 0.5  # seconds without an answer after which None is yielded, so that the caller can stop
_END = object()


class EndpointJudge(Judge):
    """Asks a model behind an OpenAI-compatible endpoint, several requests at once."""

    def __init__(self, endpoint: Endpoint, cache_file: Path, say: Say = say_nothing):
        """Prepare the judge; `cache_file` is created when the first question is asked."""
        settings = endpoint.judge
        self.endpoint, self._cache_file, self._say = endpoint, cache_file, say
        self.name = str(settings.judge)
        self.identity = {
            "judge.judge": self.name,
            "judge.temperature": settings.temperature,
            "judge.judge_max_tokens": settings.judge_max_tokens,
        }

    @property
    def note(self) -> str:
        """Number of retries so far, and the latest fault."""
        retried = self.endpoint.counts.retried
        return ", ".join(filter(None, [f"{retried} retried" if retried else "", self.endpoint.trouble]))

    def answers(self, questions: Sequence[Messages]) -> Answers:
        """Yield the answers: first those in the cache, then the endpoint's as they arrive, each cached before."""
        if not questions:
            return
        indices, payloads = self._unique_requests(questions)
        with AnswerCache(self._cache_file) as cache:
            for key in list(payloads):
                if answer := cache.get(key):
                    del payloads[key]
                    answer = replace(answer, text=answer.text and self.endpoint.mask_answer(answer.text))
                    self.endpoint.counts.known += len(indices[key])
                    yield from ((index, answer) for index in indices[key])
            self._say_damaged(cache)
            if not payloads:
                return
            with closing(self._request_answers(payloads, cache)) as replies:  # closed before the cache
                for found in replies:
                    if found is None:
                        yield None
                    else:
                        key, answer = found
                        yield from zip(indices[key], _copies(answer), strict=False)

    def _say_damaged(self, cache: AnswerCache) -> None:
        """Say, the first time, that the cache has damaged answers."""
        if cache.n_damaged:
            self._say(f"Answers in {self._cache_file} are damaged, and are asked for again")
            self._say = say_nothing

    def plan(self, questions: Sequence[Messages]) -> Plan:
        """Count the questions whose answer is cached, and estimate the tokens of the others."""
        indices, payloads = self._unique_requests(questions)
        cached = 0
        if self._cache_file.exists():
            with AnswerCache(self._cache_file) as cache:
                known = [key for key in payloads if cache.get(key)]
            cached = sum(len(indices[key]) for key in known)
            for key in known:
                del payloads[key]
        tokens = sum(n_tokens_asked(payload["messages"]) for payload in payloads.values())
        most = len(payloads) * self.endpoint.judge.judge_max_tokens
        return Plan(len(questions), 0, cached, tokens, most, exact=False)

    def _unique_requests(self, questions: Sequence[Messages]) -> tuple[dict[str, list[int]], dict[str, Payload]]:
        """Return the indices of equal questions, and their request, by the request's key."""
        indices: dict[str, list[int]] = {}
        payloads: dict[str, Payload] = {}
        for index, messages in enumerate(questions):
            payload = self._payload(messages)
            key = key_of(payload, self.endpoint.url)
            payloads[key] = payload
            indices.setdefault(key, []).append(index)
        return indices, payloads

    def _payload(self, messages: Messages) -> Payload:
        settings = self.endpoint.judge
        most = (
            "max_completion_tokens" if self.endpoint.is_openai else "max_tokens"
        )  # the only name that its newer models accept
        return {
            "model": settings.judge,
            "messages": [dict(message) for message in messages],
            "temperature": settings.temperature,
            most: settings.judge_max_tokens,
        }

    def _request_answers(self, payloads: Mapping[str, Payload], cache: AnswerCache) -> Found:
        """Yield answers from an event loop in a thread of its own, which works also where a loop is running already."""
        start_portal = need("anyio.from_thread", "judge").start_blocking_portal
        self.endpoint.find_key()  # raises now if it is missing
        given: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with start_portal() as portal:
            work = portal.start_task_soon(self._send_all, payloads, cache, given)
            work.add_done_callback(lambda _: given.put(_END))
            try:
                yield from _until_end(given)
                self._raise_failure(work)
            finally:
                work.cancel()

    def _raise_failure(self, work: Any) -> None:
        try:
            work.result()
        except GradPrismError as error:
            raise GradPrismError(
                f"{error}\nAll answers so far are cached in {self._cache_file}; the same command resumes."
            ) from None

    async def _send_all(
        self, payloads: Mapping[str, Payload], cache: AnswerCache, given: "queue.SimpleQueue[Any]"
    ) -> None:
        waiting = iter(payloads.items())
        async with self.endpoint.open() as session:

            async def ask_in_turn() -> None:
                for key, payload in waiting:
                    answer = await session.ask(payload)
                    if not answer.problem:
                        cache.put(key, answer)  # before it is reported, so that a kill cannot lose it
                    given.put((key, answer))

            await _run_concurrently([ask_in_turn] * min(self.endpoint.requests.concurrency, len(payloads)))


async def _run_concurrently(workers: Iterable[Any]) -> None:
    """Run the workers concurrently. The first exception cancels all, and is raised as it is, not in a group."""
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
    """Yield the answer, then copies at no cost for further rows with the same question."""
    yield answer
    while True:
        yield replace(answer, known=True)
