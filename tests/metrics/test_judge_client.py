"""Endpoint judges against a real HTTP server on this machine that fails in every way it is told to."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from gradprism.core.progress import count_nothing

pytest.importorskip("openai")

from tests.faulty_server import WAIT, FaultyServer

from gradprism.core.errors import GradPrismError
from gradprism.data.example import Example, Turn
from gradprism.metrics.judge.client import Endpoint, RetryLimit
from gradprism.metrics.judge.endpoint import EndpointJudge
from gradprism.metrics.judge.faults import FaultError, retry_after
from gradprism.metrics.judge.prompts import make_prompt
from gradprism.metrics.judged import Difficulty, Instag, make_judged
from gradprism.metrics.settings import JudgeSettings, RequestSettings
from gradprism.models.settings import ExecutionSettings

pytestmark = pytest.mark.slow  # waits for servers


def rows(n: int, text: str = "Question") -> list[Example]:
    return [
        Example(i, str(i), (Turn("user", f"{text} in row {i}, what?"), Turn("assistant", "An answer.")))
        for i in range(n)
    ]


def expected(n: int) -> list[float]:
    return [float(i % 10 + 1) for i in range(n)]


Make = Callable[..., Difficulty]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """`make(server.url, concurrency=...)`: difficulty by a judge that waits hundredths of seconds between tries."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def made(url: str, kind: Any = Difficulty, **options: Any) -> Difficulty:
        judge = {name: options.pop(name) for name in {*options} & {*JudgeSettings.model_fields}}
        settings = JudgeSettings(judge="tiny", base_url=url, **judge)
        requests = RequestSettings(**{"concurrency": 4, "request_timeout": 10.0, **options})
        endpoint = Endpoint(settings, requests, first_wait=0.01)
        name = kind.name
        return kind(EndpointJudge(endpoint, tmp_path / "answers.sqlite"), make_prompt(name, None), 64)

    return made


def counts(metric: Any) -> Any:
    return metric._judge.endpoint.counts


def values(metric: Any, examples: list[Example], on_batch: Any = count_nothing) -> list[float | None]:
    return [score.value for score in metric.score(examples, on_batch)]


def test_every_fault_is_survived_and_nothing_is_asked_again_after_its_answer(make: Make) -> None:
    faults = ["none", "busy", "error", "drop", "cut", "hang", "malformed", "slow", "trickle", "none", "error", "drop"]
    with FaultyServer(*faults) as server:
        metric = make(server.url, request_timeout=2.0)
        seen: list[int] = []
        scores = metric.score(rows(20), lambda n, tokens: seen.append(n))
        failed = [score for score in scores if score.status == "failed"]
        assert len(failed) == 1
        assert "malformed" in str(failed[0].reason)
        assert [score.value for score in scores if score.value] == [
            value for value, score in zip(expected(20), scores, strict=True) if score.value
        ]
        assert sum(seen) == 20
        assert counts(metric).sent == 20 + 8
        assert counts(metric).retried == 8
        assert "8 retried" in metric.note
        assert "1 failed" in metric.note

        again = make(server.url)
        assert values(again, rows(20)) == expected(20)
        assert counts(again).sent == 1
        assert counts(again).known == 19
        assert set(server.answered.values()) == {1}
        assert len(server.answered) == 20


def test_retry_after_stops_every_worker(make: Make) -> None:
    with FaultyServer("none", "busy") as server:
        assert values(make(server.url), rows(60)) == expected(60)
    times = [when for when, _, _ in server.arrived]
    gaps = [after - before for before, after in pairwise(times)]
    assert max(gaps) >= WAIT - 0.05
    assert len(times) - gaps.index(max(gaps)) > 20  # nearly all of the rows were still to be asked, and waited
    assert set(server.answered.values()) == {1}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0), ({"retry-after": "0.5"}, 0.5), ({"retry-after": "-4"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({}, None), ({"retry-after": "soon"}, None), ({"retry-after": "inf"}, None),
    ],
)  # fmt: skip
def test_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date() -> None:
    wait = retry_after({"retry-after": formatdate(time.time() + 30, usegmt=True)})
    assert wait is not None
    assert 28 < wait <= 30


def test_a_429_does_not_use_up_the_retries_while_others_are_answered() -> None:
    endpoint = Endpoint(JudgeSettings(judge="x"), RequestSettings(retries=1))

    def gives_up(patience: RetryLimit, kind: Any, answered: int) -> bool:
        endpoint.counts.answered += answered
        return patience(SimpleNamespace(outcome=SimpleNamespace(exception=lambda: FaultError(kind, "no"))))

    busy, server = RetryLimit(endpoint), RetryLimit(endpoint)
    assert [gives_up(busy, "busy", answered) for answered in (0, 1, 5, 1, 0)] == [False, False, False, False, True]
    assert [gives_up(server, "server", answered) for answered in (1, 1)] == [False, True]


def test_a_wait_is_shown(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradprism.metrics.judge.endpoint._HEARTBEAT", 0.02)
    notes: list[str] = []
    with FaultyServer("busy") as server:
        metric = make(server.url)
        values(metric, rows(1), lambda n, tokens: notes.append(metric.note))
    assert "1 retried, 429: slow down, waiting 0.3 s as it asks" in notes
    assert notes[-1] == "1 retried"


def test_no_more_requests_at_once_than_asked_for(make: Make) -> None:
    with FaultyServer() as server:
        values(make(server.url, concurrency=3), rows(24))
    assert 2 <= server.most_at_once <= 3


def test_requests_per_minute_are_spread(make: Make) -> None:
    with FaultyServer() as server:
        values(make(server.url, requests_per_minute=600), rows(6))
    times = [when for when, _, _ in server.arrived]
    assert times[-1] - times[0] >= 5 * 0.1 - 0.03


def test_requests_per_minute_also_hold_from_part_to_part(make: Make) -> None:
    with FaultyServer() as server:
        metric = make(server.url, requests_per_minute=300)
        for row in rows(3):
            metric.score([row], count_nothing)
    times = [when for when, _, _ in server.arrived]
    assert times[-1] - times[0] >= 2 * 0.2 - 0.03


def test_same_questions_are_asked_once(make: Make) -> None:
    examples = [*rows(3), *rows(3), *rows(3)]
    with FaultyServer() as server:
        metric = make(server.url)
        tokens: list[int] = []
        assert values(metric, examples, lambda n, cost: tokens.append(cost)) == expected(3) * 3
    assert len(server.arrived) == 3
    assert sorted(tokens)[-3:] == [16, 16, 16]
    assert sum(tokens) == 48


def test_a_server_that_is_killed_and_started_again(make: Make) -> None:
    first = FaultyServer("hang")
    restarted: list[FaultyServer] = []
    done = 0

    def restart() -> None:
        restarted.append(FaultyServer(port=first.port))

    def kill(n: int, tokens: int) -> None:
        nonlocal done
        done += n
        if done == 5 and not first.stopping.is_set():
            first.stop()
            threading.Timer(0.15, restart).start()

    metric = make(first.url, retries=9)
    assert values(metric, rows(20), kill) == expected(20)
    restarted[0].stop()
    assert counts(metric).retried > 0
    assert sum(first.answered.values()) + sum(restarted[0].answered.values()) == counts(metric).answered == 20
    assert not {*first.answered} & {*restarted[0].answered}


def test_an_interrupt_keeps_what_was_answered(make: Make) -> None:
    done = 0

    def stop(n: int, tokens: int) -> None:
        nonlocal done
        done += n
        if done >= 6:
            raise KeyboardInterrupt

    before = threading.active_count()
    with FaultyServer() as server:
        metric = make(server.url, concurrency=2)
        with pytest.raises(KeyboardInterrupt):
            metric.score(rows(30), stop)
        kept = metric.plan(rows(30)).cached
        assert 6 <= kept < 30
        again = make(server.url)
        assert values(again, rows(30)) == expected(30)
        assert counts(again).sent == 30 - kept
        assert counts(again).known == kept
    assert threading.active_count() <= before


def test_an_interrupt_is_heard_while_the_server_is_silent(make: Make) -> None:
    def stop(n: int, tokens: int) -> None:
        if (n, tokens) == (0, 0) and len(server.arrived):
            raise KeyboardInterrupt

    with FaultyServer("hang", "hang") as server:
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            make(server.url, request_timeout=30).score(rows(2), stop)
        assert time.monotonic() - began < 2


def test_it_runs_inside_a_running_event_loop(make: Make) -> None:
    async def notebook() -> list[float | None]:
        return values(make(server.url), rows(3))

    with FaultyServer() as server:
        assert asyncio.run(notebook()) == expected(3)


def test_a_row_that_the_endpoint_refuses_has_failed_and_is_asked_again_next_time(make: Make) -> None:
    with FaultyServer("bad") as server:
        metric = make(server.url, concurrency=1)
        scores = metric.score(rows(3), count_nothing)
        assert scores[0].reason == "400: too long"
        assert [score.status for score in scores] == ["failed", "ok", "ok"]
        assert counts(metric).sent == 3  # no retry
        assert values(make(server.url), rows(3)) == expected(3)


def test_a_row_that_only_gives_500_has_failed(make: Make) -> None:
    with FaultyServer(*["error"] * 3) as server:
        scores = make(server.url, concurrency=1, retries=2).score(rows(2), count_nothing)
    assert scores[0].reason == "500: oops, 3 times"
    assert scores[1].value == 2.0


def test_a_row_that_is_never_answered_in_time_has_failed(make: Make) -> None:
    with FaultyServer("hang", "trickle") as server:
        scores = make(server.url, concurrency=1, retries=1, request_timeout=0.1).score(rows(2), count_nothing)
    assert scores[0].reason == "no answer within 0.1 s (--request-timeout), 2 times"
    assert scores[1].value == 2.0


def test_a_server_that_is_broken_for_every_row_ends_the_job(make: Make) -> None:
    with FaultyServer(status=503) as server, pytest.raises(GradPrismError, match="20 rows in a row") as caught:
        make(server.url, retries=0).score(rows(60), count_nothing)
    assert len(server.arrived) < 30
    assert "the same command resumes" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "refuses the key"), (403, "refuses the key"), (404, "does not serve 'tiny'"), (429, "takes no more")],
)
def test_what_would_fail_for_every_row_ends_the_job(make: Make, status: int, words: str) -> None:
    with FaultyServer("none", "none", "none") as server:
        metric = make(server.url, concurrency=1, retries=1)

        def turn(n: int, tokens: int) -> None:
            server.status = status if len(server.answered) >= 2 else 200

        with pytest.raises(GradPrismError, match=words) as caught:
            metric.score(rows(40), turn)
        assert f"{status}: no" in str(caught.value)
        assert "answers.sqlite; the same command resumes" in str(caught.value)
        server.status = 200
        again = make(server.url)
        assert values(again, rows(40)) == expected(40)
        assert counts(again).known >= 2
    assert set(server.answered.values()) == {1}


def test_an_unreachable_endpoint(make: Make) -> None:
    with FaultyServer() as server:
        url = server.url
    with pytest.raises(GradPrismError, match=rf"Cannot reach {url}.*tried 3 times") as caught:
        make(url, retries=2).score(rows(5), count_nothing)
    assert "Is it running?" in str(caught.value)


def test_a_missing_key_is_named_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    judge = JudgeSettings(judge="tiny", base_url="https://judge.example/v1", key_env="JUDGE_KEY")
    parts = (judge, RequestSettings(), ExecutionSettings(), tmp_path / "a.sqlite", lambda _: None)
    assert make_judged(Difficulty, *parts, will_ask=False).plan(rows(2)).rows == 2
    with pytest.raises(GradPrismError, match=r"JUDGE_KEY is not set"):
        make_judged(Difficulty, *parts)


def test_no_key_in_errors_reprs_logs_or_files(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = "sk-very-secret-0123456789"
    monkeypatch.setenv("MY_KEY", key)
    caplog.set_level(logging.DEBUG)
    with FaultyServer("none", status=401, message=f"bad key {key} given") as server:
        with pytest.raises(ValidationError, match="holds a password") as refused:
            make(server.url.replace("http://", "http://me:hunter2@"))
        metric = make(server.url, key_env="MY_KEY")
        with pytest.raises(GradPrismError, match="401") as caught:
            metric.score(rows(3), count_nothing)
    shown = [str(caught.value), repr(metric), repr(metric._judge), repr(metric._judge.endpoint), metric.note]
    shown += [str(refused.value), str(metric.identity), str(caught.value.__cause__), str(caught.value.__context__)]
    assert not any(key in text or "hunter2" in text for text in shown)
    assert key not in caplog.text
    assert not any(key.encode() in file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host", "http://", "http://host:99999", "nonsense"])
def test_a_base_url_that_is_none(url: str) -> None:
    with pytest.raises(GradPrismError, match="--base-url"):
        Endpoint(JudgeSettings(judge="x", base_url=url), RequestSettings())


@pytest.mark.parametrize("kind", [Difficulty, Instag])
def test_a_judge_that_always_refuses_gives_no_value_and_never_zero(make: Make, kind: Any) -> None:
    with FaultyServer(text="I'm sorry, but I can't assist with that.") as server:
        table = make(server.url, kind).table(rows(3))
    assert table["value"].to_list() == [None] * 3
    assert table["status"].to_list() == ["failed"] * 3
    assert "in the answer: \"I'm sorry" in table["reason"][0]
    assert table["raw_answer"][0].startswith("I'm sorry")
    assert table["parse"].to_list() == ["none"] * 3


def test_the_request_holds_what_was_asked_for_and_the_plan_counts(make: Make) -> None:
    examples = [*rows(4), Example(4, "4", problem="unreadable"), Example(5, "5", (Turn("assistant", "Alone."),))]
    with FaultyServer() as server:
        metric = make(server.url, judge_max_tokens=7, temperature=0.5)
        plan = metric.plan(examples)
        assert (plan.rows, plan.skipped, plan.cached, plan.most_answer_tokens) == (4, 2, 0, 28)
        assert not plan.exact
        assert 4 * 100 < plan.tokens < 4 * 400
        table = metric.table(examples)
        assert metric.plan(examples).cached == 4
        assert metric.plan(examples).tokens == 0
    assert table["reason"].to_list() == [None] * 4 + ["unreadable", "empty instruction"]
    assert table["status"].to_list() == ["ok"] * 4 + ["skipped"] * 2
    assert table["n_prompt_tokens"].to_list() == [11] * 4 + [None] * 2
    body = server.bodies[0]
    assert {name: body[name] for name in ("model", "max_tokens", "temperature")} == {
        "model": "tiny", "max_tokens": 7, "temperature": 0.5,
    }  # fmt: skip
    assert metric.identity["judge.judge_max_tokens"] == 7
    assert server.url not in str(metric.identity)


@pytest.fixture(autouse=True)
def _nothing_left_running() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if "portal" in thread.name]


def test_closing_early_stops_the_work(make: Make) -> None:
    with FaultyServer() as server:
        judge = make(server.url, concurrency=1)._judge
        with closing(judge.answers([[{"role": "user", "content": f"row {n}"}] for n in range(50)])) as answers:
            next(found for found in answers if found)
        assert len(server.arrived) < 50
