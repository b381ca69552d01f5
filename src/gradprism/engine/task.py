"""The interfaces of an engine: a task, which makes parts of shards, and a sink, which publishes them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from gradprism.core.progress import OnBatch, Say

Item = TypeVar("Item")
Part = TypeVar("Part")
PartIn = TypeVar("PartIn", contravariant=True)


class Task(ABC, Generic[Item, Part]):
    """A task: loads a model, then makes one part of a run from the items of each shard: examples, or trainings.

    It is pickled before the model is loaded, so that it runs in this process or in others, on any machine.
    """

    device: str = ""
    """The device of the model; empty until it is known."""
    found: Mapping[str, Any] = MappingProxyType({})
    """The entries about the model for the run's record, known once it is loaded."""

    @property
    def note(self) -> str:
        """The text to show beside the counts of a progress bar; may be empty."""
        return ""

    @abstractmethod
    def load(self, say: Say) -> None:
        """Load the model, and report each stage by `say`."""

    @abstractmethod
    def run(self, examples: Sequence[Item], on_batch: OnBatch) -> Part:
        """Return the part made from the items of one shard. `on_batch` is called after each batch; it may raise."""

    @abstractmethod
    def failed(self, examples: Sequence[Item], reason: str) -> Part:
        """Return a part in which every row has failed for the given reason."""

    @abstractmethod
    def join(self, parts: Sequence[Part]) -> Part:
        """Join several parts into one, in the order of rows."""


class Sink(Protocol[PartIn]):
    """A sink: publishes the parts that an engine makes, each of them whole."""

    def publish(self, index: int, part: PartIn) -> None:
        """Write one part, replacing an earlier one, from the process that has locked the run."""

    @property
    def publish_elsewhere(self) -> Callable[[int, PartIn], None] | None:
        """A function that publishes a part from a worker's process and can be pickled; None if workers cannot."""

    def check(self) -> None:
        """Raise `GradPrismError` where this process has lost the lock of the run."""


class ResumableSink(Sink[Part], Protocol[Part]):
    """A sink that also knows the parts of earlier sessions, and records every session."""

    @property
    def done(self) -> frozenset[int]:
        """Indices of the parts already published."""

    def parts_with_failures(self) -> frozenset[int]:
        """Return the indices of the published parts in which a row has failed."""

    def unfinished(self) -> frozenset[int]:
        """Return the indices of the published parts that lack rows."""

    def kept(self, index: int, failed: bool) -> tuple[Part, Set[int]]:
        """Return a published part, without its failed rows unless `failed`, and the row numbers in it."""

    def add_session(self, entry: Mapping[str, Any]) -> None:
        """Append the entry of one session to the record."""


@dataclass
class Account:
    """The work and cost of one session."""

    examples: int = 0
    tokens: int = 0
    device: str = ""
    workers: int = 1
    retries: int = 0
    """Number of times that a shard, or a piece of one, was processed again because its worker had died."""
    peak_memory_mib: int | None = None
    """Largest peak memory of any worker process; None where all work ran in this process."""


OnLoaded = Callable[[Mapping[str, Any]], None]
"""Called once, when the first model is loaded, with `Task.found`."""
