"""A server on this machine that answers each request by whatever bytes it is told to, HTTP or not."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Respond = Callable[[Received], bytes | Iterable[bytes]]


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """Make the bytes of a reply that closes its connection."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class RawServer:
    """Sends what `respond` returns for a request, then closes the connection."""

    def __init__(self, respond: Respond):
        self.received: list[Received] = []
        self.n_sent = 0
        self.stopping = threading.Event()
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                request = self._read()
                if request is None:
                    return
                outer.received.append(request)
                reply = respond(request)
                with suppress(OSError):
                    for piece in [reply] if isinstance(reply, bytes) else reply:
                        if outer.stopping.is_set():
                            break
                        self.connection.sendall(piece)
                        outer.n_sent += len(piece)
                    self.connection.shutdown(socket.SHUT_RDWR)

            def _read(self) -> Received | None:
                first = self.rfile.readline().decode("latin-1").split()
                headers = {}
                while line := self.rfile.readline().strip():
                    name, _, value = line.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                if len(first) < 2:
                    return None
                return Received(first[0], first[1], headers, self.rfile.read(int(headers.get("content-length", 0))))

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = False
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def __enter__(self) -> "RawServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
