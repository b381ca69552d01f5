"""Runs in an object store: a real S3 server on this machine, read and written as a user does, and failing."""

import gzip
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal
from tests.command import run as command
from tests.conftest import SAMPLE
from tests.made_groups import given_run
from tests.made_runs import measured_run
from tests.object_store import SECRET, Bucket, FaultyStore, environment

import gradprism
from gradprism import GradPrismError, Run, open_run
from gradprism.data.formats import read_file
from gradprism.files import atomic as disk
from gradprism.files.paths import to_path
from gradprism.files.remote import RemotePath
from gradprism.metrics.tables import SCORES
from gradprism.prism.tables import EXAMPLES, SIMILARITY, SPECTRA, Tables
from gradprism.runs.layout import published_parts
from gradprism.runs.parts import publish_part, publish_scores
from gradprism.runs.writer import RunWriter

pytestmark = pytest.mark.slow  # a server of objects in a process of its own

NOTHING = Tables(*(pl.DataFrame(schema=schema) for schema in (EXAMPLES, SPECTRA, SIMILARITY)))
ABOUT = {"identity": {"a": 1}, "data": {"rows": 1, "fingerprint": "", "sources": []}, "sessions": []}


N_LARGE = 1500
TEXTS = [np.random.default_rng(i).bytes(4000).hex() for i in range(N_LARGE)]  # 12 MB that hardly shrink
LINES = "".join(f'{{"prompt": "{i}", "completion": "{text}"}}\n' for i, text in enumerate(TEXTS)).encode()


def parquet() -> bytes:
    file = io.BytesIO()
    pl.DataFrame({"prompt": range(N_LARGE), "completion": TEXTS}).write_parquet(file, row_group_size=100)
    return file.getvalue()


LARGE: dict[str, Callable[[], bytes]] = {
    "rows.jsonl": lambda: LINES,
    "rows.csv": lambda: b"prompt,completion\n" + b"".join(f"{i},{text}\n".encode() for i, text in enumerate(TEXTS)),
    "rows.jsonl.gz": lambda: gzip.compress(LINES, 1),
    "rows.jsonl.zst": lambda: bytes(pa.compress(LINES, "zstd")),
    "rows.parquet": parquet,
}


def made(path: Path) -> Run:
    return measured_run(path, 10, 2, lambda measure, row, layer, name: row + layer / 7, kind=list("abcdefghij"))


def test_tables_are_those_of_a_local_run(bucket: Bucket, tmp_path: Path) -> None:
    here, there = made(tmp_path / "run"), made(to_path(f"{bucket.url}/run"))
    for table in ("examples", "spectra", "similarity"):
        assert there.scan(table).collect_schema() == here.scan(table).collect_schema()
        assert_frame_equal(there.scan(table).collect(), here.scan(table).collect())
    one = pl.col("layer") == 1
    narrow = [run.scan("spectra").filter(one).select("row", "effective_rank").collect() for run in (here, there)]
    assert_frame_equal(*narrow)
    assert_frame_equal(there.layer_means, here.layer_means)
    assert_frame_equal(there.columns, here.columns)
    assert there.counts == here.counts
    assert sorted(bucket.objects()) == sorted(f"run/{file}" for file in files(tmp_path / "run") if file != ".lock")


def files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def test_only_the_columns_that_are_used_are_read(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).lognormal(1, 1, (200, 4, 10))
    run = given_run(to_path(f"{bucket.url}/run"), values, range(200))
    (part,) = [len(content) for key, content in bucket.objects().items() if "spectra" in key]
    read = counted(monkeypatch)
    found = run.scan("spectra").select("layer").collect()
    assert found["layer"].sum() == 200 * 4 * 45
    tail = 65536  # bytes in which the footer is looked for, once for the schema and once for the rows
    assert sum(read) - 2 * tail < 0.1 * (part - tail)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each request for a part of an object, from now on."""
    read, ask = list[int](), RemotePath.read_range

    def counting(self: RemotePath, start: int, end: int) -> bytes:
        read.append(end - start)
        return ask(self, start, end)

    monkeypatch.setattr(RemotePath, "read_range", counting)
    return read


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.jsonl.gz", "rows.parquet", "rows.jsonl.zst"])
def test_large_files_are_read_in_few_requests_of_bounded_size(
    bucket: Bucket, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = to_path(bucket.put(name, LARGE[name]()))
    read = counted(monkeypatch)
    assert sum(record.fields is not None for record in read_file(path)) == N_LARGE
    assert max(read) <= 4 << 20
    assert sum(read) < len(LARGE[name]()) + 4 * (4 << 20)  # the first bytes are looked at three times
    assert len(read) <= 10


def test_measured_from_the_store_into_the_store_and_replayed(
    bucket: Bucket, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"limit": 6, "part_rows": 2, "max_length": 200}
    here = gradprism.spectra(SAMPLE, tiny_checkpoint, out=tmp_path / "run", **options)
    data = bucket.put("data/sample.jsonl", SAMPLE.read_bytes())
    there = gradprism.spectra(data, tiny_checkpoint, out=f"{bucket.url}/run", **options)
    assert there.is_complete
    for table in ("examples", "spectra", "similarity"):
        assert_frame_equal(there.scan(table).collect(), here.scan(table).collect(), rel_tol=1e-5, abs_tol=1e-9)
    assert there.record["data"]["sources"] == [data]
    assert there.record["data"]["fingerprint"] == here.record["data"]["fingerprint"]
    replayed = command("run", f"{bucket.url}/run/recipe.yaml", "--out", f"{bucket.url}/again", "--quiet")
    assert replayed.returncode == 0, replayed.stderr
    assert_frame_equal(open_run(f"{bucket.url}/again").examples, there.examples)
    assert all(SECRET.encode() not in content for content in bucket.objects().values())


@pytest.mark.slow  # runs ten commands
def test_scores_selections_comparisons_and_pages(bucket: Bucket, tiny_checkpoint: Path) -> None:
    """Every verb, each reading and writing places in the store."""
    data, run = bucket.put("sample.jsonl", SAMPLE.read_bytes()), f"{bucket.url}/run"
    gradprism.spectra(data, tiny_checkpoint, out=run, limit=24, max_length=120)
    for words in (
        ("score", "--metric", "length,loss", "--model", tiny_checkpoint, "--max-length", 120, "--out", run),
        ("show", run, "--by", "kind"),
        ("select", run, "--by", "loss", "--top", 5, "--bottom", 5, "--out", f"{bucket.url}/chosen/best.jsonl"),
        ("select", run, "--by", "loss", "--top", 5, "--out", f"{bucket.url}/chosen/best.parquet"),
        ("correlate", run, "--metric", "loss,effective_rank:q", "--out", f"{bucket.url}/correlated"),
        ("compare", run, "--by", "loss", "--out", f"{bucket.url}/compared", "--resamples", 199),
        ("compare", f"a={run}", f"b={run}", "--resamples", 199),
        ("figures", f"{bucket.url}/compared", "--formats", "png", "--only", "nuclear-norm"),
        ("report", f"{bucket.url}/compared", "--out", f"{bucket.url}/page.html"),
        ("report", run, "--out", f"{bucket.url}/page2.html"),
    ):
        done = command(*words)
        assert done.returncode == 0, (words, done.stderr)
    objects = bucket.objects()
    assert {
        "run/scores/length/part-00000.parquet", "chosen/best.high.jsonl", "chosen/best.card.md", "chosen/best.parquet",
        "correlated/matrix_raw.csv", "compared/comparison.json", "compared/figures/nuclear-norm.png",
        "compared/figures/captions.md", "page.html", "page2.html",
    } <= {*objects}  # fmt: skip
    assert not [key for key in objects if "/." in key]
    best = [json.loads(line) for line in objects["chosen/best.high.jsonl"].splitlines()]
    assert len(best) == 5
    assert pl.read_parquet(io.BytesIO(objects["chosen/best.parquet"])).height == 5
    assert "photosynthesis" in objects["page.html"].decode()  # the texts come from the data in the store
    assert gradprism.open_comparison(f"{bucket.url}/compared").groups[0].run == run
    again = command("select", run, "--by", "loss", "--top", 5, "--out", data)
    assert "holds the data that is read" in again.stderr


def test_answers_of_a_judge_stay_in_the_users_cache(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from gradprism.models.builtin import cache_folder
    from gradprism.scoring.metrics import _answers_file
    from gradprism.scoring.settings import ScoreRecipe

    monkeypatch.setenv("GRADPRISM_CACHE", str(tmp_path))
    recipe = ScoreRecipe(data=("x",), metric="instag", out=f"{bucket.url}/run")
    assert _answers_file(recipe) == cache_folder().parent / "judge-cache.sqlite"
    assert _answers_file(recipe.model_copy(update={"out": "runs/a"})) == Path("runs/a/judge-cache.sqlite")
    done = command(
        "score", SAMPLE, "--metric", "instag", "--judge", "x", "--cache", f"{bucket.url}/c", "--out", bucket.url
    )
    assert done.returncode == 2
    assert "expected a local file" in done.stderr


def test_a_worker_publishes_while_another_process_holds_the_run(bucket: Bucket) -> None:
    run = to_path(f"{bucket.url}/run")
    with RunWriter(run, ABOUT) as writer:
        assert writer.done == frozenset()
        code = (
            "import sys, pickle; from gradprism.runs.parts import publish_part, publish_scores;"
            "place, tables, scores = pickle.load(sys.stdin.buffer);"
            "publish_part(place, 'd', 7, tables); publish_scores(place, 'ifd', 'd', 3, scores)"
        )
        given = pickle.dumps((run, NOTHING, pl.DataFrame(schema=SCORES)))
        subprocess.run([sys.executable, "-W", "error::ResourceWarning", "-c", code], input=given, check=True)
        assert writer.done == {7}  # no listing from before is believed
    assert published_parts(run, "scores/ifd") == [3]
    publish_part(run, "d", 7, NOTHING)  # written again, it is replaced
    publish_scores(run, "ifd", "d", 3, pl.DataFrame(schema=SCORES))
    assert published_parts(run) == [7]


def test_what_another_client_publishes_is_seen_at_once(bucket: Bucket, tmp_path: Path) -> None:
    run = made(to_path(f"{bucket.url}/run"))
    last = "run/examples/part-00002.parquet"
    content = bucket.objects()[last]
    bucket.client.delete_object(Bucket=bucket.name, Key=last)
    assert run.scan("examples").collect().height == 8
    bucket.put(last, content)
    assert run.scan("examples").collect().height == 10


def test_a_part_without_examples_does_not_count(bucket: Bucket) -> None:
    run = made(to_path(f"{bucket.url}/run"))
    bucket.client.delete_object(Bucket=bucket.name, Key="run/examples/part-00001.parquet")
    assert open_run(run.path).counts.done == 6
    assert set(run.scan("spectra").collect()["row"]) == {0, 2, 3, 8, 9}


def test_other_settings_and_foreign_places_are_refused(bucket: Bucket) -> None:
    with RunWriter(to_path(f"{bucket.url}/run"), ABOUT) as writer:
        writer.publish(0, NOTHING)
    with pytest.raises(GradPrismError, match=r"--a 1 \(now 2\)"):
        RunWriter(to_path(f"{bucket.url}/run"), {**ABOUT, "identity": {"a": 2}})
    bucket.put("things/precious.txt", b"1")
    with pytest.raises(GradPrismError, match=r"is not a run .it holds precious\.txt"):
        RunWriter(to_path(f"{bucket.url}/things"), ABOUT)
    with pytest.raises(GradPrismError, match="is not a run: it holds no"):
        open_run(f"{bucket.url}/things")
    assert [key for key in bucket.objects() if key.endswith(".lock")] == []


# Failures


def refused(done: "subprocess.CompletedProcess[str]", *says: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for words in says:
        assert words in done.stderr


def test_a_bucket_that_is_not_there(bucket: Bucket, tiny_checkpoint: Path) -> None:
    for words in (
        ("show", "s3://no-such-bucket-here/run"),
        ("spectra", "s3://no-such-bucket-here/x.jsonl", "--model", tiny_checkpoint, "--out", "x"),
        ("spectra", SAMPLE, "--model", tiny_checkpoint, "--out", "s3://no-such-bucket-here/run"),
    ):
        refused(command(*words), "s3://no-such-bucket-here/", "there is no such bucket")
    assert [found["Name"] for found in bucket.client.list_buckets()["Buckets"]].count("no-such-bucket-here") == 0


def test_a_web_server_takes_no_runs() -> None:
    with pytest.raises(GradPrismError, match="can only be read"):
        RunWriter(to_path("https://127.0.0.1:9/run"), ABOUT)


def test_no_credentials(bucket: Bucket) -> None:
    with environment(bucket.endpoint, AWS_PROFILE="nobody"):
        refused(command("show", f"{bucket.url}/run"), "no usable credentials", "AWS_PROFILE")
    with environment(bucket.endpoint):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            del os.environ[name]
        with pytest.raises(GradPrismError, match="no usable credentials"):
            open_run(f"{bucket.url}/run")


def test_access_denied(bucket: Bucket, faulty_store: FaultyStore) -> None:
    faulty_store.faults["GET"] = ["denied"] * 9
    refused(command("show", f"{bucket.url}/run"), "access was denied (Access Denied)", "Check the credentials")
    faulty_store.faults["HEAD"] = ["denied"] * 9
    refused(command("inspect", f"{bucket.url}/rows.jsonl"), "access was denied")


def test_nobody_at_the_address(bucket: Bucket) -> None:
    with environment("http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1"):
        refused(command("show", f"{bucket.url}/run"), "the storage cannot be reached", "AWS_ENDPOINT_URL")


def test_a_store_that_recovers_ends_nothing(
    bucket: Bucket, faulty_store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "PAUSES", (0.01, 0.01))
    with RunWriter(to_path(f"{bucket.url}/run"), ABOUT) as writer:
        faulty_store.faults["PUT"] = ["busy", "busy"]
        writer.publish(0, NOTHING)
        faulty_store.faults["PUT"] = ["drop"]
        writer.publish(1, NOTHING)
        assert writer.done == {0, 1}


def test_a_store_that_stays_away_is_one_plain_error(
    bucket: Bucket, faulty_store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "PAUSES", (0.01,))
    with RunWriter(to_path(f"{bucket.url}/run"), ABOUT) as writer:
        writer.publish(0, NOTHING)
        faulty_store.faults["PUT"] = ["busy"] * 99
        with pytest.raises(GradPrismError, match="already published is safe") as failed:
            writer.publish(1, NOTHING)
        assert "the storage failed, after retries too" in str(failed.value)
        faulty_store.faults.clear()
        assert writer.done == {0}


def test_reading_that_breaks_off_is_one_plain_error(bucket: Bucket, faulty_store: FaultyStore) -> None:
    run = made(to_path(f"{bucket.url}/run"))
    lazy = run.scan("spectra").select("row", "nuclear_norm")
    faulty_store.faults["GET"] = ["denied"] * 99
    with pytest.raises(GradPrismError, match=r"spectra/part-0000\d\.parquet: access was denied"):
        lazy.collect()
    faulty_store.faults["GET"] = ["drop"]
    assert lazy.collect().height == 9 * 2 * 2


# Whole or not at all


def test_an_upload_whose_connection_breaks_leaves_what_was_there(
    bucket: Bucket, faulty_store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "PAUSES", ())
    bucket.put("whole", b"before")
    faulty_store.faults["PUT"] = ["drop"] * 99
    for name in ("whole", "new"):
        with pytest.raises(GradPrismError, match=r"the storage (cannot be reached|failed)"):
            disk.write_whole(to_path(f"{bucket.url}/{name}"), os.urandom(3 << 20))
    assert bucket.objects() == {"whole": b"before"}


def test_of_an_upload_in_pieces_that_breaks_nothing_is_left(bucket: Bucket, faulty_store: FaultyStore) -> None:
    fs, path = RemotePath(f"{bucket.url}/large").file_system()
    faulty_store.faults["PUT"] = ["", "denied", "denied"]
    with pytest.raises(PermissionError):
        fs.pipe_file(path, bytes(12 << 20), chunksize=5 << 20)
    assert faulty_store.arrived["PUT"] >= 2
    assert bucket.objects() == {}
    assert bucket.unfinished() == []


def test_a_writer_killed_in_the_middle_of_an_upload_leaves_nothing(bucket: Bucket, faulty_store: FaultyStore) -> None:
    faulty_store.faults["PUT"] = ["stall"]
    code = f"from gradprism.files.paths import to_path; to_path('{bucket.url}/part').write_bytes(bytes(8 << 20))"
    writer = subprocess.Popen([sys.executable, "-c", code])
    assert faulty_store.stalled.wait(60)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    time.sleep(0.2)
    assert bucket.objects() == {}


def test_the_end_of_a_process_is_quiet(bucket: Bucket) -> None:
    made(to_path(f"{bucket.url}/run"))
    code = f"import gradprism; run = gradprism.open_run('{bucket.url}/run'); print(run.counts.done, run.spectra.height)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["10", "36"]
    assert done.stderr == ""
