"""A real S3 server on this machine (moto's), buckets in it, and a proxy before it that fails as it is told to."""

import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator
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
    there until the client has gone.
    """

    def __init__(self, endpoint: str):
        self.faults: dict[str, list[str]] = {}
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
                faults = outer.faults.get(self.command, [])
                fault = faults.pop(0) if faults else None
                length = int(self.headers.get("Content-Length") or 0)
                if fault in ("drop", "stall"):
                    self.rfile.read(length // 2)
                    self.close_connection = True
                    if fault == "stall":
                        outer.stalled.set()
                        self.rfile.read()
                    return
                body = self.rfile.read(length)
                if fault:
                    self.reply(*REFUSALS[fault], {})
                    return
                connection = HTTPConnection(upstream, timeout=30)
                try:
                    connection.request(self.command, self.path, body, dict(self.headers))
                    response = connection.getresponse()
                    headers = {name: value for name, value in response.getheaders() if name.lower() != "connection"}
                    self.reply(response.status, response.read(), headers)
                finally:
                    connection.close()

            def reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                self.send_response_only(status)
                if self.command != "HEAD":
                    headers = {k: v for k, v in headers.items() if k.lower() not in ("content-length",)}
                    headers["Content-Length"] = str(len(content))
                for name, value in headers.items():
                    if name.lower() != "transfer-encoding":
                        self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
