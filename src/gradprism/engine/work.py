"""What an engine is given to do, and what it tells meanwhile."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from gradprism.data.example import Example

Part = TypeVar("Part")
PartOut = TypeVar("PartOut", covariant=True)

Say = Callable[[str], None]
OnBatch = Callable[[int, int], None]  # examples done, tokens done


class Worker(Protocol[PartOut]):
    """Holds the model, and makes of examples a part of the run."""

    @property
    def device(self) -> str:
        """Where the model is; empty as long as that is not known."""

    @property
    def note(self) -> str:
        """What a progress bar may say beside the counts; may be empty."""

    @property
    def found(self) -> Mapping[str, Any]:
        """What goes on record of the model, now that it is loaded."""

    def __call__(self, examples: Sequence[Example], on_batch: OnBatch) -> PartOut:
        """Work through one shard. `on_batch` is called after each batch and may raise to stop."""


@dataclass(frozen=True)
class Work(Generic[Part]):
    """What is done with every shard."""

    load: Callable[[Say], Worker[Part]]
    """Load the model. It happens where the work is done, which may be another machine: a function that pickles."""
    failed: Callable[[Sequence[Example], str], Part]
    """The part whose rows have all failed, for one reason."""
    join: Callable[[Sequence[Part]], Part]
    """One part of several, in the order of the data."""


@dataclass(frozen=True)
class Publishing(Generic[Part]):
    """How parts come into the run."""

    here: Callable[[int, Part], None]
    """By this process, which holds the run."""
    there: Callable[[int, Part], None] | None = None
    """By a worker on whatever machine, where all of them reach the run: a function that pickles."""
    check: Callable[[], None] = lambda: None
    """Raise where this process does not hold the run any more; called for each part that was published there."""


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


class Watch(Protocol):
    """Follows the work. `batch` may raise `KeyboardInterrupt` to stop it."""

    def say(self, text: str) -> None:
        """Hear that a stage begins."""

    def begin(self, found: Mapping[str, Any]) -> None:
        """Hear that the model is there, with what goes on record of it, and the first shard is handed out."""

    def batch(self, examples: int, tokens: int) -> None:
        """Hear that so many more are done."""

    def note(self, text: str) -> None:
        """Hear something to be shown beside the counts; may be empty."""
