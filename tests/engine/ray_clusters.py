"""Real Ray clusters of this machine, and what came of a run of the engine on one."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from gradprism.data.example import Example
from gradprism.engine.settings import EngineSettings
from gradprism.engine.shards import cut
from gradprism.engine.task import Account
from tests.conftest import ROOT
from tests.engine.noted_work import Listening, Noting, Rows


@contextmanager
def importable() -> Iterator[None]:
    """Workers import what the work of the tests is made of."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), before]))
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


@contextmanager
def own_cluster(gpus: int | None = None, **system: Any) -> Iterator[Any]:
    """A cluster that calls of the engine join, with two CPUs whatever the machine has.

    `gpus` that are not there: a worker that is given one sets no threads and so imports no torch. That is most of the
    time in which a toy's worker starts.
    """
    import ray

    with importable():
        ray.init(
            address="local", num_cpus=2, num_gpus=gpus, include_dashboard=False, log_to_driver=False,
            logging_level="ERROR", _system_config=system or None,
        )  # fmt: skip
        try:
            yield ray
        finally:
            ray.shutdown()


class Head:
    """The head of a cluster, in processes of its own: `port` answers once it is up."""

    def __init__(self, environment: Mapping[str, str], port: int, *options: str):
        self.folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # sockets have short names
        start = ["start", "--head", "--num-cpus=2", "--include-dashboard=false", f"--temp-dir={self.folder}", "--block"]
        ray = [sys.executable, "-m", "ray.scripts.scripts"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([*ray, *start, *options], env=environment, **quiet)
        try:
            self._wait_for(port)
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> "Head":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL to all of it, at once."""
        if self.process.poll() is None:
            for process in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
                with contextlib.suppress(psutil.NoSuchProcess):  # one that ended between the listing and this
                    process.kill()
        self.process.wait()

    def _wait_for(self, port: int) -> None:
        for _ in range(1800):  # on a busy machine a head takes its time
            assert self.process.poll() is None
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError("the cluster does not answer")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Finished:
    """What came of a run of the engine."""

    def __init__(
        self,
        work: Noting,
        n: int = 40,
        size: int = 4,
        workers: int = 2,
        watch: Listening | None = None,
        address: str | None = None,
        published: list[int] | None = None,
    ):
        import ray

        from gradprism.engine.ray.run import run

        gpus = 1 if ray.is_initialized() and "GPU" in ray.cluster_resources() else None
        self.published: dict[int, Rows] = {}
        self.order = [] if published is None else published
        self.account, self.watch = Account(), watch or Listening()
        settings = EngineSettings(
            engine="ray", workers=workers, cpus_per_worker=1, gpus_per_worker=gpus, address=address
        )
        shards = cut([Example(row, str(row)) for row in range(n)], size, ())
        run(shards, work, self, self.watch, self.account, self.watch.begin, settings, -(-n // size))

    publish_elsewhere = None

    def check(self) -> None:
        """It is held."""

    def publish(self, index: int, part: Rows) -> None:
        assert index not in self.published
        self.published[index] = part
        self.order.append(index)

    @property
    def rows(self) -> list[int]:
        return [row for index in sorted(self.published) for row, _ in self.published[index]]

    @property
    def failed(self) -> dict[int, str]:
        return {row: reason for part in self.published.values() for row, reason in part if reason}
