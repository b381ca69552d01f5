"""Write the spectra of a run, and resume them with the same settings and data only."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.core.progress import say_nothing
from gradprism.files.atomic import prepare_folder, write_errors, write_whole
from gradprism.files.records import record_bytes
from gradprism.prism.tables import Tables
from gradprism.runs.checks import faults_of_spectra
from gradprism.runs.layout import (
    FORMAT_VERSION,
    RUN_FILE,
    SCORE_FILE,
    influence_in_words,
    influence_on,
    read_record,
    score_table,
    scored_metrics,
    tables_of,
)
from gradprism.runs.lock import lock_run
from gradprism.runs.part_writer import PartWriter
from gradprism.runs.parts import publish_part
from gradprism.runs.record_models import made_of
from gradprism.runs.resume_checks import (
    differ_in_rows_alone,
    refuse_differences,
    refuse_fewer_rows,
    refuse_other_data,
)
from gradprism.runs.scores import reopen_scores


class RunWriter(PartWriter[Tables]):
    """Writes the spectra of a run. A context manager that unlocks the run at its end."""

    def __init__(
        self,
        path: Path,
        description: Mapping[str, Any],
        say: Callable[[str], None] = say_nothing,
        first_rows: Callable[[int], str] | None = None,
    ):
        """Lock and create the run, or resume it if `description["identity"]` equals the recorded one.

        `first_rows` gives the fingerprint of the first so many rows that are chosen now: where these are the rows of
        the run, and more are chosen, the run is extended. Without it other rows are always refused.
        Raises `GradPrismError` where the folder cannot be written, holds something other than a run, or a run of other
        settings or data. `say` reports when the lock of a dead process is taken over.
        """
        self.path = self.run = path
        self.tables, self.table, self.record_file = tables_of(description), "examples", path / RUN_FILE
        self._first_rows = first_rows
        self._lock = lock_run(path, say)
        try:
            with write_errors(path):
                self.record = self._join(description, say)
                self.data = self.record["data"]
                self.digest = self.record.get("digest") or made_of(self.record["identity"], self.record["data"])
                if self.done:
                    self.set_aside(faults_of_spectra(path, self.record), say)
                self._write_record()  # first, since a folder with tables and no record would be refused
                for table in self.tables:
                    prepare_folder(path / table)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "RunWriter":
        """Return the writer; the run is locked already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Unlock the run."""
        self._lock.release()

    @property
    def _publishing(self) -> Callable[..., None]:
        return partial(publish_part, self.path, self.digest)

    def _part_of(self, frames: dict[str, pl.DataFrame]) -> Tables:
        scores = {target: score_table(influence_on(target)) for target in self.record["identity"].get("targets", ())}
        influence = {target: frames[table] for target, table in scores.items()}
        own: dict[str, Any] = {table: frame for table, frame in frames.items() if table not in scores.values()}
        return Tables(**own, influence=influence)

    def describe_influence(self, *, complete: bool) -> None:
        """Write the record of the scores `influence:NAME` of each target, whose parts are parts of this run."""
        identity = self.record["identity"]
        for target, made in identity.get("targets", {}).items():
            name = influence_on(target)
            record = {
                "metric": name,
                "complete": complete,
                "about": influence_in_words(made),
                "identity": {"part_rows": identity["part_rows"], "target": made},
                "digest": self.digest,
                "sessions": [],
            }
            with write_errors(self.path):
                write_whole(self.path / score_table(name) / SCORE_FILE, record_bytes(record))

    def write_text(self, name: str, text: str) -> None:
        """Write a small text file into the run, atomically."""
        with write_errors(self.path):
            write_whole(self.path / name, text.encode())

    def _join(self, description: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
        new = {"format_version": FORMAT_VERSION, **description}
        new["digest"] = made_of(description["identity"], description["data"])
        if not (self.path / RUN_FILE).exists():
            return new
        record = self._recorded(partial(read_record, self.path), new, say)
        if self.done:
            if self._is_extended_by(description, record):
                return self._extended(record, description, say)
            refuse_differences(self.path, record["identity"], description["identity"])
            return record
        if any(scored_metrics(self.path)):
            refuse_other_data(self.path, record["data"], description["data"])
        return new  # without spectra there is nothing to conflict with

    def _is_extended_by(self, description: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
        """Return whether more rows are chosen now, the first of which are the rows of the run.

        Raises `GradPrismError` where fewer are.
        """
        before, now = record["identity"], description["identity"]
        if self._first_rows is None or not differ_in_rows_alone(before, now):
            return False
        rows, rows_now = record["data"]["rows"], description["data"]["rows"]
        if rows_now < rows:
            refuse_fewer_rows(self.path, rows, before, now)
        return bool(rows_now > rows and self._first_rows(rows) == record["data"]["fingerprint"])

    def _extended(
        self, record: Mapping[str, Any], description: Mapping[str, Any], say: Callable[[str], None]
    ) -> dict[str, Any]:
        """Return the record with the rows that are chosen now. Every part names the digest it was begun with."""
        self.set_aside(faults_of_spectra(self.path, record), say)
        reopen_scores(self.path)
        rows = record["data"]["rows"]
        before = [*record["data"].get("extended_from", ()), rows]
        say(f"The run holds the first {rows:,} of {description['data']['rows']:,} rows: these are not measured again")
        digest = record.get("digest") or made_of(record["identity"], record["data"])
        data = {**description["data"], "extended_from": before}
        return {**record, "complete": False, "identity": description["identity"], "data": data, "digest": digest}
