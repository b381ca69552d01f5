"""Check a whole run: its records, and every file of its spectra and scores; say what a repair would compute again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.core.summary_lines import lines_as_text
from gradprism.files.paths import is_remote, list_names, to_path
from gradprism.runs.checks import Expected, Fault, faults_of_scores, faults_of_spectra
from gradprism.runs.layout import (
    DAMAGED,
    RECIPE_FILE,
    published_parts,
    read_record,
    score_table,
    scored_metrics,
    tables_of,
)
from gradprism.runs.scores import read_score_record


@dataclass(frozen=True)
class CheckedParts:
    """The parts of the spectra, or of one metric's scores, after each of their files was read."""

    name: str  # `spectra`, or `scores/METRIC`
    recipe: Path  # whose replay computes again what is not whole
    parts: int  # published
    missing: tuple[int, ...]  # parts that were published once, or lie between others, and are not there
    faults: tuple[Fault, ...]
    problem: str = ""  # of the record
    rows_again: int | None = None  # rows of all parts to compute again; None where that cannot be known

    @property
    def to_repair(self) -> tuple[int, ...]:
        """The numbers of the parts that a repair computes again."""
        return tuple(sorted({*self.missing} | {fault.part for fault in self.faults}))

    @property
    def is_whole(self) -> bool:
        """True if every file is what was written."""
        return not self.to_repair and not self.problem

    @property
    def again(self) -> str:
        """The parts that a repair makes again, in words."""
        if self.problem:
            return "the record"
        numbers = ", ".join(map(str, self.to_repair[:8])) + (", ..." if len(self.to_repair) > 8 else "")
        rows = "" if self.rows_again is None else f" ({self.rows_again:,} rows)"
        return f"{'part' if len(self.to_repair) == 1 else 'parts'} {numbers}{rows}"

    @property
    def in_words(self) -> str:
        """The state in words."""
        return "whole" if self.is_whole else self.problem or f"not whole: {self.again}"


@dataclass(frozen=True)
class Integrity:
    """The state of a run: what is whole, and what is not."""

    run: Path
    checked: tuple[CheckedParts, ...]
    n_aside: int = 0  # files that were moved aside earlier
    n_partial: int = 0  # files that were cut off while they were written, and were never part of the run

    @property
    def is_whole(self) -> bool:
        """True if every file is what was written."""
        return all(each.is_whole for each in self.checked)

    @property
    def faults(self) -> list[Fault]:
        """The files that are not what was written."""
        return [fault for each in self.checked for fault in each.faults]

    @property
    def summary_lines(self) -> list[tuple[str, str]]:
        """The state of the spectra and of each metric: names and texts."""
        state = "whole" if self.is_whole else "not whole"
        found = [("run", f"{self.run}  ({state})")]
        found += [(each.name, f"{each.parts:,} parts, {each.in_words}") for each in self.checked]
        if self.n_aside:
            found.append((DAMAGED, f"{self.n_aside:,} files that were moved aside; delete them when you like"))
        if self.n_partial:
            found.append(("cut off", f"{self.n_partial:,} unfinished files of a killed process; the next deletes them"))
        return found

    def __repr__(self) -> str:
        """Summarise the state in a few lines, with each file that is not whole."""
        lines = [f"{fault.file}: {fault.problem}" for fault in self.faults]
        return "\n".join([lines_as_text(self.summary_lines), *lines])


def check(run: str | Path) -> Integrity:
    """Read every file of a run, to the byte, and return what is whole and what is not. Changes nothing.

    Of a run in an object store the ends of the files are read alone: the store checks their content. Raises
    `GradPrismError` where there is no run, or its run.json cannot be read.
    """
    path = to_path(run)
    record = read_record(path)
    checked = [_check_spectra(path, record)] if "identity" in record else []
    checked += [_check_scores(path, name, record["data"]) for name in scored_metrics(path)]
    aside = 0 if is_remote(path) else sum(file.is_file() for file in (path / DAMAGED).rglob("*"))
    return Integrity(path, tuple(checked), aside, sum(1 for _ in _partial_files(path, tables_of(record), checked)))


def _check_spectra(run: Path, record: Mapping[str, Any]) -> CheckedParts:
    parts = published_parts(run)
    expected = Expected.of(run, "examples", record, record["data"])
    faults = faults_of_spectra(run, record, again=True)
    return _checked("spectra", run / RECIPE_FILE, parts, expected, faults, record.get("complete") is True)


def _check_scores(run: Path, metric: str, data: Mapping[str, Any]) -> CheckedParts:
    table = score_table(metric)
    parts, recipe = published_parts(run, table), run / table / RECIPE_FILE
    try:
        record = read_score_record(run, metric)
    except GradPrismError as problem:
        return CheckedParts(table, recipe, len(parts), (), (), str(problem))
    expected = Expected.of(run, table, record, data)
    return _checked(table, recipe, parts, expected, faults_of_scores(run, metric, record, data, again=True), False)


def _checked(
    name: str, recipe: Path, parts: Sequence[int], expected: Expected, faults: Sequence[Fault], complete: bool
) -> CheckedParts:
    there = expected.n_parts if complete and expected.n_parts is not None else max(parts, default=-1) + 1
    missing = tuple(sorted({*range(there)} - {*parts}))
    again = {*missing} | {fault.part for fault in faults}
    rows = None if expected.part_rows is None else sum(expected.n_rows(part) or 0 for part in again)
    return CheckedParts(name, recipe, len(parts), missing, tuple(faults), "", rows)


def _partial_files(run: Path, tables: Sequence[str], checked: Sequence[CheckedParts]) -> Iterator[str]:
    for table in sorted({*tables, *(each.name for each in checked)}):
        yield from (name for name in list_names(run / table) if name.endswith(".partial"))
