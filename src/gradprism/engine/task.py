"""What an engine is given to do, and where it puts what comes of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from gradprism.core.progress import OnBatch, Say
from gradprism.data.example import Example

Part = TypeVar("Part")
PartIn = TypeVar("PartIn", contravariant=True)


class Task(ABC, Generic[Part]):
    """Load a model, then make of each shard's examples a part of the run.

    Pickled before it is loaded, so that the same task runs in this process or in others, on any machine.
    """

    device: str = ""
    """Where the model is; empty as long as that is not known."""
    found: Mapping[str, Any] = MappingProxyType({})
    """What goes on record of the model once it is loaded."""

    @property
    def note(self) -> str:
        """What a progress bar may show beside the counts; may be empty."""
        return ""

    @abstractmethod
    def load(self, say: Say) -> None:
        """Load the model, telling `say` of each stage."""

    @abstractmethod
    def run(self, examples: Sequence[Example], on_batch: OnBatch) -> Part:
        """Work through one shard. `on_batch` is called after each batch and may raise to stop."""

    @abstractmethod
    def failed(self, examples: Sequence[Example], reason: str) -> Part:
        """Return the part whose rows have all failed, for one reason."""

    @abstractmethod
    def join(self, parts: Sequence[Part]) -> Part:
        """Join several parts into one, in the order of the data."""


class Sink(Protocol[PartIn]):
    """Takes the parts that an engine makes, each whole."""

    def publish(self, index: int, part: PartIn) -> None:
        """Write one part, in place of an earlier one, from the process that holds the run."""

    @property
    def publish_elsewhere(self) -> Callable[[int, PartIn], None] | None:
        """The same from any worker's process: a function that pickles. None where workers cannot reach the run."""

    def check(self) -> None:
        """Raise `GradPrismError` where this process does not hold the run any more."""


class ResumableSink(Sink[Part], Protocol[Part]):
    """Holds parts of earlier sessions too, and a record of what each session did."""

    @property
    def done(self) -> frozenset[int]:
        """Indices of the parts already published."""

    def parts_with_failures(self) -> frozenset[int]:
        """Return the indices of the published parts in which a row has failed."""

    def kept(self, index: int) -> tuple[Part, Set[int]]:
        """Return a published part without the rows that have failed, and the numbers of those it keeps."""

    def add_session(self, entry: Mapping[str, Any]) -> None:
        """Put on record what one session did."""


@dataclass
class Account:
    """What one session has done."""

    examples: int = 0
    tokens: int = 0
    device: str = ""
    workers: int = 1
    retries: int = 0
    """How often a shard was begun again because its worker had died."""
    peak_memory_mib: int | None = None
    """Of the largest worker in another process; None where the work was done in this one."""


OnLoaded = Callable[[Mapping[str, Any]], None]
"""Called once the first model is loaded, with what was found in it."""
