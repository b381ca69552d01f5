"""A saved comparison that was damaged: one line that names the file, and never numbers of another one."""

import json
import random
import shutil
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.command import run as gradprism_command
from tests.conftest import ROOT
from tests.made_comparisons import made_comparison
from tests.made_papers import paper_rows, written

import gradprism
from gradprism import GradPrismError, open_comparison
from gradprism.comparison.comparison_files import TABLES, save_comparison
from gradprism.files.records import record_bytes

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

Damage = Callable[[Path], object]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    save_comparison(made_comparison(n=6, layers=2), folder)
    return folder


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other")
    save_comparison(made_comparison(n=6, layers=2, seed=1), folder)
    return folder


@pytest.fixture
def saved(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "compared"))


@pytest.fixture(scope="session")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of a version that wrote no digests."""
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ROOT / "tests" / "fixtures" / "before-the-house.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    assert "tables" not in json.loads((folder / "compared" / "comparison.json").read_text())
    return folder / "compared"


def refused(folder: Path) -> str:
    """The one line that a command says of it."""
    done = gradprism_command("figures", folder, "--only", "nuclear-norm", "--formats", "png")
    assert done.returncode == 2, done.stdout
    assert not (folder / "figures").exists()
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return str(lines[0])


def change(folder: Path, alter: Callable[[dict[str, Any]], object], sign: bool = True) -> None:
    """Change comparison.json, with a new checksum as whoever meant it would write one."""
    file = folder / "comparison.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    alter(record)
    file.write_bytes(record_bytes(record) if sign else json.dumps(record).encode())


def cut(folder: Path) -> None:
    file = folder / "levels.parquet"
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_another_comparison(table: str, saved: Path, other: Path) -> None:
    shutil.copy(other / f"{table}.parquet", saved)
    if (other / f"{table}.parquet").read_bytes() == (saved / f"{table}.parquet").read_bytes():
        (saved / f"{table}.parquet").write_bytes((saved / f"{table}.parquet").read_bytes() + b" ")
    assert f"{saved / table}.parquet is not the table that comparison.json names" in refused(saved)


@pytest.mark.parametrize("of_earlier", [False, True])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "mad.parquet").unlink(), "mad.parquet is missing"),
        (cut, "levels.parquet"),
        (lambda folder: (folder / "rd.parquet").write_bytes(b""), "rd.parquet"),
        (lambda folder: (folder / "effects.parquet").write_bytes(b"garbage" * 1000), "effects.parquet"),
        (lambda folder: shutil.copy(folder / "mad.parquet", folder / "levels.parquet"), "levels.parquet"),
        (lambda folder: shutil.copy(folder / "comparison.json", folder / "levels.parquet"), "levels.parquet"),
        (lambda folder: folder.joinpath("decay.parquet").unlink() or folder.joinpath("decay.parquet").mkdir(), "decay"),
        (lambda folder: (folder / ".comparison.unfinished").touch(), ".comparison.unfinished: an earlier version"),
        (lambda folder: (folder / "comparison.json").write_text("{"), "Cannot read"),
        (lambda folder: (folder / "comparison.json").write_text("[" * 100_000), "Cannot read"),
        (lambda folder: (folder / "comparison.json").write_bytes(b"\xff\xfe"), "Cannot read"),
        (lambda folder: (folder / "comparison.json").write_text("[]"), "comparison.json is damaged"),
    ],
)
def test_damaged_files(
    damage: Damage, words: str, of_earlier: bool, whole: Path, earlier: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(earlier if of_earlier else whole, tmp_path / "compared"))
    damage(folder)
    line = refused(folder)
    assert words in line
    assert str(folder) in line


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (lambda record: record.pop("groups"), "groups: field required"),
        (lambda record: record.update(groups=[]), "groups: list should have at least 1 item"),
        (lambda record: record.update(groups=[3]), "groups.0: input should be an object"),
        (lambda record: record["groups"][0].update(n="6"), "groups.0.n: input should be a valid integer"),
        (lambda record: record["groups"][0].pop("run"), "groups.0.run: "),
        (lambda record: record["groups"][1].update(reasons=["x"]), "groups.1.reasons: "),
        (lambda record: record.update(contrasts=[["high"]]), "contrasts.0.1: "),
        (lambda record: record.update(contrasts=[["high", "low", "x"]]), "contrasts.0: "),
        (lambda record: record.update(contrasts=[["high", "middle"]]), "a contrast names 'middle'"),
        (lambda record: record["findings"][0].update(sentence=None), "findings.0.sentence: "),
        (lambda record: record.update(notes="made up"), "notes: input should be a valid array"),
        (lambda record: record.update(about=None), "about: "),
        (lambda record: record["about"].pop("projections"), "about.projections: field required"),
        (lambda record: record["about"].update(layers=["0"]), "about.layers.0: "),
        (lambda record: record["about"].update(model="tiny"), "about.model: "),
        (lambda record: record["about"].update(text=nested(40)), "about.text: "),
        (lambda record: record.update(format_version=2), "format_version: input should be 1, given '2'"),
        (lambda record: record.update(tables=[]), "tables: "),
        (lambda record: record["tables"].pop("mad"), "mad.parquet is not the table that comparison.json names"),
        (lambda record: record["tables"].update(mad="00"), "mad.parquet is not the table that comparison.json names"),
    ],
)
def test_a_record_that_says_something_else(alter: Callable[[dict[str, Any]], object], words: str, saved: Path) -> None:
    change(saved, alter)
    assert words in refused(saved)
    change(saved, lambda record: None)  # other damages do not hide it
    assert words in refused(saved)


def test_a_changed_record_says_so(saved: Path) -> None:
    file = saved / "comparison.json"
    file.write_bytes(file.read_bytes().replace(b'"n": 6', b'"n": 9', 1))
    assert "comparison.json has changed since gradprism wrote it" in refused(saved)


@settings(deadline=None)
@given(
    chance=st.randoms(use_true_random=False), replacement=st.sampled_from([None, 0, "x", [], {}, [[]], {"a": 1}, 1e9])
)
def test_any_changed_entry_opens_or_is_one_line(chance: random.Random, replacement: Any, whole: Path) -> None:
    """Without a checksum, as earlier versions wrote it: what opens can also say itself."""
    record = json.loads((whole / "comparison.json").read_text(encoding="utf-8"))
    del record["sha256"]
    holder, key = any_entry(record, chance)
    if replacement is None and isinstance(holder, dict) and chance.random() < 0.5:
        del holder[key]
    else:
        holder[key] = replacement
    folder = whole.with_name("changed")
    if not folder.exists():
        shutil.copytree(whole, folder)
    (folder / "comparison.json").write_text(json.dumps(record))
    with suppress(GradPrismError):
        opened = open_comparison(folder)
        assert opened.levels.height
        assert repr(opened)


def any_entry(value: Any, chance: random.Random) -> tuple[Any, Any]:
    """A container anywhere in a record, and one of its keys."""
    while True:
        key = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
        inner = value[key]
        if not isinstance(inner, dict | list) or not inner or chance.random() < 0.2:
            return value, key
        value = inner


def test_entries_of_a_later_version_are_left_out(saved: Path) -> None:
    change(saved, lambda record: (record["groups"][0].update(colour="red"), record.update(more=1)))
    assert open_comparison(saved).groups[0].n == 6


def test_it_reads_back_as_it_was(whole: Path) -> None:
    made, opened = made_comparison(n=6, layers=2), open_comparison(whole)
    assert (opened.groups, opened.contrasts, opened.findings, opened.notes) == (
        made.groups, made.contrasts, made.findings, made.notes,
    )  # fmt: skip
    for name in TABLES:
        assert getattr(opened, name).equals(getattr(made, name)), name


def test_a_comparison_on_its_way_to_its_place_opens(whole: Path, other: Path, tmp_path: Path) -> None:
    """As a kill leaves it, with some of the new files moved: the new one opens, and is written over."""
    folder = Path(shutil.copytree(whole, tmp_path / "compared"))
    shutil.copytree(other, folder / ".written")
    for name in ("levels.parquet", "levels.csv", "effects.parquet"):
        (folder / ".written" / name).replace(folder / name)
    new = open_comparison(other)
    assert all(getattr(open_comparison(folder), name).equals(getattr(new, name)) for name in TABLES)
    save_comparison(made_comparison(n=6, layers=2), folder)
    assert not (folder / ".written").exists()
    assert (folder / "comparison.json").read_bytes() == (whole / "comparison.json").read_bytes()
    assert pl.read_parquet(folder / "levels.parquet").equals(made_comparison(n=6, layers=2).levels)


def test_a_first_comparison_on_its_way_to_its_place_opens(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "compared"
    shutil.copytree(whole, folder / ".written")
    assert gradprism.open_comparison(folder).groups[0].n == 6


def test_the_command_checks_and_repairs_it(tmp_path: Path) -> None:
    gradprism.import_paper(written(tmp_path / "rows.jsonl", paper_rows(12)), out=tmp_path / "run")
    words = ("compare", tmp_path / "run", "--by", "column:kind", "--resamples", 199, "--out", tmp_path / "compared")
    assert gradprism_command(*words, "-q").returncode == 0
    assert gradprism_command("check", tmp_path / "compared").returncode == 0
    table = tmp_path / "compared" / "effects.parquet"
    table.write_bytes(table.read_bytes()[:500])
    done = gradprism_command("check", tmp_path / "compared")
    assert done.returncode == 3
    assert "effects.parquet" in "".join(done.stdout.split())
    assert gradprism_command("check", tmp_path / "compared", "--repair").returncode == 0
    assert gradprism_command("check", tmp_path / "compared", "--json").stdout.count('"whole": true') == 1
