"""A real S3 server on this machine (moto's), buckets in it, and a proxy before it that fails as it is told to."""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock
from uuid import uuid4

DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
BUSY = b"<Error><Code>ServiceUnavailable</Code><Message>Please try again</Message></Error>"
REFUSALS = {"denied": (403, DENIED), "busy": (503, BUSY)}
SECRET = "secret-that-no-file-may-hold"


@contextmanager
def server() -> Iterator[str]:
    """Start the server, give its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for every request
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    try:
        host, port = started.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        started.stop()


@contextmanager
def environment(endpoint: str, **more: str) -> Iterator[None]:
    """What a user sets, and nothing of what is set here; clients are made anew."""
    import s3fs

    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FSSPEC_"))}
    ours = {
        "AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull, **more,
    }  # fmt: skip
    with mock.patch.dict(os.environ, {**kept, **ours}, clear=True):
        s3fs.S3FileSystem.clear_instance_cache()
        try:
            yield
        finally:
            s3fs.S3FileSystem.clear_instance_cache()


class Bucket:
    """A bucket of its own; what is in it as another client sees it."""

    def __init__(self, endpoint: str):
        import boto3

        self.endpoint, self.name = endpoint, f"bucket-{uuid4().hex[:12]}"
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id="other",
            aws_secret_access_key="other",
            region_name="eu-west-1",
        )
        self.client.create_bucket(Bucket=self.name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def put(self, key: str, content: bytes) -> str:
        """Put an object; return its URL."""
        self.client.put_object(Bucket=self.name, Key=key, Body=content)
        return f"{self.url}/{key}"

    def objects(self) -> dict[str, bytes]:
        """All that a reader can see."""
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return {item["Key"]: self.client.get_object(Bucket=self.name, Key=item["Key"])["Body"].read() for item in found}

    def versions(self, prefix: str) -> dict[str, str]:
        """When each object was written."""
        found = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", [])
        return {item["Key"]: str(item["LastModified"]) for item in found}

    def unfinished(self) -> list[str]:
        """Keys of the uploads in several pieces that were begun and not ended."""
        return [item["Key"] for item in self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])]


class FaultyStore:
    """Hands requests on. Before that, each of a method takes the next of the faults of that method.

    `busy` and `denied` are answers, `drop` ends the connection in the middle of what is sent, `stall` stops listening
    there until the client has gone. `lost` does what is asked and ends the connection in place of the answer, `cut`
    ends it in the middle of the answer; `short` gives half of the content as if it were all, `page` a page of HTML,
    `slow` waits, `stale` repeats the last listing but one, and `same` gives every object one ETag.

    `unconditional` stores ignore the conditions of requests.
    """

    def __init__(self, endpoint: str):
        self.faults: dict[str, list[str]] = {}
        self.choose: Callable[[str], str | None] = self._next  # the fault of a request, by its method
        self.unconditional = False
        self._listings: dict[str, list[bytes]] = {}
        self.arrived: Counter[str] = Counter()
        self.stalled = threading.Event()
        outer, upstream = self, endpoint.removeprefix("http://")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the client has gone
                    self.close_connection = True

            def answer(self) -> None:
                outer.arrived[self.command] += 1
                fault = outer.choose(self.command)
                length = int(self.headers.get("Content-Length") or 0)
                if fault in ("drop", "stall"):
                    self.rfile.read(length // 2)
                    self.close_connection = True
                    if fault == "stall":
                        outer.stalled.set()
                        self.rfile.read()
                    return
                body = self.rfile.read(length)
                if fault in REFUSALS:
                    self.reply(*REFUSALS[fault], {})
                    return
                asked = {k: v for k, v in self.headers.items() if not (outer.unconditional and k.startswith("If-"))}
                connection = HTTPConnection(upstream, timeout=30)
                try:
                    connection.request(self.command, self.path, body, asked)
                    response = connection.getresponse()
                    headers = {name: value for name, value in response.getheaders() if name.lower() != "connection"}
                    self.fail(fault, response.status, response.read(), headers)
                finally:
                    connection.close()

            def fail(self, fault: str | None, status: int, content: bytes, headers: dict[str, str]) -> None:
                """Answer, unless there is a fault, what the store answered."""
                if "list-type" in self.path and status == 200:
                    earlier = outer._listings.setdefault(self.path, [])
                    earlier.append(content)
                    content = earlier[-2:][0] if fault == "stale" else content
                if fault == "lost":
                    self.close_connection = True
                    return
                if fault == "slow":
                    time.sleep(0.2)
                if fault == "short" and status in (200, 206):
                    content = content[: len(content) // 2]
                if fault == "page":
                    status, content, headers = 200, b"<html>Please log in</html>", {"Content-Type": "text/html"}
                if fault == "same" and "ETag" in headers:
                    headers["ETag"] = '"0"'
                self.reply(status, content, headers, cut=fault == "cut")

            def reply(self, status: int, content: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
                self.send_response_only(status)
                if self.command != "HEAD":
                    headers = {k: v for k, v in headers.items() if k.lower() not in ("content-length",)}
                    headers["Content-Length"] = str(len(content))
                for name, value in headers.items():
                    if name.lower() != "transfer-encoding":
                        self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content[: len(content) // 2] if cut else content)
                self.close_connection |= cut

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def _next(self, method: str) -> str | None:
        faults = self.faults.get(method)
        return faults.pop(0) if faults else None

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
