"""Data of a hub whose files lie on another server: neither the token nor the signed address goes anywhere else."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.command import COMMAND
from tests.conftest import SAMPLE
from tests.raw_server import RawServer, Received, Respond, http

RAW = SAMPLE.read_bytes()
COMMIT, TOKEN, SIGNATURE = "a" * 40, "hf_s3cr3ts3cr3ts3cr3ts3cr3t", "s1gn4tur3"


def hub(files: str) -> Respond:
    """A hub with one data set of one file, which is at `files`."""

    def respond(request: Received) -> bytes:
        path = request.path.partition("?")[0]
        if "/tree/" in path:
            found = json.dumps([{"type": "file", "oid": "b" * 40, "size": len(RAW), "path": "data.jsonl"}])
        elif path.startswith("/api/datasets/"):
            found = json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": [{"rfilename": "data.jsonl"}]})
        elif path.endswith("data.jsonl"):
            linked = ('X-Linked-ETag: "abc"', f"X-Linked-Size: {len(RAW)}", f"X-Repo-Commit: {COMMIT}")
            return http(b"", "302 Found", f"Location: {files}?X-Amz-Signature={SIGNATURE}", *linked)
        else:
            return http(b"", "404 Not Found", f"X-Repo-Commit: {COMMIT}", "X-Error-Code: EntryNotFound")
        return without_body(request, http(found.encode(), "200 OK", f"X-Repo-Commit: {COMMIT}"))

    return respond


def without_body(request: Received, whole: bytes) -> bytes:
    return whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.method == "HEAD" else whole


def inspected(
    files: Callable[[Received], bytes], home: Path
) -> "tuple[subprocess.CompletedProcess[str], list[Received]]":
    with RawServer(files) as other, RawServer(hub(f"http://127.0.0.1:{other.port}/blob")) as server:
        settings = {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.port}", "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        }  # fmt: skip
        done = subprocess.run([*COMMAND, "inspect", "owner/name"], env={**os.environ, **settings}, capture_output=True,
                              text=True, timeout=120, check=False)  # fmt: skip
        assert any(TOKEN in request.headers.get("authorization", "") for request in server.received)
        return done, other.received


@pytest.mark.slow  # a process that imports `datasets`
def test_the_token_of_a_hub_stays_with_the_hub(tmp_path: Path) -> None:
    done, elsewhere = inspected(lambda request: without_body(request, http(RAW, "200 OK", 'ETag: "abc"')), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "72 rows" in done.stdout
    assert elsewhere
    assert not any(TOKEN in value for request in elsewhere for value in request.headers.values())


@pytest.mark.slow  # as above
def test_a_file_that_its_server_refuses_is_named_without_its_signature(tmp_path: Path) -> None:
    done, _ = inspected(lambda request: http(b"", "403 Forbidden"), tmp_path)
    assert done.returncode == 2, done.stdout
    assert "the hub did not give it" in done.stderr
    assert "Traceback" not in done.stderr
    assert SIGNATURE not in done.stderr
