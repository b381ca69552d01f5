"""What the writers of spectra and of scores share: parts published by rename, a record of what made them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any, Generic, TypeVar

import polars as pl

from gradprism.files.atomic import disk_errors, json_bytes, replace
from gradprism.files.lease import check_lease
from gradprism.runs.layout import published_parts
from gradprism.runs.parts import read_part

Part = TypeVar("Part")


class PartWriter(ABC, Generic[Part]):
    """Writes parts of a run, and the record of what made them. An engine's sink (`engine.task.ResumableSink`)."""

    run: Path
    """The run, which this process holds."""
    table: str
    """The table that says what became of each row; a part counts once it is there."""
    record_file: Path
    record: dict[str, Any]

    @abstractmethod
    def publish(self, index: int, part: Part) -> None:
        """Write one part, in place of an earlier one."""

    @property
    @abstractmethod
    def publish_elsewhere(self) -> Callable[[int, Part], None] | None:
        """Writes one part from another process, where the run is in an object store; None where it is on a disk."""

    @abstractmethod
    def kept(self, index: int) -> tuple[Part, Set[int]]:
        """Return a published part without the rows that have failed, and the numbers of those it keeps."""

    @property
    def done(self) -> frozenset[int]:
        """Indices of the parts already published."""
        return frozenset(published_parts(self.run, self.table))

    def parts_with_failures(self) -> frozenset[int]:
        """Return the indices of the published parts in which a row has failed."""
        return frozenset(index for index in self.done if (self._statuses(index)["status"] == "failed").any())

    def check(self) -> None:
        """Raise `GradPrismError` where this process has lost the run to another."""
        check_lease(self.run)

    def update(self, **changes: Any) -> None:
        """Change entries of the record."""
        self.record.update(changes)
        self.check()
        with disk_errors(self.run):
            self._write_record()

    def add_session(self, entry: Mapping[str, Any]) -> None:
        """Append what one session did to the record."""
        self.update(sessions=[*self.record["sessions"], entry])

    def _statuses(self, index: int) -> pl.DataFrame:
        return read_part(self.run, self.table, index)

    def _write_record(self) -> None:
        replace(self.record_file, json_bytes(self.record))
