"""What is built, and installed where nothing else is: no more than what it says it needs, and not this checkout."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT, SAMPLE

pytestmark = pytest.mark.slow  # builds, and starts processes that import everything

PACKAGE = ROOT / "src" / "gradprism"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
READ = [line for line in (ROOT / "requirements" / "read.txt").read_text("utf-8").splitlines() if line[0] != "#"]
LOADS_MODELS = {"torch", "transformers", "safetensors", "gguf", "accelerate", "datasets"}
COMMANDS = "import sys\nfrom gradprism.cli import main\nfor line in sys.stdin:\n    try: main(line.split())\n"
COMMANDS += "    except SystemExit as end: assert not end.code, (line, end.code)\n"


class Built(NamedTuple):
    """The source distribution, and the wheel made from it alone."""

    source: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    source = build("sdist", ROOT, folder)
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    return Built(source, build("wheel", folder / source.name.removesuffix(".tar.gz"), folder))


def build(kind: str, source: Path, folder: Path) -> Path:
    call(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder, folder=source)
    return next(folder.glob("*.tar.gz" if kind == "sdist" else "*.whl"))


def call(*words: object, folder: Path, lines: str = "", status: int = 0) -> str:
    """What a process prints, on either stream, in an environment that does not lead to this checkout."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [*map(str, words)], cwd=folder, input=lines, capture_output=True, text=True, check=False,
        env={**own, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def environment(folder: Path, needed: Iterable[str]) -> Path:
    """The packages of a new environment: links to those here that `needed` asks for, and nothing else."""
    venv.create(folder)
    packages = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(folder)}))
    for distribution in installed(needed):
        for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (packages / name).exists():  # two may share a folder
                (packages / name).symlink_to(distribution.locate_file(name))
    return packages


def installed(needed: Iterable[str]) -> Iterator[metadata.Distribution]:
    """The distributions here that requirements ask for, and those that these need."""
    waiting, done = [Requirement(line) for line in needed], set()
    while waiting:
        asked = waiting.pop()
        for extra in {"", *asked.extras} - {extra for name, extra in done if name == canonicalize_name(asked.name)}:
            done.add((canonicalize_name(asked.name), extra))
            distribution = metadata.distribution(asked.name)
            inner = [Requirement(line) for line in distribution.requires or ()]
            waiting += [each for each in inner if not each.marker or each.marker.evaluate({"extra": extra})]
            yield distribution


@pytest.fixture(scope="module")
def measuring(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and what it says it needs."""
    folder = tmp_path_factory.mktemp("measuring")
    environment(folder, PROJECT["dependencies"])
    call(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet", "--no-deps",
         "--no-index", "--disable-pip-version-check", built.wheel, folder=folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def reading(measuring: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with what was installed of the wheel, and what reading needs: no torch."""
    folder = tmp_path_factory.mktemp("reading")
    packages = environment(folder, READ)
    for part in measuring.glob("lib/*/site-packages/gradprism*"):
        (packages / part.name).symlink_to(part)
    return folder


@pytest.fixture(scope="module")
def run(measuring: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the installed command has measured."""
    folder = tmp_path_factory.mktemp("measured")
    words = ("spectra", SAMPLE, "--model", tiny_checkpoint, "--limit", 24, "--max-length", 96, "--out", "run")
    assert "24" in call(measuring / "bin" / "gradprism", *words, folder=folder)
    return folder / "run"


def test_every_file_of_the_package_is_in_the_wheel(built: Built) -> None:
    files = {file.relative_to(PACKAGE.parent) for file in PACKAGE.rglob("*") if file.is_file()}
    expected = {file.as_posix() for file in files if "__pycache__" not in file.parts}
    with zipfile.ZipFile(built.wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == expected
    assert {"gradprism/py.typed", "gradprism/__init__.pyi", "gradprism/report/assets/page.js"} <= found


def test_the_source_distribution_holds_the_tests_and_what_they_read(built: Built) -> None:
    with tarfile.open(built.source) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert found >= {
        "Makefile",
        "pyproject.toml",
        "tests/conftest.py",
        "examples/sample.jsonl",
        "requirements/read.txt",
    }


def test_reading_needs_what_the_package_needs_less_what_loads_models() -> None:
    all_lines = {*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["report"]}
    assert {Requirement(line).name for line in all_lines - {*READ}} == LOADS_MODELS
    assert {*READ} <= all_lines


def test_the_installed_command_helps_and_measures(measuring: Path, run: Path, tmp_path: Path) -> None:
    assert "spectra" in call(measuring / "bin" / "gradprism", "--help", folder=tmp_path)
    assert (run / "run.json").is_file()


def test_runs_are_read_without_torch(reading: Path, run: Path, tmp_path: Path) -> None:
    read_a_run(reading, run, tmp_path)


def read_a_run(environment: Path, run: Path, folder: Path) -> None:
    """Every verb that reads a run, in one process of an environment."""
    lines = f"""show {run}
compare {run} --by column:kind --against careless --resamples 199 --out compared
correlate {run}
select {run} --by effective_rank --given length --top 5 --out best.jsonl
figures compared --only length --formats png --out figures
report compared --out page.html
check {run}
export {run} --out paper.jsonl
"""
    call(environment / "bin" / "python", "-c", COMMANDS, folder=folder, lines=lines)
    made = {"best.jsonl", "compared", "figures", "page.html", "paper.jsonl"}
    assert made <= {file.name for file in folder.iterdir()}


def test_what_measures_says_what_is_missing(reading: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    words = ("spectra", SAMPLE, "--model", tiny_checkpoint, "--out", "run")
    said = call(reading / "bin" / "python", "-m", "gradprism", *words, folder=tmp_path, status=2)
    assert "is not installed, as where runs are only read.\npip install gradprism" in said


@pytest.mark.exhaustive  # takes the packages from the registry
def test_reading_is_installed_from_the_registry(built: Built, run: Path, tmp_path: Path) -> None:
    install = new_environment(tmp_path / "environment")
    install("-r", ROOT / "requirements" / "read.txt")
    install("--no-deps", built.wheel)
    read_a_run(tmp_path / "environment", run, tmp_path)


@pytest.mark.exhaustive  # takes torch, and all else, from the registry
def test_all_is_installed_from_the_registry(built: Built, tiny_checkpoint: Path, tmp_path: Path) -> None:
    install = new_environment(tmp_path / "environment")
    install(f"torch=={metadata.version('torch')}", f"{built.wheel}[report]")
    words = ("spectra", SAMPLE, "--model", tiny_checkpoint, "--limit", 24, "--max-length", 96, "--out", "run")
    call(tmp_path / "environment" / "bin" / "gradprism", *words, folder=tmp_path)
    read_a_run(tmp_path / "environment", tmp_path / "run", tmp_path)


def new_environment(folder: Path) -> Callable[..., str]:
    """Its `pip install`."""
    venv.create(folder, with_pip=True)
    return partial(call, folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-compile", folder=folder)
