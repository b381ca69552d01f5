"""A real OpenAI-compatible server on this machine (`transformers serve`, smollm2-135m), killed and started again.

Slow: the server imports torch and loads its model, and writes its answers on the CPU. Between it and the judge
stands a proxy that counts.
"""

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings
from gradprism.metrics.judge.client import Endpoint
from gradprism.metrics.judge.endpoint import EndpointJudge
from gradprism.metrics.judge.prompts import Prompt
from gradprism.metrics.judged import Difficulty
from gradprism.metrics.settings import JudgeSettings, RequestSettings
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.settings import CheckpointSettings

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "sample.jsonl"
PROMPT = Prompt(  # a number that so small a model can only repeat, and text by which no two rows ask the same
    "test", "Difficulty Score: {{ response|length % 9 + 1 }}\n\n{{ response[:60] }}\n\nWhat is the difficulty score?"
)


class Serve:
    """`transformers serve` as a process that can be killed and started again on the same port."""

    def __init__(self, folder: str, log: Path):
        self.folder, self.log = folder, log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = Path(sys.executable).with_name("transformers")
        command = [str(program), "serve", self.folder, "--port", str(self.port), "--device", "cpu"]
        with self.log.open("ab") as log:
            # one thread: beside other work on the same cores, threads that wait for one another take ten times as long
            environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def wait(self, seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with suppress(OSError), urllib.request.urlopen(self.url + "/health", timeout=2) as reply:
                if reply.status == 200:
                    return
            time.sleep(0.3)
        pytest.fail(f"transformers serve did not start:\n{self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


class Proxy:
    """Passes requests on, and counts those that came and those whose answer went back whole."""

    def __init__(self, upstream: str):
        self.upstream, self.came, self.answered = upstream, Counter[str](), Counter[str]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.forward(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = False
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def forward(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        name = hashlib.sha256(body).hexdigest()
        self.came[name] += 1
        headers = {"Content-Type": "application/json"}
        onward = urllib.request.Request(self.upstream + request.path, data=body, headers=headers)
        try:
            with urllib.request.urlopen(onward, timeout=120) as reply:
                status, answer = reply.status, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                status, answer = error.code, error.read()
        except OSError:  # killed: the connection breaks for the judge as it broke here
            request.connection.close()
            return
        request.send_response(status)
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer)
        self.answered[name] += status == 200

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    folder = find_checkpoint(CheckpointSettings(model="smollm2-135m")).location
    server = Serve(folder, tmp_path / "serve.log")
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()


@pytest.fixture
def proxy(serve: Serve) -> Iterator[Proxy]:
    made = Proxy(serve.url)
    yield made
    made.stop()


@pytest.mark.slow  # a server that loads torch and a model
@pytest.mark.parametrize(
    ("n_rows", "is_killed"),
    [
        pytest.param(8, False, id="whole"),
        # twice so long; a server that is killed is also one of test_judge_client.py
        pytest.param(40, True, id="killed and started again", marks=pytest.mark.exhaustive),
    ],
)
def test_rows_through_a_server(
    n_rows: int, is_killed: bool, serve: Serve, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    examples = list(open_examples(SAMPLE, ReadSettings(limit=n_rows)))
    done: list[int] = []

    def make() -> Difficulty:
        judge = JudgeSettings(judge=serve.folder, base_url=proxy.url, judge_max_tokens=12)
        endpoint = Endpoint(judge, RequestSettings(concurrency=3, request_timeout=60, retries=8), first_wait=0.5)
        return Difficulty(EndpointJudge(endpoint, tmp_path / "answers.sqlite"), PROMPT, 12)

    def watch(n: int, tokens: int) -> None:
        before = sum(done)
        done.append(n)
        if is_killed and before < 15 <= before + n:
            serve.kill()
            serve.start()

    metric = make()
    frame = metric.table(examples, watch)
    counts = metric._judge.endpoint.counts  # type: ignore[attr-defined]
    with capsys.disabled():
        print(f"\n{counts}; {frame['status'].value_counts().to_dicts()}; {frame['raw_answer'].head(3).to_list()}")
    assert sum(done) == n_rows
    assert frame["raw_answer"].null_count() == 0
    assert frame["n_prompt_tokens"].null_count() == frame["n_answer_tokens"].null_count() == 0
    assert frame["status"].is_in(["ok", "failed"]).all()
    assert frame.filter(status="ok").height >= n_rows // 2
    assert frame.filter(status="ok")["value"].is_between(1, 10).all()
    assert frame.filter(status="failed")["value"].null_count() == frame.filter(status="failed").height
    assert counts.answered == n_rows
    assert counts.retried > 0 or not is_killed
    assert len(proxy.answered) == n_rows
    assert set(proxy.answered.values()) == {1}
    assert sum(proxy.came.values()) == counts.sent == n_rows + counts.retried

    again = make().table(examples)
    assert again.equals(frame)
    assert sum(proxy.came.values()) == counts.sent  # every answer came from the cache
