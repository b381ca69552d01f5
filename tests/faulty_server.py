"""A chat-completion server on this machine that fails in every way it is told to."""

import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT = 0.3  # seconds of Retry-After


class FaultyServer:
    """Answers chat completions; before that, each request takes the next of its faults."""

    def __init__(self, *faults: str, port: int = 0, text: str | None = None, status: int = 200, message: str = "no"):
        self.faults, self.text, self.status, self.message = list(faults), text, status, message
        self.arrived: list[tuple[float, str, str]] = []  # when, which row, which fault
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.at_once = self.most_at_once = 0
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.handle(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = False
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def __enter__(self) -> "FaultyServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        row = re.search(r"row \d+", body["messages"][-1]["content"])
        name = row[0] if row else "?"
        with self._lock:
            fault = self.faults.pop(0) if self.faults else "none"
            self.arrived.append((time.monotonic(), name, fault))
            self.bodies.append(body)
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            getattr(self, "_" + fault)(request, name)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has gone
        finally:
            with self._lock:
                self.at_once -= 1

    def reply(self, name: str) -> bytes:
        number = int((re.search(r"\d+", name) or ["1"])[0]) % 10 + 1
        text = f"{number}\n\nBecause." if self.text is None else self.text
        usage = {"prompt_tokens": 11, "completion_tokens": 5}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return json.dumps({"choices": [choice], "usage": usage}).encode()

    def send(self, request: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        for header, value in headers.items():
            request.send_header(header.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    def _none(self, request: BaseHTTPRequestHandler, name: str) -> None:
        time.sleep(0.01)
        if self.status == 200:
            self.send(request, 200, self.reply(name))
            self.answered[name] += 1
        else:
            self.send(request, self.status, json.dumps({"error": {"message": self.message}}).encode())

    def _busy(self, request: BaseHTTPRequestHandler, name: str) -> None:
        self.send(request, 429, b'{"error": {"message": "slow down"}}', Retry_After=str(WAIT))

    def _error(self, request: BaseHTTPRequestHandler, name: str) -> None:
        self.send(request, 500, b"oops")

    def _bad(self, request: BaseHTTPRequestHandler, name: str) -> None:
        self.send(request, 400, b'{"error": {"message": "too long"}}')

    def _drop(self, request: BaseHTTPRequestHandler, name: str) -> None:
        request.connection.close()

    def _cut(self, request: BaseHTTPRequestHandler, name: str) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b'{"choices": [')

    def _hang(self, request: BaseHTTPRequestHandler, name: str) -> None:
        self.stopping.wait(6.0)

    def _malformed(self, request: BaseHTTPRequestHandler, name: str) -> None:
        self.send(request, 200, b'{"choices": [')

    def _slow(self, request: BaseHTTPRequestHandler, name: str) -> None:
        self._trickle(request, name, 0.2)
        self.answered[name] += 1

    def _trickle(self, request: BaseHTTPRequestHandler, name: str, seconds: float = 6.0) -> None:
        body = self.reply(name)
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        for byte in range(len(body)):
            if self.stopping.wait(seconds / len(body)):
                return
            request.wfile.write(body[byte : byte + 1])
            request.wfile.flush()
