"""What a batch that fails says: its rows are at fault, memory has run out, or the device is dead."""

from collections.abc import Sequence

import pytest
import torch

from gradprism.core.errors import DeviceError
from gradprism.models import batches as batches_module
from gradprism.models.batches import Batches, Failure

CPU = torch.device("cpu")

DEAD = [
    "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported asynchronously",
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, m, n, k)`",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "cusolver error: CUSOLVER_STATUS_EXECUTION_FAILED, when calling `cusolverDnXsyevd`",
    "cuFFT error: CUFFT_EXEC_FAILED",
    "CUDA driver error: unspecified launch failure",
    "CUDA unknown error - this may be due to an incorrectly set up environment",
    "Triton Error [CUDA]: an illegal memory access was encountered",
    "HIP error: invalid device function",
    "HIP error: hipErrorLaunchFailure",
    "MIOpen Error: miopenStatusInternalError",
    "XPU error: device is lost",
    "level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)",
    "Native API failed. Native API returns: -1 (PI_ERROR_DEVICE_NOT_FOUND)",
    "MPS error: Command buffer execution failed",
    "Error: command buffer exited with error status. kIOGPUCommandBufferCallbackErrorHang",
    "NCCL error in: ProcessGroupNCCL.cpp:2006, unhandled cuda error",
]
OUT_OF_MEMORY = [
    "CUDA error: out of memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "CUDA driver error: out of memory",
    "HIP out of memory. Tried to allocate 2.00 GiB",
    "HIP error: out of memory",
    "MPS backend out of memory (MPS allocated: 17.00 GB)",
    "Error: command buffer exited with error status. kIOGPUCommandBufferCallbackErrorOutOfMemory",
    "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
    "Native API failed. Native API returns: -5 (PI_ERROR_OUT_OF_RESOURCES)",
    "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
    "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.",
]
OF_ITS_ROW = [
    "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1",
    "expected scalar type Float but found Half",
    "linalg.eigh: The algorithm failed to converge because the input matrix contained non-finite values.",
    "index 50257 is out of bounds for dimension 0 with size 50257",
    "cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnXsyevd`",
]


def answers(error: Exception, device: torch.device = CPU) -> list[int | Failure]:
    def compute(batch: Sequence[int]) -> list[int]:
        if 3 in batch:
            raise error
        return list(batch)

    return Batches[int](lambda item: 1, None, device).answers([1, 2, 3, 4], compute)


@pytest.mark.parametrize("words", DEAD)
def test_a_dead_device_ends_the_run(words: str) -> None:
    with pytest.raises(DeviceError, match="Repeat the command to resume"):
        answers(RuntimeError(words))


@pytest.mark.parametrize("words", OUT_OF_MEMORY)
@pytest.mark.parametrize("kind", [RuntimeError, getattr(torch, "AcceleratorError", RuntimeError)])
def test_out_of_memory_costs_the_row_that_needs_too_much(words: str, kind: type[Exception]) -> None:
    found = answers(kind(words))
    assert found[:2] + found[3:] == [1, 2, 4]
    assert isinstance(found[2], Failure)
    assert found[2].reason.startswith("out of memory at batch size 1")


@pytest.mark.parametrize("words", OF_ITS_ROW)
def test_other_errors_are_their_rows_own(words: str) -> None:
    found = answers(RuntimeError(words))
    assert found[:2] + found[3:] == [1, 2, 4]
    assert found[2] == Failure(f"RuntimeError: {words}")


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="torch has no type for it before 2.8")
def test_the_type_of_torch_says_it_in_any_words() -> None:
    with pytest.raises(DeviceError, match="the card fell off the bus"):
        answers(torch.AcceleratorError("the card fell off the bus"))


def test_a_device_that_adds_no_more_has_failed_whatever_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "_can_add", lambda device: False)
    with pytest.raises(DeviceError, match="who knows"):
        answers(RuntimeError("who knows"), torch.device("cuda"))
    assert answers(RuntimeError("who knows"))[2] == Failure("RuntimeError: who knows")


def test_the_device_is_asked_to_add(monkeypatch: pytest.MonkeyPatch) -> None:
    assert batches_module._can_add(CPU)
    for words, adds in (("CUDA error: out of memory", True), ("no such device", False)):

        def fail(*_: object, said: str = words, **__: object) -> None:
            raise RuntimeError(said)

        monkeypatch.setattr(torch, "ones", fail)
        assert batches_module._can_add(CPU) == adds
