"""Every verb that writes, killed at random moments: what was there is there, or the new whole; repeated, it ends.

Half of the kills are at any moment, half while a hidden file or folder shows that something is being written. The
figures of a whole series: pytest tests/cli/test_kill_writers.py -m exhaustive -s
"""

import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.conftest import SAMPLE
from tests.forked_commands import Ended, ForkServer
from tests.made_papers import paper_rows, written
from tests.made_studies import written_study

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
Files = dict[str, bytes]


@dataclass(frozen=True)
class Verb:
    """Two commands of a verb: `new` is killed where `old` has written before. `{work}` is the folder for both."""

    old: tuple[object, ...]
    new: tuple[object, ...]
    unit: Callable[[str], str] = lambda name: ""  # a name for those files that change together: all of them
    differs: tuple[str, ...] = ()  # files in which more than times of day differs

    def units(self, files: Files) -> dict[str, Files]:
        """Files by what changes together."""
        found: dict[str, Files] = {}
        for name, content in files.items():
            if name not in self.differs:
                found.setdefault(self.unit(name), {})[name] = content
        return found

    def comparable(self, files: Files) -> Files:
        """Files without times of day, and without the checksums over these."""
        return {name: _TIMES.sub(b"", content) for name, content in files.items() if name not in self.differs}


_TIMES = re.compile(rb'\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.+Z]*|"sha256": "\w+"')


def unit_of_study(name: str) -> str:
    """Return each comparison, report and run by itself, and tables, figures and page as one."""
    _, kind, *below = name.split("/")
    return "/".join((kind, *below[:3])) if kind in ("comparisons", "reports", "runs", "recipe.yaml") else "results"


VERBS = {
    "spectra": Verb(
        (), ("spectra", SAMPLE, "--limit", 24, "--part-rows", 3, "--max-length", 64, "--model", "{given}/model",
             "--projections", "q,v", "--out", "{work}/run"), unit=lambda name: name, differs=("run/run.json",)
    ),
    "compare": Verb(
        ("compare", "{given}/run", "--by", "column:kind", "--resamples", 199, "--out", "{work}/compared"),
        ("compare", "{given}/run", "--by", "column:kind", "--resamples", 299, "--out", "{work}/compared"),
    ),
    "select": Verb(
        ("select", "{given}/run", "--by", "column:reward", "--top", 3, "--bottom", 3, "--out", "{work}/some.jsonl"),
        ("select", "{given}/run", "--by", "column:reward", "--top", 5, "--bottom", 5, "--out", "{work}/some.jsonl"),
    ),
    "report": Verb(
        ("report", "{given}/compared", "--no-texts", "--out", "{work}/report.html"),
        ("report", "{given}/compared", "--out", "{work}/report.html"),
    ),
    "figures": Verb(
        ("figures", "{given}/compared", "--only", "nuclear-norm", "--formats", "svg", "--out", "{work}/figures"),
        ("figures", "{given}/compared", "--only", "nuclear-norm", "--formats", "svg", "--out", "{work}/figures",
         "--style", "slides"),
    ),
    "export": Verb(
        ("export", "{given}/short", "--out", "{work}/rows.jsonl"),
        ("export", "{given}/run", "--out", "{work}/rows.jsonl"),
    ),
    "import": Verb(
        (), ("import", "{given}/rows.jsonl", "--part-rows", 8, "--out", "{work}/run"),
        unit=lambda name: name, differs=("run/run.json",),
    ),
    "study": Verb(
        ("study", "{given}/study.yaml", "--out", "{work}/study"),
        ("study", "{given}/again.yaml", "--out", "{work}/study"),
        unit=unit_of_study, differs=("study/steps.json",),
    ),
}  # fmt: skip

MANY = {
    "spectra": 12,
    "compare": 40,
    "select": 40,
    "report": 30,
    "export": 40,
    "import": 24,
    "figures": 16,
    "study": 10,
}  # kills


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="module")
def inputs(server: ForkServer, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a run, a shorter one, and a comparison to draw."""
    given = tmp_path_factory.mktemp("given")
    (given / "model").symlink_to(tiny_checkpoint)
    written(given / "rows.jsonl", paper_rows(24))
    written(given / "few.jsonl", paper_rows(3))
    for words in (
        ("import", given / "rows.jsonl", "--out", given / "run"),
        ("import", given / "few.jsonl", "--out", given / "short"),
        ("compare", given / "run", "--by", "column:kind", "--resamples", 199, "--out", given / "compared"),
    ):
        done(server, *words)
    return given


def done(server: ForkServer, *words: object, during: Callable[[int], object] = lambda pid: None) -> Ended:
    ended = server.run(*words, "--quiet", during=during)
    assert ended.status == 0, ended.errors
    return ended


@pytest.mark.slow  # two starts of each command, and a server that imports all
@pytest.mark.parametrize(
    "verb", ["compare", *(pytest.param(verb, marks=pytest.mark.exhaustive) for verb in ("select", "import"))]
)
def test_some_kills(verb: str, server: ForkServer, inputs: Path, tmp_path: Path) -> None:
    print(kills(verb, 2, server, inputs, tmp_path))


@pytest.mark.exhaustive
@pytest.mark.parametrize(("verb", "count"), MANY.items())
def test_many_kills(
    verb: str, count: int, server: ForkServer, inputs: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if verb == "study":
        write_studies(inputs, request.getfixturevalue("tiny_checkpoint"))
    outcomes = kills(verb, count, server, inputs, tmp_path)
    print(f"\n{verb}: " + "; ".join(f"{n} x {what}" for what, n in sorted(outcomes.items())))
    assert sum(n for what, n in outcomes.items() if "inside" in what) >= count / 5


def write_studies(given: Path, model: Path) -> None:
    """Two recipes of one study, of which the second makes comparisons and results again."""
    for name, resamples in (("again", 299), ("study", 199)):
        written_study(given, model, compare={"resamples": resamples}).rename(given / f"{name}.yaml")


def kills(verb: str, count: int, server: ForkServer, given: Path, folder: Path) -> Counter[str]:
    """Kill a command so often; return what was seen, each kind with its number."""
    tried, chance, outcomes = Trials(VERBS[verb], server, given, folder), random.Random(verb), Counter[str]()
    for number in range(count):
        aimed = number % 2 == 0
        wait = chance.random() ** 2 * tried.seconds_of_writing if aimed else chance.random() * tried.seconds
        outcomes[tried.kill_once(Killer(tried.work, SIGNALS[number % 3], aimed, wait))] += 1
    return outcomes


class Trials:
    """A command that is killed again and again, each time where the old one has written before."""

    def __init__(self, verb: Verb, server: ForkServer, given: Path, folder: Path):
        self.verb, self.server, self.work, self.copy = verb, server, folder / "work", folder / "old"
        self.words = [str(word).format(given=given, work=self.work) for word in verb.new]
        self.work.mkdir()
        if verb.old:
            done(server, *(str(word).format(given=given, work=self.work) for word in verb.old))
        shutil.copytree(self.work, self.copy)
        self.old, moments = files_seen(self.copy), list[float]()
        self.seconds = done(server, *self.words, during=lambda pid: watch(pid, self.work, moments)).seconds
        self.seconds_of_writing = moments[-1] - moments[0]
        self.new = files_seen(self.work)
        assert self.verb.units(self.old) != self.verb.units(self.new)

    def kill_once(self, killer: "Killer") -> str:
        """Return what became of the command, and what was there then, in words; and see that a repetition ends."""
        shutil.rmtree(self.work)
        shutil.copytree(self.copy, self.work)
        ended = self.server.run(*self.words, "--quiet", during=killer)
        assert "Traceback" not in ended.errors, ended.errors
        assert ended.status in (0, 130, -killer.signal), ended
        moving = ", being moved" if any(path.name.endswith("written") for path in self.work.rglob(".*")) else ""
        found = self.state_of(files_seen(self.work))
        done(self.server, *self.words)
        assert self.verb.comparable(files_seen(self.work)) == self.verb.comparable(self.new)
        assert not list(self.work.rglob(".*"))
        when = "inside" if killer.was_inside else "outside" if ended.status else "after its end"
        return f"{killer.signal.name} {when}: {found}{moving}"

    def state_of(self, files: Files) -> str:
        """In words what is there; raises where a unit is neither the old nor the new one."""
        found, old, new = map(self.verb.units, (files, self.old, self.new))
        states = set[str]()
        for name in {*found, *old, *new}:
            here, before, after = found.get(name, {}), old.get(name, {}), new.get(name, {})
            is_new = self.verb.comparable(here) == self.verb.comparable(after)
            both = (before.items(), after.items())
            mixed = [file for file in here.items() if not any(file in each for each in both)]
            assert is_new or here == before, f"{name} is neither old nor new: {[file for file, _ in mixed]}"
            if before != after:
                states.add("new" if is_new else "old")
        return " and ".join(sorted(states))


@dataclass
class Killer:
    """Sends a signal, at any moment or aimed at one at which something is being written."""

    work: Path
    signal: signal.Signals
    aimed: bool
    wait: float  # seconds from the start; of an aimed one from the first writing, and it waits for the next after them
    was_inside: bool = False

    def __call__(self, pid: int) -> None:
        """Send the signal to a process, and note whether something was being written then."""
        until(lambda: not self.aimed or is_writing(self.work), pid)
        moment = time.perf_counter() + self.wait  # often soon: most of the writing is short
        until(lambda: time.perf_counter() > moment, pid)
        until(lambda: not self.aimed or is_writing(self.work), pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)  # so that what is seen is what the signal meets
            time.sleep(0.002)
            self.was_inside = is_writing(self.work)
            os.kill(pid, self.signal)
            os.kill(pid, signal.SIGCONT)


def until(holds: Callable[[], bool], pid: int) -> None:
    """Wait until something holds, or a process has ended."""
    while not holds() and is_alive(pid):
        time.sleep(0.0002)


def watch(pid: int, work: Path, moments: list[float]) -> None:
    """Note all moments at which something is being written."""
    while is_alive(pid):
        if is_writing(work):
            moments.append(time.perf_counter())
        time.sleep(0.0002)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_writing(work: Path) -> bool:
    for _, folders, names in os.walk(work):
        if any(name[0] == "." and name.endswith(("writing", "written", "partial")) for name in (*folders, *names)):
            return True
    return False


def files_seen(work: Path) -> Files:
    """All files as a reader finds them: at their places, or on their way there."""
    paths = sorted(path for path in work.rglob("*") if path.is_file())
    here = {path.relative_to(work): path for path in paths}
    plain = {name: path for name, path in here.items() if not any(part[0] == "." for part in name.parts)}
    for name, path in here.items():
        (depth, *_) = [*(index for index, part in enumerate(name.parts) if re.fullmatch(r"\..*written", part)), -1]
        if depth >= 0:
            plain[Path(*name.parts[:depth], *name.parts[depth + 1 :])] = path
    return {str(name): path.read_bytes() for name, path in plain.items()}
