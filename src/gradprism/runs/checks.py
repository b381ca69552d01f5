"""Check the parts of a run: each file must be what was written, in its own place, with the rows that belong there."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.files.parquet import DamagedFileError, check_content, read_label, read_rows
from gradprism.files.paths import as_remote, is_remote
from gradprism.files.remote import ObjectState
from gradprism.runs.layout import part_path, published_parts, score_table, tables_of
from gradprism.runs.parts import read_part

_AT_ONCE = 16  # files that are read at the same time


@dataclass(frozen=True)
class Fault:
    """A file of a run that is not what was written, and why."""

    file: Path
    problem: str
    table: str
    part: int


@dataclass(frozen=True)
class Expected:
    """The parts that a table must have, by the record of a run or of scores in it."""

    run: Path
    table: str
    digest: str | None  # that every part names; None where an earlier version began, whose parts name nothing
    rows: int
    part_rows: int | None  # None where it is not on record
    before: tuple[int, ...] = ()  # numbers of rows that the run had, each before it was extended
    again: bool = False  # read files whole although they have not changed since they were checked

    @classmethod
    def of(
        cls, run: Path, table: str, record: Mapping[str, Any], data: Mapping[str, Any], *, again: bool = False
    ) -> "Expected":
        """Return it for a table, by the record that has its `identity`, and the run's entry on the data."""
        part_rows, before = record["identity"].get("part_rows"), tuple(data.get("extended_from", ()))
        return cls(run, table, record.get("digest"), data["rows"], part_rows, before, again)

    @property
    def n_parts(self) -> int | None:
        """The number of parts; None where it cannot be known."""
        return None if self.part_rows is None else -(-self.rows // self.part_rows)

    def n_rows(self, part: int) -> int | None:
        """Return the number of rows of a part, 0 where the run has no such part; None where it cannot be known."""
        return None if self.part_rows is None else max(0, min(self.part_rows, self.rows - part * self.part_rows))

    def problem_of(self, part: int, rows: Sequence[int]) -> str:
        """Return what is wrong with the number of rows in a part; empty where it is right, or cannot be known."""
        wanted = self.n_rows(part)
        if wanted is None:
            return ""
        if wanted == 0:
            return f"the run has no part {part}"
        return "" if len(rows) in {wanted, *self.short(part)} else f"it holds {len(rows):,} rows, expected {wanted:,}"

    def short(self, part: int) -> list[int]:
        """Return the numbers of rows that a part may still have from before the run was extended."""
        if self.part_rows is None:
            return []
        return [rows % self.part_rows for rows in self.before if rows // self.part_rows == part]


def faults_of_scores(
    run: Path, metric: str, record: Mapping[str, Any], data: Mapping[str, Any], *, again: bool = False
) -> list[Fault]:
    """Check all parts of a metric's scores. Of scores that were complete, none may be missing."""
    expected = Expected.of(run, score_table(metric), record, data, again=again)
    parts = published_parts(run, expected.table)
    missing = {*range(expected.n_parts or 0)} - {*parts} if record.get("complete") is True else set[int]()
    return [_fault(expected, part, "it is missing") for part in sorted(missing)] + faults_of_rows(expected, parts)


def faults_of_rows(expected: Expected, parts: Iterable[int]) -> list[Fault]:
    """Check parts of a table with one line a row: `examples`, or scores."""
    return _check_rows(expected, parts)[0]


def _check_rows(expected: Expected, parts: Iterable[int]) -> tuple[list[Fault], dict[int, Sequence[int]]]:
    """Return the faults of such a table, and the rows of each whole part."""
    seen, whole, faults = dict[int, int](), dict[int, Sequence[int]](), []
    for part, problem, rows in _read_parts(expected, parts):
        problem = problem or expected.problem_of(part, rows)
        if not problem and (twice := next((row for row in rows if row in seen), None)) is not None:
            problem = f"its row {twice} is in part {seen[twice]} too"
        if problem:
            faults.append(_fault(expected, part, problem))
        else:
            seen.update(dict.fromkeys(rows, part))
            whole[part] = rows
    return faults, whole


def faults_of_gradients(expected: Expected, parts: Iterable[int], rows: Mapping[int, Sequence[int]]) -> list[Fault]:
    """Check parts of `spectra`, `similarity` or `tokens`; `rows` holds the rows of each part by its examples.

    There may be spectra of further rows: a process was killed while it replaced a part, of which the examples are last.
    """
    faults = []
    for part, problem, found in _read_parts(expected, parts):
        complete = expected.table != "similarity" and not problem  # a single layer may have no cosines
        lacking = {*rows.get(part, ())} - {*found} if complete else set[int]()
        if lacking:  # those that were skipped or failed have none
            lacking &= {*read_part(expected.run, "examples", part).filter(status="ok")["row"]}
        if lacking:
            problem = f"it lacks rows that `examples` has: {', '.join(map(str, sorted(lacking)[:3]))}"
        if problem:
            faults.append(_fault(expected, part, problem))
    return faults


def faults_of_spectra(run: Path, record: Mapping[str, Any], *, again: bool = False) -> list[Fault]:
    """Check all parts of the spectra of a run; with `again` also files that have not changed since a check."""
    expected = {table: Expected.of(run, table, record, record["data"], again=again) for table in tables_of(record)}
    parts = published_parts(run)
    faults, rows = _check_rows(expected["examples"], parts)
    for table in (table for table in expected if table != "examples"):
        faults += faults_of_gradients(expected[table], parts, rows)
    return faults


def raise_first(run: Path, faults: Sequence[Fault]) -> None:
    """Raise `GradPrismError` where there is a fault."""
    if faults:
        more = f" Files that are not whole: {len(faults):,}." if len(faults) > 1 else ""
        raise GradPrismError(
            f"{faults[0].file} is not what was written: {faults[0].problem}.{more} Repeat the command that made the "
            f"run, which moves such files aside and computes their rows again; `gradprism check {run}` lists them."
        )


def _fault(expected: Expected, part: int, problem: str) -> Fault:
    return Fault(part_path(expected.run, expected.table, part), problem, expected.table, part)


def _read_parts(expected: Expected, parts: Iterable[int]) -> list[tuple[int, str, Sequence[int]]]:
    """Return number, problem and rows of each part, in order; the problem is empty where the file is whole."""
    numbers, folder = list(parts), expected.run / expected.table
    states: Mapping[str, ObjectState] = {}
    if is_remote(folder):
        with suppress(FileNotFoundError):
            states = as_remote(folder).states()
    with ThreadPoolExecutor(min(_AT_ONCE, max(1, len(numbers)))) as pool:
        found = list(pool.map(lambda part: _read_part(expected, part, states), numbers))
    return [(part, problem, rows) for part, (problem, rows) in zip(numbers, found, strict=True)]


def _read_part(expected: Expected, part: int, states: Mapping[str, ObjectState]) -> tuple[str, Sequence[int]]:
    file = part_path(expected.run, expected.table, part)
    try:
        if not is_remote(file):
            check_content(file, again=expected.again)
        label = read_label(file, states.get(file.name))
        if label is None and expected.digest is None:
            return "", read_rows(file)
    except FileNotFoundError:
        return "it is missing", ()
    except (DamagedFileError, OSError) as error:
        return str(error), ()
    if label is None:
        return "it does not say which run it belongs to, as every part of this run does", ()
    if label.table != expected.table:
        return f"it is a part of the table {label.table}", ()
    if expected.digest not in (None, label.run):
        return "it is of other settings or other data", ()
    if label.part != part:
        return f"it is part {label.part} under another name", ()
    return "", label.rows
