"""Runs in a store that fails at any request: they end whole, each row once, or in one error that says why."""

import pickle
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.command import run as command
from tests.conftest import SAMPLE
from tests.made_runs import measured_run
from tests.object_store import SECRET, Bucket, FaultyStore, environment
from tests.raw_server import RawServer, Received, http
from tests.runs.test_object_store import ABOUT, NOTHING, made

import gradprism
from gradprism import GradPrismError, Run, open_run
from gradprism.files import atomic, parquet
from gradprism.files.paths import as_remote, to_path
from gradprism.files.storage_errors import StorageError
from gradprism.prism.tables import Tables
from gradprism.runs.writer import RunWriter

pytestmark = pytest.mark.slow  # a server of objects, and a proxy before it

FAULTS = ("busy", "drop", "lost", "cut", "short", "page", "slow", "stale", "same", "denied")
TABLES = ("examples", "spectra", "similarity")


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No pauses between tries, and nothing known of objects from tests before."""
    import s3fs.core

    waiting = s3fs.core.asyncio.sleep

    async def sleep(seconds: float) -> None:
        await waiting(min(seconds, 0.01))

    monkeypatch.setattr(atomic, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(s3fs.core.asyncio, "sleep", sleep)
    yield
    parquet._ENTRIES.clear()


def tables(run: Run) -> dict[str, pl.DataFrame]:
    found = {table: run.scan(table).collect() for table in TABLES} | {name: run.scores(name) for name in run.metrics}
    return {name: frame.sort(pl.all().exclude(pl.List)) for name, frame in found.items()}


def assert_same(first: dict[str, pl.DataFrame], second: dict[str, pl.DataFrame]) -> None:
    assert first.keys() == second.keys()
    for name, frame in first.items():
        assert_frame_equal(frame, second[name], rel_tol=1e-5, abs_tol=1e-9)


@pytest.fixture(scope="module")
def undisturbed(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    """The same commands, on a disk."""
    out = tmp_path_factory.mktemp("local") / "run"
    for words in commands(tiny_checkpoint, out):
        assert command(*words).returncode == 0
    return tables(open_run(out))


def commands(model: Path, out: Any) -> list[tuple[Any, ...]]:
    few = ("--limit", 8, "--max-length", 64, "-q")
    return [
        ("spectra", SAMPLE, "--model", model, "--out", out, "--part-rows", 2, *few),
        ("score", SAMPLE, "--metric", "length", "--model", model, "--out", out, "--part-rows", 3, *few),
        ("show", out),
        ("check", out),
    ]


@pytest.mark.parametrize("seed", [15, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in range(40) if n != 15)])
def test_commands_against_a_store_that_fails_now_and_then(
    seed: int, bucket: Bucket, faulty_store: FaultyStore, tiny_checkpoint: Path, undisturbed: dict[str, pl.DataFrame]
) -> None:
    """Each command is repeated until it ends well, at last with a store that has recovered."""
    chance = random.Random(seed)
    share = chance.choice([0.02, 0.1, 0.3])
    kinds = chance.sample(FAULTS, chance.randint(1, len(FAULTS)))

    def choose(_: str) -> str | None:
        return chance.choice(kinds) if chance.random() < share else None

    for words in commands(tiny_checkpoint, f"{bucket.url}/run"):
        for attempt in range(4):
            faulty_store.choose = choose if attempt < 3 else lambda _: None
            done = command(*words)
            assert done.returncode in ((0, 2, 3) if words[0] == "check" else (0, 2)), done.stderr
            assert "Traceback" not in done.stderr
            assert SECRET not in done.stderr + done.stdout
            if done.returncode == 0:
                break
        assert done.returncode == 0, (words, done.stderr)
    faulty_store.choose = choose
    try:
        found = tables(open_run(f"{bucket.url}/run"))
    except GradPrismError:
        found = undisturbed
    if found["examples"].height == 8:  # else a listing of before was given, and the run says what it lacks
        assert_same({name: frame for name, frame in found.items() if frame.height}, {n: undisturbed[n] for n in found})
    faulty_store.choose = lambda _: None
    assert_same(tables(open_run(f"{bucket.url}/run")), undisturbed)
    assert all(SECRET.encode() not in content for content in bucket.objects().values())


# One fault, at each request in turn


@pytest.fixture
def stored(bucket: Bucket, faulty_store: FaultyStore) -> Run:
    return made(to_path(f"{bucket.url}/run"))


@contextmanager
def refused_by_name(run: Path) -> Iterator[None]:
    """Let an error end the block that names what in the run could not be had."""
    try:
        yield
    except GradPrismError as error:
        if str(run) not in str(error):
            raise


def at_request(faulty_store: FaultyStore, number: int, fault: str) -> None:
    """Let one request fail."""
    left = [number]

    def choose(_: str) -> str | None:
        left[0] -= 1
        return fault if left[0] == -1 else None

    faulty_store.choose = choose


QUICK = {("short", 2), ("page", 1), ("cut", 3), ("lost", 0)}
EACH = [
    pytest.param(fault, number, marks=() if (fault, number) in QUICK else pytest.mark.exhaustive)
    for fault in FAULTS
    for number in range(16)
]


@pytest.mark.parametrize(("fault", "number"), EACH)
def test_a_run_is_opened_whole_or_refused(fault: str, number: int, stored: Run, faulty_store: FaultyStore) -> None:
    expected = tables(stored)
    parquet._ENTRIES.clear()
    at_request(faulty_store, number, fault)
    with refused_by_name(stored.path):
        assert_same(tables(open_run(stored.path)), expected)
    faulty_store.choose = lambda _: None
    assert_same(tables(open_run(stored.path)), expected)


@pytest.mark.parametrize(("fault", "number"), EACH)
def test_a_part_is_published_whole_or_not_at_all(
    fault: str, number: int, bucket: Bucket, faulty_store: FaultyStore
) -> None:
    run = to_path(f"{bucket.url}/run")
    at_request(faulty_store, number, fault)
    with refused_by_name(run), RunWriter(run, ABOUT) as writer:
        writer.publish(0, NOTHING)
    faulty_store.choose = lambda _: None
    with RunWriter(run, ABOUT) as writer:  # at once: what the first has left does not lock it out
        writer.publish(0, NOTHING)
        assert writer.done == {0}
    kept = {key for key in bucket.objects() if "/damaged/" not in key}
    assert kept == {"run/run.json", *(f"run/{table}/part-00000.parquet" for table in TABLES)}


@pytest.mark.parametrize("files", [1, pytest.param(2, marks=pytest.mark.exhaustive)])
def test_a_worker_killed_between_the_files_of_a_part(
    files: int, bucket: Bucket, faulty_store: FaultyStore, tmp_path: Path
) -> None:
    """Similarity is there, or spectra too, and no examples: the part does not count, and is made again."""
    expected = tables(made(tmp_path / "run"))
    run = to_path(f"{bucket.url}/run")
    whole = made(run)
    parts = {table: pl.read_parquet(tmp_path / "run" / table / "part-00001.parquet") for table in TABLES}
    for table in TABLES:
        bucket.client.delete_object(Bucket=bucket.name, Key=f"run/{table}/part-00001.parquet")
    with RunWriter(run, {"identity": whole.record["identity"], "data": whole.record["data"]}) as writer:
        assert writer.done == {0, 2}
        faulty_store.faults["PUT"] = [*[""] * files, "stall"]
        code = "import sys, pickle; publish, part = pickle.load(sys.stdin.buffer); publish(1, part)"
        worker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
        assert worker.stdin is not None
        pickle.dump((writer.publish_elsewhere, Tables(**parts)), worker.stdin)
        worker.stdin.close()
        assert faulty_store.stalled.wait(60)
        worker.kill()
        worker.wait()
        left = [key for key in bucket.objects() if key.endswith("part-00001.parquet")]
        assert left == [f"run/{table}/part-00001.parquet" for table in sorted(TABLES[::-1][:files])]
        assert writer.done == {0, 2}
        assert open_run(run).counts.done == 6
        assert writer.publish_elsewhere is not None
        writer.publish_elsewhere(1, Tables(**parts))
    assert_same(tables(open_run(run)), expected)
    assert gradprism.check(run).is_whole


# Stores that are not what they seem


def test_a_store_that_knows_no_conditions_has_one_writer_all_the_same(
    bucket: Bucket, faulty_store: FaultyStore
) -> None:
    faulty_store.unconditional = True
    run = to_path(f"{bucket.url}/run")
    with RunWriter(run, ABOUT) as writer:
        with pytest.raises(GradPrismError, match="Another process is writing the run"):
            RunWriter(run, ABOUT)
        writer.publish(0, NOTHING)
    with RunWriter(run, ABOUT) as writer:
        assert writer.done == {0}


def test_an_answer_to_the_taking_of_a_lease_that_is_lost(bucket: Bucket, faulty_store: FaultyStore) -> None:
    """The second try meets the lease that the first has written: its own."""
    faulty_store.faults["PUT"] = ["lost"]
    with RunWriter(to_path(f"{bucket.url}/run"), ABOUT) as writer:
        writer.publish(0, NOTHING)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_store_that_redirects_gets_no_signature_sent_elsewhere(status: str, bucket: Bucket) -> None:
    """Nor a session token, nor anything else, and no object is read from there."""
    with RawServer(lambda request: http(b"of another server")) as elsewhere:
        host = f"127.0.0.1:{elsewhere.port}"
        body = f"<Error><Code>PermanentRedirect</Code><Endpoint>{host}</Endpoint></Error>".encode()

        regions = cycle(["eu-west-1", f"x.{host}#"])

        def redirect(request: Received) -> bytes:
            headers = [f"Location: http://{host}/x", f"x-amz-bucket-region: {next(regions)}"]
            return http(b"" if request.method == "HEAD" else body, status, *headers)

        with (
            RawServer(redirect) as server,
            environment(f"http://127.0.0.1:{server.port}", AWS_MAX_ATTEMPTS="1", AWS_SESSION_TOKEN=SECRET),
        ):
            path = as_remote(to_path("s3://bucket/run/object"))
            for ask in 2 * (path.state, path.read_bytes, path.parent.states, lambda: path.write_bytes(b"")):
                with pytest.raises(StorageError) as refused:
                    ask()
                assert SECRET not in str(refused.value)
        assert server.received
        assert not elsewhere.received


def test_a_password_in_the_endpoint_is_not_shown(bucket: Bucket) -> None:
    with environment(f"http://me:{SECRET}@127.0.0.1:9", AWS_MAX_ATTEMPTS="1"):
        done = command("show", f"{bucket.url}/run")
    assert done.returncode == 2
    assert SECRET not in done.stderr
    assert "credentials encoded in URL" in done.stderr


def test_few_requests_tell_whether_a_run_is_whole(bucket: Bucket, faulty_store: FaultyStore) -> None:
    run = measured_run(to_path(f"{bucket.url}/run"), 80, 1, lambda measure, row, layer, name: row + 0.5).path
    faulty_store.arrived.clear()
    assert gradprism.check(run).is_whole
    assert faulty_store.arrived.total() <= 3 * 20 + 20  # one a file, and listings
    faulty_store.arrived.clear()
    assert gradprism.check(run).is_whole
    assert faulty_store.arrived.total() <= 20  # their ETags are known
    bucket.put("run/spectra/part-00007.parquet", b"PAR1" * 99)
    assert [fault.part for fault in gradprism.check(run).faults] == [7]
