"""Endpoint judges against servers that send anything: too much, too little, elsewhere, or no HTTP at all."""

import gzip
import json
import math
import sqlite3
import stat
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytest.importorskip("openai")

from tests.metrics.test_judge_client import rows
from tests.raw_server import RawServer, Received, http

import gradprism
from gradprism.core.errors import GradPrismError
from gradprism.core.progress import count_nothing
from gradprism.metrics.judge.client import Endpoint
from gradprism.metrics.judge.endpoint import EndpointJudge
from gradprism.metrics.judge.faults import retry_after
from gradprism.metrics.judge.prompts import make_prompt
from gradprism.metrics.judge.transport import MOST_BYTES
from gradprism.metrics.judged import Difficulty
from gradprism.metrics.metric import Score
from gradprism.metrics.settings import JudgeSettings, RequestSettings

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

KEY = "sk-very-secret/0123456789"


def completion(text: Any = "7\n\nHard.", finish: Any = "stop", usage: Any = None, **message: Any) -> bytes:
    choice = {"finish_reason": finish, "message": {"role": "assistant", "content": text} | message}
    return json.dumps({"choices": [choice], "usage": usage or {"prompt_tokens": 11, "completion_tokens": 5}}).encode()


Make = Callable[..., Difficulty]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """`make(server.url)`: difficulty by a judge with a key, that tries each request once."""
    monkeypatch.setenv("JUDGE_KEY", KEY)

    def made(url: str, cache: Path = tmp_path / "answers.sqlite", **options: Any) -> Difficulty:
        judge = JudgeSettings(judge="tiny", base_url=url, key_env="JUDGE_KEY")
        requests = RequestSettings(**{"retries": 0, "concurrency": 1, "request_timeout": 5.0, **options})
        endpoint = Endpoint(judge, requests, first_wait=0.01)
        return Difficulty(EndpointJudge(endpoint, cache), make_prompt("difficulty", None), 64)

    return made


def score_one(make: Make, reply: bytes | Iterable[bytes], **options: Any) -> Score:
    with RawServer(lambda _: reply) as server:
        return make(server.url, **options).score(rows(1), count_nothing)[0]


def endless(piece: bytes) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"%x\r\n%s\r\n" % (len(piece), piece)


def test_an_answer_of_600_megabytes_is_read_up_to_the_limit(make: Make) -> None:
    def huge() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (600 * 2**20)
        for _ in range(600):
            yield b" " * 2**20

    with RawServer(lambda _: huge()) as server:
        tracemalloc.start()
        score = make(server.url).score(rows(1), count_nothing)[0]
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert score.reason == "the endpoint's answer has more than 8 MB, the most that is read"
    assert server.n_sent < MOST_BYTES + 16 * 2**20  # what the system's own buffers took beyond the limit
    assert most < 64 * 2**20


def test_the_limit_counts_what_is_decompressed(make: Make) -> None:
    bomb = gzip.compress(b" " * (64 * 2**20))
    assert len(bomb) < 100_000
    score = score_one(make, http(bomb, "200 OK", "Content-Encoding: gzip"))
    assert "more than 8 MB" in str(score.reason)
    assert score_one(make, http(gzip.compress(completion()), "200 OK", "Content-Encoding: gzip")).value == 7


def test_the_message_of_an_error_is_read_up_to_a_limit(make: Make) -> None:
    def error() -> Iterator[bytes]:
        yield b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n"
        while True:
            yield b"5\r\noops!\r\n" * 10_000

    score = score_one(make, error())
    assert str(score.reason).startswith("400: oops!")
    assert len(str(score.reason)) < 400


@pytest.mark.parametrize("piece", [b" ", b" " * 2**16])
def test_a_body_that_never_ends(make: Make, piece: bytes) -> None:
    began = time.monotonic()
    reason = str(score_one(make, endless(piece), request_timeout=0.3).reason)
    assert "no answer within 0.3 s" in reason or "more than 8 MB" in reason
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"\x00\x01\x02 garbage\r\n\r\n", "illegal status line"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**20 + b"\r\n\r\n{}", ""),
        (b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n{}", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}", ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}", ""),
        (b"", ""),
        (http(b"\x1f\x8b broken", "200 OK", "Content-Encoding: gzip"), ""),
        (http(b"\xff\xfe\x80", "200 OK", "Content-Type: text/plain; charset=hex"), "malformed answer"),
        (http(b"oops", "400 Bad", "Content-Type: text/plain; charset=hex"), "400: oops"),
        (http(b"[" * 60_000, "400 Bad"), "400: [[["),
        (http(b"", "204 No Content"), "malformed answer"),
        (http(b"", "999 What"), "999: "),
        (http(b"", "302 Found"), "302: "),
    ],
)
def test_replies_that_are_no_completion(make: Make, reply: bytes, reason: str) -> None:
    score = score_one(make, reply)
    assert score.status == "failed"
    assert score.value is None
    assert reason in str(score.reason)
    assert score.reason


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 2**31, "completion_tokens": 2**63}, (None, None)),
        ({"prompt_tokens": 10**4000, "completion_tokens": 2**31 - 1}, (None, 2**31 - 1)),
        ({"prompt_tokens": -1, "completion_tokens": "many"}, (None, None)),
        ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, (None, None)),
        ({"prompt_tokens": True, "completion_tokens": [1]}, (None, None)),
    ],
)
def test_counts_that_no_column_can_hold_are_left_out(make: Make, usage: Any, counts: tuple[Any, Any]) -> None:
    with RawServer(lambda _: http(completion(usage=usage))) as server:
        table = make(server.url).table(rows(1))
        again = make(server.url).table(rows(1))
    assert table.select("value", "n_prompt_tokens", "n_answer_tokens").row(0) == (7.0, *counts)
    assert again.equals(table)


def redirect(status: str, location: str) -> Callable[[Received], bytes]:
    def respond(request: Received) -> bytes:
        if request.path.startswith("/v1"):
            return http(b"", status, f"Location: {location}")
        return http(completion())

    return respond


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other"])
def test_a_redirect_that_turns_the_question_into_a_get_is_refused(make: Make, status: str) -> None:
    with RawServer(redirect(status, "/other?token=1")) as server:
        with pytest.raises(GradPrismError, match="by GET, which leaves the question out") as caught:
            make(server.url).score(rows(3), count_nothing)
        assert f"{server.url} does not answer itself: {status[:3]}: it redirects to {server.url[:-3]}/other" in str(
            caught.value
        )
    assert "token" not in str(caught.value)
    assert len(server.received) == 1


@pytest.mark.parametrize("status", ["307 Temporary", "308 Permanent"])
def test_a_redirect_within_the_server_that_repeats_the_question_is_followed(make: Make, status: str) -> None:
    with RawServer(redirect(status, "/v2/chat")) as server:
        assert make(server.url).score(rows(1), count_nothing)[0].value == 7
    first, second = server.received
    assert (second.method, second.path, second.body) == ("POST", "/v2/chat", first.body)
    assert second.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("status", ["302 Found", "307 Temporary", "308 Permanent"])
def test_a_redirect_to_another_server_is_refused_and_nothing_is_sent_there(make: Make, status: str) -> None:
    with RawServer(lambda _: http(completion())) as other:
        for location in (other.url, f"//localhost:{other.port}/", "https://127.0.0.1/v1", "file:///etc/passwd"):
            with (
                RawServer(redirect(status, location)) as server,
                pytest.raises(GradPrismError, match="another server, to which neither the key nor the question"),
            ):
                make(server.url).score(rows(3), count_nothing)
        assert other.received == []


@pytest.mark.parametrize("location", ["/v1/again", "http://[", "http://127.0.0.1:99999/", "\x80\xff"])
def test_a_redirect_in_a_circle_or_to_nowhere_is_refused(make: Make, location: str) -> None:
    with RawServer(redirect("307 Temporary", location)) as server:
        try:
            reason = make(server.url).score(rows(1), count_nothing)[0].reason
        except GradPrismError as error:
            reason = str(error)
    assert reason
    assert len(server.received) <= 4


def test_what_the_library_knows_of_openai_stays_here(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-mine")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai-itself")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-of-openai")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: secret-team\nAuthorization: Bearer sk-another-one")
    with RawServer(lambda _: http(completion())) as server:
        make(server.url).score(rows(1), count_nothing)
    (request,) = server.received
    assert {*request.headers} == {
        "host", "accept", "accept-encoding", "authorization", "connection", "content-length", "content-type",
        "user-agent",
    }  # fmt: skip
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert "org-mine" not in str(request)


def test_an_environment_that_cannot_be_a_header_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "é")
    with (
        RawServer(lambda _: http(completion())) as server,
        pytest.raises(GradPrismError, match="OPENAI_ORG_ID"),
    ):
        make(server.url).score(rows(1), count_nothing)


ESCAPED = "".join(f"\\u{ord(letter):04X}" for letter in KEY)
ECHOES = {
    "text": completion(f"7\n\nYour key is {KEY}."),
    "escaped": completion("7\n\n@").replace(b"@", ESCAPED.encode()),
    "escaped twice": completion(f'["a", "{ESCAPED}"]'),
    "slash": completion("7\n\n@").replace(b"@", KEY.replace("/", "\\/").encode()),
    "parts": completion([{"type": "text", "text": f"7\n\n{KEY[:9]}"}, {"type": "text", "text": KEY[9:]}]),
    "finish reason": completion(finish=KEY),
    "finish reason as a list": completion(finish=[{"key": KEY}]),
    "refusal": completion(None, refusal=f"Not with {KEY}"),
    "content": completion({"key": KEY}),
    "role": json.dumps({"error": {KEY: KEY}}).encode(),
    "no JSON": b"{" + b"x" * 100 + KEY.encode() * 9,
}


@pytest.mark.parametrize("status", ["200 OK", "400 Bad", "500 Oops", "404 None"])
@pytest.mark.parametrize("echo", ECHOES)
def test_an_answer_that_echoes_the_key(make: Make, tmp_path: Path, echo: str, status: str) -> None:
    shown = ""
    with RawServer(lambda _: http(ECHOES[echo], status, f"X-Key: {KEY}")) as server:
        try:
            metric = make(server.url)
            shown = str(metric.table(rows(2)).to_dicts()) + metric.note
        except GradPrismError as error:
            shown = "".join(map(str, (error, error.__cause__, error.__context__)))
    assert not any(piece in shown for piece in (KEY, KEY[:12], KEY[-12:], ESCAPED, ESCAPED.lower()))
    files = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert KEY.encode() not in files
    assert KEY[-12:].encode() not in files


@pytest.mark.parametrize(
    "garbage", [b"%s\r\n\r\n", b"HTTP/1.1 2%s\r\n\r\n", b"HTTP/1.1 307 x\r\nLocation: //%s\r\n\r\n"]
)
def test_a_reply_that_is_no_http_and_echoes_the_key(make: Make, garbage: bytes) -> None:
    with RawServer(lambda _: garbage % (b"x" * 280 + KEY.encode())) as server:
        try:
            shown = str(make(server.url).score(rows(1), count_nothing)[0].reason)
        except GradPrismError as error:
            shown = str(error)
    assert KEY[:6] not in shown


def test_a_key_that_is_a_word_changes_no_answer(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "anything")
    with RawServer(lambda _: http(completion("7\n\nIt asks for anything."))) as server:
        assert make(server.url).table(rows(1))["raw_answer"][0] == "7\n\nIt asks for anything."


def test_damaged_answers_are_asked_for_again_which_is_said_once(make: Make, tmp_path: Path) -> None:
    said: list[str] = []
    with RawServer(lambda _: http(completion(f"7\n\n{len(server.received)}"))) as server:
        metric = make(server.url)
        first = metric.table(rows(4))
        with closing(sqlite3.connect(tmp_path / "answers.sqlite", isolation_level=None)) as cache:
            cache.execute("UPDATE answers SET answer = '[1]' WHERE answer LIKE '%7\\n\\n1\"%' OR answer LIKE '%n3\"%'")
        metric._judge._say = said.append  # type: ignore[attr-defined]
        second = pl.concat([metric.table(rows(4)[:2]), metric.table(rows(4)[2:])])
        again = metric.table(rows(4))
    assert len(server.received) == 6
    assert first["value"].to_list() == second["value"].to_list() == [7.0] * 4
    assert again.equals(second)
    assert said == [f"Answers in {tmp_path / 'answers.sqlite'} are damaged, and are asked for again"]


def test_a_cached_answer_that_echoes_the_key_is_masked(make: Make, tmp_path: Path) -> None:
    with RawServer(lambda _: http(completion("7\n\nHard."))) as server:
        make(server.url).table(rows(1))
        with closing(sqlite3.connect(tmp_path / "answers.sqlite", isolation_level=None)) as cache:
            cache.execute("UPDATE answers SET answer = replace(answer, 'Hard.', ?)", (KEY,))
        assert make(server.url).table(rows(1))["raw_answer"][0] == "7\n\n***"


def test_the_owner_alone_can_read_the_answers_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample_rows: list[dict[str, str]]
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with RawServer(lambda _: http(completion())) as server:
        options = {"judge": "tiny", "base_url": server.url, "key_env": "JUDGE_KEY", "out": tmp_path / "run"}
        gradprism.score(sample_rows[:3], "difficulty", **options)
    files = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
    private = {file.name for file in files if stat.S_IMODE(file.stat().st_mode) == 0o600}
    holding = {file.name for file in files if b"Hard." in file.read_bytes()}
    assert holding <= private == {"judge-cache.sqlite", "part-00000.parquet"}


@pytest.mark.parametrize("asked", ["31536000", "1e308", "Fri, 01 Jan 9999 00:00:00 GMT"])
def test_a_wait_of_years_is_cut_and_the_cut_is_said(make: Make, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setattr("gradprism.metrics.judge.client._LONGEST_ASKED", 0.2)
    monkeypatch.setattr("gradprism.metrics.judge.endpoint._HEARTBEAT", 0.02)
    replies = [http(b"{}", "429 Busy", f"Retry-After: {asked}"), http(completion())]
    notes: list[str] = []
    with RawServer(lambda _: replies.pop(0)) as server:
        metric = make(server.url, retries=1)
        began = time.monotonic()
        assert metric.score(rows(1), lambda n, tokens: notes.append(metric.note))[0].value == 7
    assert 0.2 <= time.monotonic() - began < 2
    assert any("waiting 0.2 s, the longest, of the" in note and "that it asks for" in note for note in notes)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
COMPLETIONS = st.builds(
    lambda content, finish, usage, more: completion(content, finish, usage, **more),
    JSON_VALUES, JSON_VALUES,
    st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens"]), JSON_VALUES),
    st.dictionaries(st.sampled_from(["refusal", "reasoning", "reasoning_content", "thinking"]), JSON_VALUES),
)  # fmt: skip
BODIES = st.binary(max_size=60) | JSON_VALUES.map(lambda value: json.dumps(value).encode()) | COMPLETIONS
STATUSES = st.sampled_from([b"200 OK", b"200 OK", b"201 Made", b"204 None", b"400 Bad", b"422 Bad", b"500 Oops"])
HEADERS = st.tuples(
    st.sampled_from([b"Retry-After", b"retry-after-ms", b"Content-Type", b"Content-Encoding", b"Location", b"X-Any"]),
    st.binary(max_size=30) | st.sampled_from([b"1e9", b"-1", b"nan", b"inf", b"9" * 400, b"Mon, 1 Jan 0", b"gzip"]),
)
REPLIES = st.builds(
    lambda status, headers, body: b"\r\n".join(
        [b"HTTP/1.1 " + status, *(name + b": " + value for name, value in headers), b"", body]
    ),
    STATUSES, st.lists(HEADERS, max_size=2), BODIES,
)  # fmt: skip


@pytest.mark.parametrize("last", [b"404 None", b"429 Busy", b"302 Found", b"401 No", b"503 Gone"])
@settings(
    max_examples=3, deadline=None, database=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(replies=st.lists(REPLIES, min_size=15, max_size=15), end=st.binary(max_size=40) | REPLIES)
def test_any_reply_gives_a_value_or_a_problem_in_words(
    make: Make, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch,
    replies: list[bytes], last: bytes, end: bytes,
) -> None:  # fmt: skip
    monkeypatch.setattr("gradprism.metrics.judge.client._LONGEST_ASKED", 0.001)
    left = [*replies, b"HTTP/1.1 %s\r\n%s" % (last, end)]
    scores: list[Score] = []
    with RawServer(lambda _: left.pop(0)) as server:
        metric = make(server.url, cache=tmp_path_factory.mktemp("any") / "answers.sqlite")
        table = metric.table(rows(15))
        with suppress(GradPrismError):
            scores = metric.score(rows(1, "Another"), count_nothing)
    for row in table.iter_rows(named=True):
        assert (row["value"] is not None and 1 <= row["value"] <= 10) or row["reason"]
        assert all(row[name] is None or 0 <= row[name] < 2**31 for name in ("n_prompt_tokens", "n_answer_tokens"))
    assert all(score.reason for score in scores)


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text(max_size=40)))
def test_a_wait_in_any_words_is_a_number_of_seconds_or_none(headers: dict[str, str]) -> None:
    wait = retry_after(headers)
    assert wait is None or (math.isfinite(wait) and wait >= 0)
