"""Data at URLs: in an object store, and on a web server that knows nothing but whole files."""

import bz2
import gzip
import io
import json
import lzma
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from tests.conftest import SAMPLE
from tests.object_store import Bucket

from gradprism import GradPrismError
from gradprism.data.example_set import ExampleSet, open_examples
from gradprism.data.settings import ReadSettings
from gradprism.data.writing import arrow_schema, written_whole
from gradprism.files.paths import to_path

pytestmark = pytest.mark.slow  # two servers

RAW = SAMPLE.read_bytes()


def opened(*names: str, **settings: Any) -> ExampleSet:
    return open_examples(names, ReadSettings(**settings))


def parquet() -> bytes:
    file = io.BytesIO()
    pl.DataFrame([json.loads(line) for line in RAW.splitlines()]).write_parquet(file)
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("sample.jsonl", RAW)
    return file.getvalue()


def test_every_format_and_compression_gives_the_same_rows(bucket: Bucket) -> None:
    here = opened(str(SAMPLE))
    for name, content in {
        "a.jsonl": RAW, "a.jsonl.gz": gzip.compress(RAW), "a.jsonl.bz2": bz2.compress(RAW),
        "a.jsonl.xz": lzma.compress(RAW), "a.jsonl.zst": bytes(pa.compress(RAW, "zstd")), "a.jsonl.zip": zipped(),
        "a.parquet": parquet(), "a.json": b"[" + b",".join(RAW.splitlines()) + b"]", "odd [name] #1?.jsonl": RAW,
    }.items():  # fmt: skip
        there = opened(bucket.put(name, content))
        assert there.fingerprint == here.fingerprint, name
        assert there.sources[0].name == f"{bucket.url}/{name}"


def test_a_folder_of_files_is_read_in_the_order_of_names(bucket: Bucket) -> None:
    lines = RAW.splitlines(keepends=True)
    bucket.put("folder/b.jsonl", b"".join(lines[40:]))
    bucket.put("folder/a.jsonl.gz", gzip.compress(b"".join(lines[:40])))
    bucket.put("folder/README.md", b"about")
    bucket.put("folder/", b"")  # what some clients make where a folder is meant
    for folder in (f"{bucket.url}/folder", f"{bucket.url}/folder/"):
        found = opened(folder)
        assert found.fingerprint == opened(str(SAMPLE)).fingerprint
        assert [Path(source.name).name for source in found.sources] == ["a.jsonl.gz", "b.jsonl"]
    bucket.put("empty/README.md", b"about")
    with pytest.raises(GradPrismError, match="nor does it hold data files"):
        opened(f"{bucket.url}/empty")


def test_what_is_not_there_and_what_is_damaged(bucket: Bucket) -> None:
    for name in ("nothing.jsonl", "nothing"):
        with pytest.raises(GradPrismError, match=f"No such file: {bucket.url}/{name}"):
            opened(f"{bucket.url}/{name}")
    with pytest.raises(GradPrismError, match=r"Cannot read .*: Not a gzipped file"):
        opened(bucket.put("bad.jsonl.gz", b"no archive"))
    with pytest.raises(GradPrismError, match="is empty"):
        opened(bucket.put("empty.jsonl", b""))
    with pytest.raises(GradPrismError, match="not a readable Parquet file"):
        opened(bucket.put("bad.parquet", b"no table"))


def test_rows_are_written_to_the_store_whole_or_not_at_all(bucket: Bucket) -> None:
    rows = [{"a": i, "b": "x" * i} for i in range(600)]
    schema = arrow_schema(opened(bucket.put("a.parquet", parquet())).sources, rows)
    assert schema.names == list(json.loads(RAW.splitlines()[0]))  # as declared
    target = to_path(f"{bucket.url}/rows.jsonl")
    with written_whole(target, None) as writer:
        for row in rows:
            writer.write(row)
        assert "rows.jsonl" not in bucket.objects()
    assert [json.loads(line) for line in bucket.objects()["rows.jsonl"].splitlines()] == rows
    with pytest.raises(ZeroDivisionError), written_whole(target, None) as writer:
        writer.write({"a": 1 // 0})
    assert len(bucket.objects()["rows.jsonl"].splitlines()) == 600
    with (
        pytest.raises(GradPrismError, match="no such bucket"),
        written_whole(to_path("s3://no-such-bucket-here/x.jsonl"), None),
    ):
        pass


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "sample.jsonl").write_bytes(RAW)
    (tmp_path / "sample.jsonl.gz").write_bytes(gzip.compress(RAW))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_files_of_a_web_server(web: str) -> None:
    for name in ("sample.jsonl", "sample.jsonl.gz"):
        assert opened(f"{web}/{name}").fingerprint == opened(str(SAMPLE)).fingerprint
    with pytest.raises(GradPrismError, match=f"No such file: {web}/nothing.jsonl"):
        opened(f"{web}/nothing.jsonl")
    with pytest.raises(GradPrismError, match="cannot be reached"):
        opened("http://127.0.0.1:9/sample.jsonl")
