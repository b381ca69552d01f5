"""Items of different lengths through a model, in batches; what fails costs only the item that causes it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from gradprism.errors import DeviceError, GradPrismError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_TOKENS = {True: 512, False: 8192}  # on a CPU, and elsewhere


@dataclass(frozen=True)
class Failure:
    """Why the model gave no answer for one item."""

    reason: str


class Batches(Generic[Item]):
    """How items are put together: at most `tokens` at once, padding included; fewer after running out of memory."""

    def __init__(self, length: Callable[[Item], int], tokens: int | None, device: torch.device):
        """`length` counts an item's tokens. `tokens` None takes what suits the device."""
        self._length = length
        self.tokens = tokens or _TOKENS[device.type == "cpu"]

    def cut(self, items: Sequence[Item]) -> Iterator[list[Item]]:
        """Batches of similar length, each at most `tokens` with its padding (or one item).

        Longest first, so that running out of memory shows at once.
        """
        batch: list[Item] = []
        for item in sorted(items, key=self._length, reverse=True):
            longest = self._length(batch[0] if batch else item)
            if batch and longest * (len(batch) + 1) > self.tokens:
                yield batch
                batch = []
            batch.append(item)
        if batch:
            yield batch

    def answers(
        self, batch: Sequence[Item], compute: Callable[[Sequence[Item]], Sequence[Answer]]
    ) -> list[Answer | Failure]:
        """Compute one batch; a failure halves it, down to the single item that causes it, which then has failed.

        After running out of memory later batches are made smaller too. Raises `GradPrismError` where the device
        itself has failed, and lets those of `compute` pass.
        """
        try:
            return list(compute(batch))
        except GradPrismError:
            raise
        except Exception as error:  # a model's own code raises what it likes
            out_of_memory, problem = _is_out_of_memory(error), _first_line(error)
            if not out_of_memory and "CUDA error" in problem:  # nothing runs on the device any more: no row's fault
                raise DeviceError(
                    f"The device failed: {problem}\nRepeat the command to resume; --device cpu names the cause."
                ) from error
        if len(batch) == 1:  # outside the handler, so that the traceback holds no tensors
            return [Failure(f"out of memory at batch size 1: {problem}" if out_of_memory else problem)]
        half = len(batch) // 2
        if out_of_memory:
            self.tokens = min(self.tokens, half * max(map(self._length, batch)))
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return self.answers(batch[:half], compute) + self.answers(batch[half:], compute)


def _is_out_of_memory(error: Exception) -> bool:
    """CUDA has a type for it; its libraries and the CPU allocator say it in words."""
    words = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(said in str(error) for said in words)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
