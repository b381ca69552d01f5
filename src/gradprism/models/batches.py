"""Batches of items of different lengths through a model; a failure costs only the item that causes it."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from gradprism.core.errors import DeviceError, GradPrismError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_TOKENS = {True: 512, False: 8192}  # on a CPU, and elsewhere


@dataclass(frozen=True)
class Failure:
    """A missing answer of the model for one item, with its reason."""

    reason: str


class Batches(Generic[Item]):
    """Cuts items into batches of at most `tokens`, padding included, and computes them; fewer after out of memory."""

    def __init__(self, length: Callable[[Item], int], tokens: int | None, device: torch.device):
        """Count an item's tokens by `length`; `tokens` is the most in a batch (None: what suits the device)."""
        self._length, self._device = length, device
        self.tokens = tokens or _TOKENS[device.type == "cpu"]

    def cut(self, items: Sequence[Item]) -> Iterator[list[Item]]:
        """Cut items into batches of similar length, each at most `tokens` with its padding (or one item).

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
            if not out_of_memory and _is_device_failure(error, self._device):  # no row's fault
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


_OUT_OF_MEMORY = re.compile(
    r"\bout of memory|can't allocate memory|not enough memory|ALLOC_FAILED|ErrorOutOfMemory|"
    r"OUT_OF_(DEVICE_|HOST_)?MEMORY|_ERROR_OUT_OF_RESOURCES",
    re.IGNORECASE,
)
_DEVICE_FAILED = re.compile(
    r"\b(CUDA|HIP|XPU|MPS|NPU|NCCL)( driver| unknown)? error|Triton Error \[|_STATUS_EXECUTION_FAILED|"
    r"CUFFT_EXEC_FAILED|CUDNN_STATUS_MAPPING_ERROR|miopenStatus(Internal|Unknown)Error|rocblas_status_internal_error|"
    r"hipError(?!OutOfMemory)\w+|Command ?Buffer(Callback| execution failed|Error)|level_zero backend failed|"
    r"Native API failed|_ERROR_DEVICE_LOST|\bdevice lost\b|NVML_SUCCESS == r",
    re.IGNORECASE,
)


def _is_out_of_memory(error: Exception) -> bool:
    """Recognise the error by torch's own type, or by the words of accelerators' libraries and the CPU's allocator."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))


def _is_device_failure(error: Exception, device: torch.device) -> bool:
    """Recognise a failed device by torch's own type (2.8), by the words, or since it adds no more."""
    if isinstance(error, getattr(torch, "AcceleratorError", ())) or _DEVICE_FAILED.search(_first_line(error)):
        return True
    return device.type != "cpu" and not _can_add(device)


def _can_add(device: torch.device) -> bool:
    """Check that a device still adds two numbers; one without memory left to do so has not failed."""
    try:
        return bool((torch.ones(2, device=device) + 1).sum().item() == 4)
    except RuntimeError as error:
        return _is_out_of_memory(error)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
