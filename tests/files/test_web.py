"""Data of web servers that redirect, change, cut off or lie: it is read whole, or refused in one line."""

import asyncio
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.command import run
from tests.conftest import SAMPLE
from tests.raw_server import RawServer, Received, Respond, http

from gradprism.files import web
from gradprism.files.paths import to_path
from gradprism.files.storage_errors import StorageError, without_secrets

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

RAW = SAMPLE.read_bytes()
LARGE = RAW * (10 * 2**20 // len(RAW))  # more than the two blocks that are asked for at first
SECRET = "s3cr3t"


def answer(request: Received, content: bytes, *headers: str) -> bytes:
    """As a good server: with ranges, and to HEAD without a body."""
    if given := request.headers.get("range"):
        first, last = given.removeprefix("bytes=").split("-")
        start, end = int(first), min(int(last), len(content) - 1) + 1
        place = f"Content-Range: bytes {start}-{end - 1}/{len(content)}"
        return http(content[start:end], "206 Partial Content", place, *headers)
    return headed(request, http(content, "200 OK", "Accept-Ranges: bytes", *headers))


def headed(request: Received, whole: bytes) -> bytes:
    return whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.method == "HEAD" else whole


def good(request: Received) -> bytes:
    return answer(request, RAW)


def redirect(target: str, status: str = "302 Found") -> Respond:
    return lambda request: http(b"", status, f"Location: {target}")


def read(server: RawServer, name: str = "rows.jsonl") -> bytes:
    with to_path(f"http://127.0.0.1:{server.port}/{name}").open("rb") as file:
        return file.read()


@pytest.fixture
def elsewhere() -> Iterator[RawServer]:
    with RawServer(good) as server:
        yield server


@pytest.fixture
def as_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that was named counts as one of the internet."""
    ask = web._is_public

    async def is_public(host: str, port: int | None) -> bool:
        return host == "127.0.0.1" or await ask(host, port)

    monkeypatch.setattr(web, "_is_public", is_public)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_to_another_origin_takes_no_credentials_along(
    status: str, elsewhere: RawServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {SECRET}")
    monkeypatch.setenv("NETRC", str(netrc))
    target = f"http://127.0.0.1:{elsewhere.port}/signed.jsonl?Signature={SECRET}"
    reply = http(b"", status, f"Location: {target}", f"Set-Cookie: session={SECRET}; Path=/")
    with RawServer(lambda request: reply) as server:
        assert read(server) == RAW
    assert len(elsewhere.received) == 2
    allowed = {"host", "accept", "accept-encoding", "user-agent", "range"}
    assert {name for request in [*server.received, *elsewhere.received] for name in request.headers} <= allowed


UNSAFE: Mapping[str, tuple[str, str]] = {
    "a file of this machine": ("file:///etc/passwd", "no web address"),
    "another protocol": ("ftp://127.0.0.1/rows.jsonl", "no web address"),
    "a password": (f"http://me:{SECRET}@127.0.0.1:9/rows.jsonl", "holds a user name or a password"),
    "no address": (f"http://[:::/x?sig={SECRET}", "is no address"),
    "a port that is none": ("http://127.0.0.1:99999999/x", "is no address"),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_redirects_that_no_download_needs_are_refused(case: str) -> None:
    target, says = UNSAFE[case]
    with RawServer(redirect(target)) as server:
        done = run("inspect", f"http://127.0.0.1:{server.port}/rows.jsonl")
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stderr


@pytest.mark.parametrize(
    "host", ["localhost", "[::1]", "0.0.0.0", "169.254.169.254", "10.0.0.1", "192.168.1.1", "[fe80::1]", "2130706433"]
)
def test_a_public_server_does_not_lead_into_a_private_network(host: str, as_public: None) -> None:
    with (
        RawServer(redirect(f"http://{host}:{free_port()}/latest/meta-data")) as server,
        pytest.raises(StorageError, match="in a private network, or on this machine, which is refused"),
    ):
        read(server)


def test_a_server_of_the_private_network_may_lead_to_another(elsewhere: RawServer) -> None:
    with RawServer(redirect(f"http://localhost:{elsewhere.port}/rows.jsonl")) as server:
        assert read(server) == RAW


def test_https_does_not_fall_to_http() -> None:
    """Asked of the rule itself: a server with a certificate that is trusted is not to be had here."""
    from types import SimpleNamespace

    from yarl import URL

    def follow(source: str, target: str) -> None:
        response = SimpleNamespace(headers={"Location": target}, url=URL(source))
        asyncio.run(web._refuse_unsafe_redirect(None, None, SimpleNamespace(response=response)))

    for target in ("https://127.0.0.1/b", "/b", "//127.0.0.1/b"):
        follow("https://127.0.0.1/a", target)
    follow("http://127.0.0.1/a", "https://127.0.0.1/a")
    with pytest.raises(StorageError, match="without encryption, which is refused"):
        follow("https://127.0.0.1/a", "http://127.0.0.1/a")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def cut_short(request: Received) -> bytes:
    whole = good(request)
    return whole if request.method == "HEAD" else whole[:-1000]


def other_range(request: Received) -> bytes:
    if request.method == "HEAD":
        return good(request)
    return http(RAW[:5000], "206 Partial Content", f"Content-Range: bytes 100-5099/{len(RAW)}")


def no_place(request: Received) -> bytes:
    return good(request) if request.method == "HEAD" else http(RAW[:5000], "206 Partial Content")


def ends_early(request: Received) -> bytes:
    """Its ranges come in pieces, without their length, and end with nothing."""
    start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
    if request.method == "HEAD":
        return good(request)
    piece = RAW[start:5000]
    head = (
        f"HTTP/1.1 206 Partial\r\nContent-Range: bytes {start}-{len(RAW) - 1}/{len(RAW)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + piece


def gone(request: Received) -> bytes:
    return good(request) if request.method == "HEAD" else http(b"", "416 Range Not Satisfiable")


WRONG: dict[str, tuple[Respond, str]] = {
    "a body that is cut short": (cut_short, "the web server failed"),
    "another range": (other_range, "other bytes than were asked for"),
    "a range without its place": (no_place, "other bytes than were asked for"),
    "fewer bytes than announced": (ends_early, r"ends [\d,]+ bytes early"),
    "a file that is shorter now": (gone, "it has changed while it was read"),
    "a redirect to nowhere": (lambda request: http(b"", "302 Found"), "302 and no other address"),
    "redirects without an end": (redirect("/rows.jsonl"), "too many redirects"),
    "no HTTP": (lambda request: b"\x00\xff\r\n\r\n", "the web server failed"),
    "nothing": (lambda request: b"", "the web server failed"),
    "a length below 0": (lambda request: b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "the web server failed"),
    "access denied": (lambda request: headed(request, http(b"no", "403 Forbidden")), "No credentials are sent"),
    "a server that is busy": (lambda request: headed(request, http(b"", "503 Slow Down")), "503 Slow Down"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_the_file_is_refused(case: str) -> None:
    respond, says = WRONG[case]
    with RawServer(respond) as server, pytest.raises(StorageError, match=says):
        read(server)


def test_a_file_that_changes_between_two_ranges_is_refused() -> None:
    versions = iter(["1", "1", *"2" * 9])

    def changing(request: Received) -> bytes:
        version = next(versions)
        return answer(request, LARGE if version == "1" else LARGE.swapcase(), f'ETag: "{version}"')

    with RawServer(changing) as server, pytest.raises(StorageError, match="it has changed while it was read"):
        read(server)


@pytest.mark.parametrize("says_so", [True, False])
def test_a_large_file_of_a_server_without_ranges_is_read_whole(says_so: bool) -> None:
    """As `python -m http.server`, whether it says that it has them or says nothing."""
    header = ["Accept-Ranges: bytes"] if says_so else []
    with RawServer(lambda request: headed(request, http(LARGE, "200 OK", *header))) as server:
        assert read(server) == LARGE


def test_a_refusal_behind_a_redirect_does_not_show_the_signed_address() -> None:
    with RawServer(lambda request: headed(request, http(b"", "403 Forbidden"))) as denying:
        target = f"http://127.0.0.1:{denying.port}/rows.jsonl?X-Amz-Signature={SECRET}"
        with RawServer(redirect(target)) as server, pytest.raises(StorageError, match="access was denied") as refused:
            read(server)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"no 'https://me:{SECRET}@host:1/a?sig={SECRET}#x', sorry", "no 'https://host:1/a', sorry"),
        (f"https://{SECRET}@host", "https://host"),
        (f"(s3://bucket/a?versionId={SECRET})", "(s3://bucket/a"),
        ("nothing: to hide? no", "nothing: to hide? no"),
    ],
)
def test_addresses_in_messages_lose_what_is_secret(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
