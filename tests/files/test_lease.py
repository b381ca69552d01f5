"""One writer at a time in an object store, whatever becomes of the other one."""

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from typing import Any

import polars as pl
import pytest
from tests.object_store import Bucket, FaultyStore
from tests.runs.test_object_store import ABOUT, NOTHING

from gradprism import GradPrismError
from gradprism.files import lease
from gradprism.files.lease import Holder, Lease, read_holder
from gradprism.files.paths import as_remote, to_path
from gradprism.files.storage_errors import StorageError
from gradprism.metrics.tables import SCORES
from gradprism.runs.parts import publish_scores
from gradprism.runs.scores import ScoreWriter, locked_run
from gradprism.runs.writer import RunWriter

pytestmark = pytest.mark.slow  # waits for leases to run out, and for a server

ELSEWHERE: dict[str, Any] = {"host": "another-machine", "pid": os.getpid(), "token": "theirs"}


def left(bucket: Bucket, run: str = "run", **changes: Any) -> None:
    """What another writer has put there."""
    bucket.put(f"{run}/.lock", json.dumps(asdict(replace(Holder.here(), **changes))).encode())


def writer(bucket: Bucket, heard: list[str] | None = None) -> RunWriter:
    return RunWriter(to_path(f"{bucket.url}/run"), ABOUT, (heard if heard is not None else []).append)


def test_one_writes_and_the_other_is_told_who(bucket: Bucket) -> None:
    with writer(bucket):
        said = rf"Another process is writing the run {bucket.url}/run: process {os.getpid()} on .+, since 20..-.*--out"
        with pytest.raises(GradPrismError, match=said):
            writer(bucket)
        with pytest.raises(GradPrismError, match=said), locked_run(to_path(f"{bucket.url}/run"), ABOUT):
            pass
    assert "run/.lock" not in bucket.objects()
    with writer(bucket):
        pass


def test_of_many_that_begin_at_once_one_gets_it(bucket: Bucket) -> None:
    run, got, refused = as_remote(to_path(f"{bucket.url}/run")), [], []
    start = threading.Barrier(6)

    def begin() -> None:
        start.wait()
        try:
            got.append(Lease(run, ".lock", lambda _: None))
        except GradPrismError as error:
            refused.append(error)

    for round_ in range(3):
        if round_ == 2:  # and of many that take over what a dead one has left
            left(bucket, **ELSEWHERE, renewed=time.time() - 100)
        threads = [threading.Thread(target=begin) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(got), len(refused)) == (1, 5)
        got.pop().release()
        refused.clear()


def test_a_writer_on_another_machine_is_respected_for_a_minute(bucket: Bucket) -> None:
    left(bucket, **ELSEWHERE, renewed=time.time() - 50)
    with pytest.raises(GradPrismError, match="on another-machine, since"):
        writer(bucket)
    heard: list[str] = []
    left(bucket, **ELSEWHERE, renewed=time.time() - 70)
    with writer(bucket, heard):
        pass
    assert len(heard) == 1
    assert f"Taking over the run {bucket.url}/run from process {os.getpid()} on another-machine" in heard[0]


def test_a_process_of_this_machine_that_is_no_more_is_succeeded_at_once(bucket: Bucket) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left(bucket, pid=ended.pid)
    with writer(bucket):
        pass
    left(bucket, born=Holder.here().born - 3600)  # its number is another's now
    with writer(bucket):
        pass
    left(bucket, pid=ended.pid, namespace=1)  # a container's, which may be alive
    with pytest.raises(GradPrismError, match="Another process is writing"):
        writer(bucket)


def test_what_cannot_be_understood_is_taken_over(bucket: Bucket) -> None:
    bucket.put("run/.lock", b"{}")
    heard: list[str] = []
    with writer(bucket, heard):
        assert read_holder(as_remote(to_path(f"{bucket.url}/run/.lock"))) is not None
    assert "an unreadable lease" in heard[0]


def test_it_is_renewed_and_one_that_was_lost_publishes_nothing(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    file = as_remote(to_path(f"{bucket.url}/run/.lock"))
    with writer(bucket) as mine:
        first = read_holder(file)
        wait_until(lambda: read_holder(file) != first)
        renewed = read_holder(file)
        assert first is not None
        assert renewed is not None
        assert (renewed.token, renewed.since) == (first.token, first.since)
        mine.publish(0, NOTHING)
        left(bucket, **ELSEWHERE)
        held = lease._LEASES[f"{bucket.url}/run"]
        wait_until(lambda: held._lost is not None)
        for publish in (
            lambda: mine.publish(1, NOTHING),
            lambda: mine.update(complete=True),
            lambda: publish_scores(mine.path, "ifd", "d", 0, pl.DataFrame(schema=SCORES)),
        ):
            with pytest.raises(GradPrismError, match=r"(?s)now written by another: .* on another-machine.*is safe"):
                publish()
    assert "run/.lock" in bucket.objects()  # theirs
    assert mine.done == {0}


def test_workers_of_a_process_that_lost_it_publish_nothing(bucket: Bucket) -> None:
    """They are processes of their own, on any machine: each asks the store before it publishes."""
    with writer(bucket) as mine, locked_run(to_path(f"{bucket.url}/scored"), ABOUT) as scored:
        ours = ScoreWriter(scored, "ifd", {"identity": {}}, "")
        spectra, scores = pickle.loads(pickle.dumps((mine.publish_elsewhere, ours.publish_elsewhere)))
        lease._LEASES.clear()  # as in another process
        spectra(0, NOTHING)
        scores(0, pl.DataFrame(schema=SCORES))
        for run in ("run", "scored"):
            left(bucket, run, **ELSEWHERE)
        for publish, part in ((spectra, NOTHING), (scores, pl.DataFrame(schema=SCORES))):
            with pytest.raises(GradPrismError, match=r"now written by another: .* on another-machine"):
                publish(1, part)
            bucket.client.delete_object(Bucket=bucket.name, Key=f"{'run' if part is NOTHING else 'scored'}/.lock")
            with pytest.raises(GradPrismError, match="its lease was deleted"):
                publish(1, part)
    assert (mine.done, ours.done) == ({0}, {0})


def test_a_worker_that_cannot_ask_whose_the_run_is_tries_to_publish(
    bucket: Bucket, faulty_store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writer(bucket) as mine:
        publish = mine.publish_elsewhere
        lease._LEASES.clear()
        monkeypatch.setattr("gradprism.files.lease.read_holder", failing)
        assert publish is not None
        publish(0, NOTHING)
        assert mine.done == {0}


def failing(_: object) -> None:
    raise StorageError("busy", transient=True)


def test_it_outlives_a_store_that_fails_for_a_while(
    bucket: Bucket, faulty_store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    with writer(bucket) as mine:
        file = as_remote(to_path(f"{bucket.url}/run/.lock"))
        first = read_holder(file)
        faulty_store.faults["PUT"] = ["denied", "denied", "denied"]
        wait_until(lambda: not faulty_store.faults["PUT"])
        wait_until(lambda: read_holder(file) != first)
        mine.publish(0, NOTHING)


def test_a_renewal_that_the_store_refused_does_not_count(
    bucket: Bucket, faulty_store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    stored_lease = as_remote(to_path(f"{bucket.url}/run/.lock"))
    with writer(bucket) as mine:
        held = lease._LEASES[f"{bucket.url}/run"]
        faulty_store.faults["PUT"] = ["denied"] * 1000
        wait_until(lambda: len(faulty_store.faults["PUT"]) < 990)
        stored = read_holder(stored_lease)
        assert stored is not None
        assert held._me.renewed == stored.renewed
        monkeypatch.setattr(lease, "STALE_SECONDS", 0.0)
        with pytest.raises(StorageError):
            mine.publish(0, NOTHING)
        faulty_store.faults["PUT"] = []
        monkeypatch.setattr(lease, "STALE_SECONDS", 60.0)
        mine.publish(0, NOTHING)
    assert mine.done == {0}


def wait_until(true: Any) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
