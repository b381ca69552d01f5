"""Damaged runs: each damage is one line that names its file, and is repaired without a loss."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.command import run as command
from tests.conftest import SAMPLE

import gradprism
from gradprism.core.errors import GradPrismError
from gradprism.files.records import record_bytes
from gradprism.runs.integrity import check

ROWS, PART_ROWS = 8, 3
OPTIONS = {"limit": ROWS, "part_rows": PART_ROWS, "max_length": 48}
TABLES = ("examples", "spectra", "similarity")
Damage = Callable[[Path, Path], object]


@pytest.fixture(scope="session")
def whole(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with spectra and two metrics."""
    run = tmp_path_factory.mktemp("whole") / "run"
    gradprism.spectra(SAMPLE, tiny_checkpoint, out=run, projections="q,v", **OPTIONS)
    gradprism.score(SAMPLE, ["loss", "length"], model=tiny_checkpoint, out=run, **OPTIONS)
    return run


@pytest.fixture(scope="session")
def stranger(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of other settings and other rows."""
    run = tmp_path_factory.mktemp("stranger") / "run"
    options = {**OPTIONS, "max_length": 40, "rows": "10:18"}
    gradprism.spectra(SAMPLE, tiny_checkpoint, out=run, projections="q,v", **options)
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def part(run: Path, table: str, index: int) -> Path:
    return run / table / f"part-{index:05d}.parquet"


def cut(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])


def flip(file: Path, place: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(place * (len(content) - 1))] ^= 0x10
    file.write_bytes(content)


def rewrite(file: Path, change: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame) -> None:
    """As another program writes it: the same or other rows, without a label."""
    change(pl.read_parquet(file)).write_parquet(file)


def replaced_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES: dict[str, tuple[str, int, Damage]] = {
    "a file cut in half": ("spectra", 1, lambda run, _: cut(part(run, "spectra", 1), 1000)),
    "a file cut within its end": ("examples", 2, lambda run, _: cut(part(run, "examples", 2), -5)),
    "an empty file": ("similarity", 0, lambda run, _: cut(part(run, "similarity", 0), 0)),
    "garbage": ("spectra", 0, lambda run, _: part(run, "spectra", 0).write_bytes(random.Random(0).randbytes(5000))),
    "garbage that begins and ends as Parquet": (
        "examples", 1, lambda run, _: part(run, "examples", 1).write_bytes(b"PAR1" + b"\0" * 64 + b"\x10\0\0\0PAR1")
    ),
    "a bit of a number": ("spectra", 2, lambda run, _: flip(part(run, "spectra", 2), 0.3)),
    "a bit of the file's own description": ("examples", 0, lambda run, _: flip(part(run, "examples", 0), 0.97)),
    "part 0 copied over part 1": (
        "spectra", 1, lambda run, _: shutil.copy(part(run, "spectra", 0), part(run, "spectra", 1))
    ),
    "examples 0 copied over examples 1": (
        "examples", 1, lambda run, _: shutil.copy(part(run, "examples", 0), part(run, "examples", 1))
    ),
    "a part of another run": (
        "examples", 1, lambda run, other: shutil.copy(part(other, "examples", 1), part(run, "examples", 1))
    ),
    "spectra of another run": (
        "spectra", 0, lambda run, other: shutil.copy(part(other, "spectra", 0), part(run, "spectra", 0))
    ),
    "another table under this name": (
        "similarity", 1, lambda run, _: shutil.copy(part(run, "spectra", 1), part(run, "similarity", 1))
    ),
    "a table that is missing": ("spectra", 1, lambda run, _: part(run, "spectra", 1).unlink()),
    "cosines that are missing": ("similarity", 2, lambda run, _: part(run, "similarity", 2).unlink()),
    "a folder in place of a file": ("spectra", 1, lambda run, _: replaced_by_folder(part(run, "spectra", 1))),
    "rows that another program wrote": ("examples", 0, lambda run, _: rewrite(part(run, "examples", 0))),
    "rows that another program dropped": (
        "spectra", 1, lambda run, _: rewrite(part(run, "spectra", 1), lambda frame: frame.head(3))
    ),
    "a loss that was edited": (
        "examples", 1, lambda run, _: rewrite(part(run, "examples", 1), lambda frame: frame.with_columns(loss=1.0))
    ),
    "scores of another metric": (
        "scores/loss", 0, lambda run, _: shutil.copy(part(run, "scores/length", 0), part(run, "scores/loss", 0))
    ),
    "scores cut in half": ("scores/loss", 2, lambda run, _: cut(part(run, "scores/loss", 2), 700)),
    "a bit of a score": ("scores/length", 1, lambda run, _: flip(part(run, "scores/length", 1), 0.2)),
}  # fmt: skip


def read_all(run: Path) -> dict[str, pl.DataFrame]:
    opened = gradprism.open_run(run)
    scores = {name: opened.scores(name) for name in opened.metrics}
    return {table: opened.scan(table).collect().sort("row", maintain_order=True) for table in TABLES} | scores


def again(run: Path, model: Path) -> None:
    gradprism.spectra(SAMPLE, model, out=run, projections="q,v", **OPTIONS)
    gradprism.score(SAMPLE, ["loss", "length"], model=model, out=run, **OPTIONS)


def assert_same(run: Path, whole: Path) -> None:
    found, expected = read_all(run), read_all(whole)
    assert found.keys() == expected.keys()
    for name, frame in expected.items():
        assert_frame_equal(found[name], frame, rel_tol=1e-5, abs_tol=1e-7)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damage_is_one_line_that_names_its_file(damage: str, run: Path, stranger: Path) -> None:
    table, index, make = DAMAGES[damage]
    make(run, stranger)
    with pytest.raises(GradPrismError) as caught:
        read_all(run)
    assert str(part(run, table, index)) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert command("show", run).returncode == 2
    assert [fault.file for fault in check(run).faults] == [part(run, table, index)]


@pytest.mark.slow  # measures a part again for each
@pytest.mark.parametrize("damage", DAMAGES)
def test_resuming_computes_that_part_alone_and_keeps_what_was_there(
    damage: str, run: Path, whole: Path, stranger: Path, tiny_checkpoint: Path
) -> None:
    table, index, make = DAMAGES[damage]
    make(run, stranger)
    damaged = part(run, table, index)
    before = damaged.read_bytes() if damaged.is_file() else None
    others = {file: file.stat().st_mtime_ns for file in run.rglob("*.parquet") if f"part-{index:05d}" not in file.name}
    again(run, tiny_checkpoint)
    assert_same(run, whole)
    assert check(run).is_whole
    assert others == {file: file.stat().st_mtime_ns for file in others}
    aside = run / "damaged" / damaged.relative_to(run)
    assert (aside.read_bytes() if aside.is_file() else None) == before


@pytest.mark.slow
def test_the_command_repairs_all_of_it_at_once(run: Path, whole: Path, stranger: Path) -> None:
    for damage in ("a file cut in half", "a part of another run", "scores of another metric"):
        DAMAGES[damage][2](run, stranger)
    (run / "scores/length/score.json").unlink()
    done = command("check", run)
    assert done.returncode == 3
    said = " ".join(done.stdout.split())
    assert (
        "makes again: part 1 (3 rows) of spectra, the record of scores/length, part 0 (3 rows) of scores/loss" in said
    )
    assert "examples/part-00001.parquet it is of other settings or other data" in said
    done = command("check", run, "--repair", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["whole"] is True
    assert_same(run, whole)


RECORDS: dict[str, Callable[[str], str | bytes]] = {
    "cut in half": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "a changed number": lambda text: text.replace(f'"rows": {ROWS}', f'"rows": {ROWS + 1}', 1),
    "a changed setting": lambda text: text.replace('"prism.precision": "exact"', '"prism.precision": "fast"', 1),
    "nested deeply": lambda text: text.replace('"sessions": [', '"sessions": [' + "[" * 100_000, 1),
    "a number of 5,000 digits": lambda text: text.replace(f'"rows": {ROWS}', '"rows": ' + "9" * 5000, 1),
    "bytes that are no text": lambda text: text.encode()[:-40] + b"\xff\xfe" + text.encode()[-40:],
}


@pytest.mark.parametrize("damage", RECORDS)
def test_a_damaged_record_is_one_line(damage: str, run: Path) -> None:
    file = run / "run.json"
    text = RECORDS[damage](file.read_text(encoding="utf-8"))
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(GradPrismError) as caught:
        gradprism.open_run(run)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert command("show", run).returncode == 2


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        (("data", "rows"), "8"), (("data", "rows"), -1), (("data", "rows"), None), (("data", "rows"), 8.5),
        (("data",), []), (("sessions",), {}), (("sessions",), [{"seconds": "long"}]), (("identity",), "x"),
        (("model", "name"), 7), (("model", "projections"), "q"), (("data", "sources"), "a.jsonl"),
    ],
)  # fmt: skip
def test_a_record_of_wrong_types_is_one_line_that_names_the_entry(
    entry: tuple[str, ...], value: object, run: Path
) -> None:
    file = run / "run.json"
    record = inner = json.loads(file.read_text(encoding="utf-8"))
    for name in entry[:-1]:
        inner = inner[name]
    inner[entry[-1]] = value
    file.write_bytes(record_bytes(record))
    with pytest.raises(GradPrismError, match=r"run\.json is damaged: " + r"\.".join(entry)) as caught:
        gradprism.open_run(run)
    assert "\n" not in str(caught.value)


@pytest.mark.slow  # measures nothing, but reads the data and the model again
@pytest.mark.parametrize("record", ["run.json", "scores/loss/score.json"])
@pytest.mark.parametrize("damage", ["cut in half", "empty", "gone"])
def test_a_lost_record_is_written_anew_from_what_the_parts_say(
    record: str, damage: str, run: Path, whole: Path, tiny_checkpoint: Path
) -> None:
    file = run / record
    if damage == "gone" and record == "run.json":
        pytest.skip("without run.json a folder is no run")
    if damage == "gone":
        file.unlink()
    else:
        file.write_text(str(RECORDS[damage](file.read_text(encoding="utf-8"))))
    parts = {part: part.stat().st_mtime_ns for part in run.rglob("*.parquet")}
    again(run, tiny_checkpoint)
    assert_same(run, whole)
    assert parts == {part: part.stat().st_mtime_ns for part in run.rglob("*.parquet")}


def test_a_record_of_another_run_fits_no_part(run: Path, stranger: Path) -> None:
    shutil.copy(stranger / "run.json", run / "run.json")
    with pytest.raises(GradPrismError, match=r"examples/part-00000\.parquet .* it is of other settings or other data"):
        read_all(run)


def test_a_part_beyond_the_last_is_found(run: Path) -> None:
    for table in TABLES:
        shutil.copy(part(run, table, 2), part(run, table, 3))
    with pytest.raises(GradPrismError, match=r"part-00003\.parquet .* it is part 2 under another name"):
        read_all(run)


def test_a_part_that_is_gone_from_a_complete_run_is_found(run: Path) -> None:
    for table in TABLES:
        part(run, table, 2).unlink()
    assert not gradprism.open_run(run).is_complete
    assert check(run).checked[0].to_repair == (2,)
    done = command("check", run)
    assert done.returncode == 3
    assert "part 2 (2 rows) of spectra" in " ".join(done.stdout.split())


def test_a_whole_run_is_said_to_be_whole(run: Path) -> None:
    (run / "spectra" / ".part-00000.parquet.partial").write_bytes(b"cut off")
    done = command("check", run)
    said = done.stdout
    assert done.returncode == 0
    assert "spectra        3 parts, whole" in said
    assert "1 unfinished files of a killed process" in said
    assert "scores/length 3 parts, whole" in repr(check(run))


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(s, marks=pytest.mark.exhaustive) for s in range(12, 400))])
def test_any_damage_is_found_or_harms_nothing(seed: int, run: Path, stranger: Path, whole: Path) -> None:
    """A seeded fuzzer over bytes, cuts, swaps and copies of any file of the run."""
    chance = random.Random(seed)
    files = sorted(file for file in run.rglob("*") if file.suffix in (".parquet", ".json"))
    file, other = chance.choice(files), chance.choice([*files, *sorted(stranger.rglob("part-*.parquet"))])
    kind = chance.choice(["byte", "byte", "bytes", "cut", "swap", "copy", "insert", "gone"])
    content = bytearray(file.read_bytes())
    if kind == "swap":
        file.write_bytes(other.read_bytes())
        if other.is_relative_to(run):
            other.write_bytes(bytes(content))
    elif kind == "copy":
        file.write_bytes(other.read_bytes())
    elif kind == "gone":
        file.unlink()
    else:
        place = chance.randrange(len(content))
        if kind == "cut":
            del content[place:]
        elif kind == "insert":
            content[place:place] = chance.randbytes(chance.randrange(1, 50))
        else:
            for _ in range(1 if kind == "byte" else 20):
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        file.write_bytes(content)
    try:
        found = read_all(run)
    except GradPrismError as problem:
        said = str(problem)
        if "\n" not in said:
            return
        raise
    for name, frame in read_all(whole).items():  # nothing was harmed: white space, or a file that says nothing
        kept = (
            frame
            if name not in TABLES or found[name].height == frame.height
            else frame.filter(pl.col("row").is_in(found["examples"]["row"].to_list()))
        )
        assert_frame_equal(found[name], kept)
