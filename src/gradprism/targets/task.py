"""Compare shards of a run's rows with targets, and publish one part of each target's scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from gradprism.core.progress import OnBatch, Say
from gradprism.data.example import Example
from gradprism.engine.task import Task
from gradprism.measurement.task import MeasureTask
from gradprism.runs.scores import ScoreWriter

Frames = Mapping[str, pl.DataFrame]  # by target


@dataclass
class InfluenceTask(Task[Example, Frames]):
    """Compares the gradients of shards with those of targets: the task of the spectra, without spectra."""

    measuring: MeasureTask

    def load(self, say: Say) -> None:
        """Load the model and make the targets. Raises `GradPrismError` where this machine's differ from the run's."""
        self.measuring.load(say)
        self.device, self.found = self.measuring.device, self.measuring.found

    def run(self, examples: Sequence[Example], on_batch: OnBatch) -> Frames:
        """Compare the examples of one shard."""
        return self.measuring.analyzer.influence(examples, self.measuring.targets, on_batch)

    def failed(self, examples: Sequence[Example], reason: str) -> Frames:
        """Return the scores of examples that have all failed, for one reason."""
        return self.measuring.failed(examples, reason).influence

    def join(self, parts: Sequence[Frames]) -> Frames:
        """Join parts in the order of rows."""
        return {name: pl.concat([part[name] for part in parts]).sort("row") for name in parts[0]}


@dataclass
class TargetScores:
    """Publishes the parts of several targets together; a part is done where each target has it. A `ResumableSink`."""

    writers: Mapping[str, ScoreWriter]
    publish_elsewhere: Callable[[int, Frames], None] | None = None  # they are published by the process that has the run

    def publish(self, index: int, part: Frames) -> None:
        """Write one part of every target, replacing an earlier one."""
        for name, writer in self.writers.items():
            writer.publish(index, part[name])

    @property
    def done(self) -> frozenset[int]:
        """Indices of the parts that every target has."""
        return frozenset.intersection(*(writer.done for writer in self.writers.values()))

    def parts_with_failures(self) -> frozenset[int]:
        """Return the indices of the published parts in which a row has failed."""
        return frozenset.union(*(writer.parts_with_failures() for writer in self.writers.values())) & self.done

    def unfinished(self) -> frozenset[int]:
        """Return the indices of the published parts that lack rows."""
        return frozenset.union(*(writer.unfinished() for writer in self.writers.values())) & self.done

    def kept(self, index: int, failed: bool) -> tuple[Frames, frozenset[int]]:
        """Return a published part, without its failed rows unless `failed`, and the row numbers in it."""
        found = {name: writer.kept(index, failed) for name, writer in self.writers.items()}
        rows = frozenset.intersection(*(own for _, own in found.values()))
        return {name: frame.filter(pl.col("row").is_in(list(rows))) for name, (frame, _) in found.items()}, rows

    def add_session(self, entry: Mapping[str, Any]) -> None:
        """Append the entry of one session to the record of every target."""
        for writer in self.writers.values():
            writer.add_session(entry)

    def check(self) -> None:
        """Raise `GradPrismError` where this process has lost the run to another."""
        for writer in self.writers.values():
            writer.check()
