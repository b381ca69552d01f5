"""The base class of the writers of spectra and of scores: publishes parts by rename, and keeps the record."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.files.atomic import write_errors, write_whole
from gradprism.files.lease import check_lease_held, pass_for_workers
from gradprism.files.paths import is_remote
from gradprism.files.records import record_bytes
from gradprism.runs.checks import Expected, Fault
from gradprism.runs.layout import DAMAGED, part_path, published_parts
from gradprism.runs.parts import copy_aside, is_of, move_aside, read_part

Part = TypeVar("Part")


class PartWriter(ABC, Generic[Part]):
    """Writes parts of a run, and the record of settings and sessions. An `engine.task.ResumableSink`."""

    run: Path
    """The run, which this process has locked."""
    tables: tuple[str, ...]
    """The tables whose files make a part."""
    table: str
    """The table with the status of each row; a part counts as published once this table has it."""
    digest: str
    """The digest of settings and data, which every part names."""
    record_file: Path
    record: dict[str, Any]
    data: Mapping[str, Any]
    """The entry of run.json on the data."""

    @property
    @abstractmethod
    def _publishing(self) -> Callable[..., None]:
        """A function of `gradprism.runs.parts` that writes one part, and can be pickled."""

    @abstractmethod
    def _part_of(self, frames: dict[str, pl.DataFrame]) -> Part:
        """Return the part that these tables make."""

    def publish(self, index: int, part: Part) -> None:
        """Write one part, replacing an earlier one."""
        self._publishing(index, part)

    @property
    def publish_elsewhere(self) -> Callable[[int, Part], None] | None:
        """A function that writes one part from another process; None unless the run is in an object store."""
        if not is_remote(self.run):
            return None
        return partial(self._publishing, lease=pass_for_workers(self.run))

    def kept(self, index: int, failed: bool) -> tuple[Part, frozenset[int]]:
        """Return a published part, without its failed rows unless `failed`, and the row numbers in it.

        A process that was killed while it replaced the part may have left spectra of failed rows, which are dropped.
        """
        frames = {table: read_part(self.run, table, index) for table in self.tables}
        examples = frames[self.table]
        rows = frozenset((examples if failed else examples.filter(pl.col("status") != "failed"))["row"])
        kept = {table: frame.filter(pl.col("row").is_in(list(rows))) for table, frame in frames.items()}
        return self._part_of(kept), rows

    @property
    def done(self) -> frozenset[int]:
        """Indices of the parts already published."""
        return frozenset(published_parts(self.run, self.table))

    def parts_with_failures(self) -> frozenset[int]:
        """Return the indices of the published parts in which a row has failed."""
        return frozenset(index for index in self.done if self._has_failed(index))

    def unfinished(self) -> frozenset[int]:
        """Return the indices of the published parts that lack rows: the run ended in them until it was extended."""
        expected = Expected.of(self.run, self.table, self.record, self.data)
        there = {index: expected.n_rows(index) for index in self.done if any(expected.short(index))}
        return frozenset(i for i, rows in there.items() if read_part(self.run, self.table, i).height != rows)

    def check(self) -> None:
        """Raise `GradPrismError` where this process has lost the run to another."""
        check_lease_held(self.run)

    def update(self, **changes: Any) -> None:
        """Change entries of the record, and write it."""
        self.record.update(changes)
        self.check()
        with write_errors(self.run):
            self._write_record()

    def add_session(self, entry: Mapping[str, Any]) -> None:
        """Append the entry of one session to the record, and write it."""
        self.update(sessions=[*self.record["sessions"], entry])

    def set_aside(self, faults: Sequence[Fault], say: Callable[[str], None]) -> None:
        """Move the files of parts that are not whole into RUN/damaged, so that their rows are computed again."""
        for part in sorted({fault.part for fault in faults}):
            first = next(fault for fault in faults if fault.part == part)
            say(
                f"{first.file} is not what was written: {first.problem}. Its rows are computed again, and its part is "
                f"moved into {DAMAGED}/ of the run"
            )
            for table in self.tables:
                move_aside(self.run, part_path(self.run, table, part))

    def _recorded(
        self, read: Callable[[], dict[str, Any]], new: dict[str, Any], say: Callable[[str], None]
    ) -> dict[str, Any]:
        """Read the record; one that cannot be read gives way to `new` where the parts name the digest of that.

        It is copied aside, and the next writing replaces it: parts without a record would be no run. Raises
        `GradPrismError` where they do not.
        """
        try:
            return read()
        except GradPrismError as problem:
            if not any(is_of(part_path(self.run, self.table, index), new["digest"]) for index in self.done):
                raise
            say(f"{problem} Its parts are of these settings and data: it is written anew, without earlier sessions")
            copy_aside(self.run, self.record_file)
            return new

    def _has_failed(self, index: int) -> bool:
        return bool((read_part(self.run, self.table, index)["status"] == "failed").any())

    def _write_record(self) -> None:
        write_whole(self.record_file, record_bytes(self.record))
