"""Send requests to an OpenAI-compatible endpoint, with retries, a rate limit and time-outs."""

import asyncio
import math
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.metrics.judge.cache import Payload
from gradprism.metrics.judge.faults import PASSING, FaultError, fault_of
from gradprism.metrics.judge.judge import Answer, shortened
from gradprism.metrics.judge.masking import mask_in_answers, mask_in_messages
from gradprism.metrics.judge.replies import read_reply
from gradprism.metrics.judge.transport import make_client
from gradprism.metrics.settings import JudgeSettings, RequestSettings

OPENAI = "https://api.openai.com/v1"
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_LONGEST_WAIT = 60.0  # seconds between tries, unless the endpoint asks for more
_LONGEST_ASKED = 600.0  # seconds that are waited where it does
_LONGEST_MESSAGE = 300  # characters of what the endpoint says
_MOST_UNANSWERED_IN_A_ROW = 20  # rows after which an endpoint counts as broken
_SPREAD = 0.25  # seconds over which waiting requests are spread when sending resumes


@dataclass
class Counts:
    """The numbers of requests by result."""

    sent: int = 0
    retried: int = 0
    answered: int = 0
    unanswered: int = 0  # given up after retries, or replied to without a usable answer
    known: int = 0  # rows answered from the cache


class Endpoint:
    """The address of an endpoint, and the state of its requests. Neither its `repr` nor its errors contain the key."""

    def __init__(self, judge: JudgeSettings, requests: RequestSettings, first_wait: float = 1.0):
        """Check the address; `first_wait` is the first of the growing waits between tries, in seconds.

        Raises `GradPrismError` where the address is not valid.
        """
        self.judge, self.requests, self.first_wait = judge, requests, first_wait
        self._address = _checked(judge.base_url or OPENAI)
        self.counts = Counts()
        self.trouble = ""
        self.last_sent = -math.inf  # on the monotonic clock, as is
        self._resume_at = -math.inf  # when requests may be sent again
        self._unanswered_in_a_row = 0

    @property
    def url(self) -> str:
        """The address, without user name, password and query."""
        host = f"[{self._address.hostname}]" if ":" in str(self._address.hostname) else self._address.hostname
        port = f":{self._address.port}" if self._address.port else ""
        return f"{self._address.scheme}://{host}{port}{self._address.path}"

    @property
    def is_openai(self) -> bool:
        """True for the OpenAI service itself."""
        return self._address.hostname == "api.openai.com"

    def find_key(self) -> str:
        """Return the key from the environment variable; empty for a server on this machine if it is not set.

        Raises `GradPrismError` where it is missing or cannot be a key.
        """
        name = self.judge.key_env
        key = os.environ.get(name, "").strip()
        if key and not (key.isascii() and key.isprintable()):
            raise GradPrismError(f"The environment variable {name} is no key: expected printable ASCII characters.")
        if not key and self._address.hostname not in _LOCAL:
            raise GradPrismError(
                f"No key for {self.url}: the environment variable {name} is not set.\n"
                f"Expected `export {name}=...`, or the name of another variable by --key-env."
            )
        return key

    def mask_answer(self, text: str) -> str:
        """Return an answer without the key."""
        return mask_in_answers(os.environ.get(self.judge.key_env, "").strip())(text)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Session"]:
        """Open connections for the duration of one event loop."""
        openai, anyio, key = need("openai", "judge"), need("anyio", "judge"), self.find_key()
        timeout = self.requests.request_timeout
        client = openai.AsyncOpenAI(
            api_key=key or "none",
            base_url=self._address.geturl(),
            max_retries=0,
            timeout=timeout,
            http_client=make_client(key or "none", timeout, is_openai=self.is_openai),
        )
        try:
            yield Session(self, client, key)
        finally:
            with anyio.CancelScope(shield=True):  # also an interrupted session closes its connections
                await client.close()

    def pause(self, seconds: float) -> None:
        """Send no request for some seconds."""
        self._resume_at = max(self._resume_at, time.monotonic() + seconds)

    async def resumed(self) -> None:
        """Wait until sending is allowed; waiting requests resume at random times within `_SPREAD` seconds."""
        while (left := self._resume_at - time.monotonic()) > 0:
            await asyncio.sleep(left + random.uniform(0, min(_SPREAD, left)))

    def count_reply(self, answer: Answer) -> None:
        """Count a reply, usable or not; it shows that the endpoint works."""
        self.counts.unanswered += answer.problem is not None
        self.counts.answered += answer.problem is None
        self.trouble, self._unanswered_in_a_row = "", 0

    def give_up(self, fault: FaultError) -> Answer:
        """Return the problem of a row whose request got no answer.

        Raises `GradPrismError` where every other row would get none either.
        """
        self.counts.unanswered += 1
        if fault.kind in ("job", "unreachable", "busy"):
            raise GradPrismError(self._describe_fatal(fault))
        if fault.kind != "row":
            self._unanswered_in_a_row += 1
            if (n := self._unanswered_in_a_row) >= _MOST_UNANSWERED_IN_A_ROW:
                raise GradPrismError(
                    f"{self.url} has left {n} rows in a row without an answer; the last: {_describe(fault)}.\n"
                    "Expected a server that works; --request-timeout gives it more time."
                )
        tries = self.requests.retries + 1
        return Answer(problem=_describe(fault) + (f", {tries} times" if fault.kind in PASSING and tries > 1 else ""))

    def _describe_fatal(self, fault: FaultError) -> str:
        name, tries = self.judge.key_env, self.requests.retries + 1
        if fault.kind == "unreachable":
            return (
                f"Cannot reach {self.url}: {fault.said} (tried {tries} times).\n"
                "Expected an OpenAI-compatible server at --base-url. Is it running?"
            )
        if fault.kind == "busy":
            return (
                f"{self.url} takes no more requests: {_describe(fault)} (tried {tries} times).\n"
                "Lower --concurrency, set --requests-per-minute, or see to the account's quota."
            )
        if 300 <= (fault.status or 0) < 400:
            return (
                f"{self.url} does not answer itself: {_describe(fault)}.\n"
                "Expected as --base-url the address of the server that answers, such as http://localhost:8000/v1."
            )
        if fault.status in (401, 402, 403):
            return (
                f"{self.url} refuses the key: {_describe(fault)}.\n"
                f"Expected in the environment variable {name} a key that may use {self.judge.judge!r}."
            )
        return (
            f"{self.url} does not serve {self.judge.judge!r}: {_describe(fault)}.\n"
            "Expected as --judge a model of that server, and as --base-url an address such as http://localhost:8000/v1."
        )


class Session:
    """Sends requests within one event loop."""

    def __init__(self, endpoint: Endpoint, client: Any, key: str):
        """Prepare the rate limit; the caller closes the client."""
        self._endpoint, self._client = endpoint, client
        self._mask = mask_in_messages(key)
        per_minute = endpoint.requests.requests_per_minute
        self._limiter = None
        if per_minute:  # one in each interval, so that no minute begins with a burst of all that it may hold
            self._limiter = need("aiolimiter", "judge").AsyncLimiter(1, 60 / per_minute)
            endpoint.pause(endpoint.last_sent + 60 / per_minute - time.monotonic())

    async def ask(self, payload: Payload) -> Answer:
        """Return the answer to one request, or the problem of its row.

        Raises `GradPrismError` where no further request would be answered.
        """
        tenacity, endpoint = need("tenacity", "judge"), self._endpoint
        growing = tenacity.wait_exponential(endpoint.first_wait, max=_LONGEST_WAIT)
        growing += tenacity.wait_random(0, endpoint.first_wait)
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, FaultError) and error.kind in PASSING),
            wait=lambda state: 0.0 if state.outcome.exception().retry_after else growing(state),  # `_once` waits
            stop=RetryLimit(endpoint),
            before_sleep=self._note_retry,
            reraise=True,
        )
        try:
            answer: Answer = await retrying(self._once, payload)
        except FaultError as fault:
            return endpoint.give_up(fault)
        endpoint.count_reply(answer)
        return answer

    async def _once(self, payload: Payload) -> Answer:
        await self._endpoint.resumed()
        if self._limiter:
            await self._limiter.acquire()
            await self._endpoint.resumed()
        self._endpoint.counts.sent += 1
        self._endpoint.last_sent = time.monotonic()
        try:
            async with asyncio.timeout(
                self._endpoint.requests.request_timeout
            ):  # limits the whole reply, also one that arrives slowly
                response = await self._client.chat.completions.with_raw_response.create(**payload)
                return read_reply(response.http_response.content.decode("utf-8", "replace"), self._endpoint.mask_answer)
        except UnicodeEncodeError as error:
            raise GradPrismError(
                f"A request cannot be sent: {error}.\nExpected ASCII characters in the environment variables that the "
                "library `openai` reads: OPENAI_ORG_ID, OPENAI_PROJECT_ID, OPENAI_CUSTOM_HEADERS."
            ) from None
        except Exception as error:
            fault = fault_of(error)
        said = shortened(self._mask(fault.said), _LONGEST_MESSAGE)
        if fault.kind == "timeout" and not fault.status:
            said = f"no answer within {self._endpoint.requests.request_timeout:g} s (--request-timeout)"
        if fault.retry_after is not None:
            self._endpoint.pause(min(fault.retry_after, _LONGEST_ASKED))
        raise FaultError(fault.kind, said, fault.status, fault.retry_after)

    def _note_retry(self, state: Any) -> None:
        self._endpoint.counts.retried += 1
        fault: FaultError = state.outcome.exception()
        self._endpoint.trouble = _describe(fault) + _describe_wait(fault.retry_after or 0.0)


class RetryLimit:
    """The limit of one request's retries, as tenacity's `stop`.

    A 429 does not count while other requests are answered, since it then asks to slow down only.
    """

    def __init__(self, endpoint: Endpoint):
        """Start with all retries left."""
        self._counts, self._left = endpoint.counts, endpoint.requests.retries
        self._answered = self._counts.answered

    def __call__(self, state: Any) -> bool:
        """Return whether to give up."""
        progress, self._answered = self._counts.answered > self._answered, self._counts.answered
        if progress and state.outcome.exception().kind == "busy":
            return False
        self._left -= 1
        return self._left < 0


def _describe(fault: FaultError) -> str:
    return f"{fault.status}: {fault.said}" if fault.status else fault.said


def _describe_wait(asked: float) -> str:
    if asked > _LONGEST_ASKED:
        return f", waiting {_LONGEST_ASKED:.3g} s, the longest, of the {asked:.3g} s that it asks for"
    return f", waiting {asked:.3g} s as it asks" if asked else ""


def _checked(base_url: str) -> SplitResult:
    try:
        address = urlsplit(base_url)
        usable = address.scheme in ("http", "https") and bool(address.hostname) and (address.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        given = base_url.rpartition("@")[2]  # the part before may be a password
        raise GradPrismError(f"--base-url {given}: expected an address such as http://localhost:8000/v1.")
    return address
