"""Full precision for an exact pass: nothing that the process or a wrapper has set to go faster reaches it."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from operator import attrgetter
from typing import Any, Literal

import torch
from torch import nn

from gradprism.core.errors import GradPrismError

_BACKENDS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")
_REPLICATING = {"DataParallel", "DistributedDataParallel", "DeepSpeedEngine"}
_SHARDING = {"FullyShardedDataParallel"}


@contextmanager
def full_products() -> Iterator[None]:
    """Compute products in full precision inside, whatever the process or the model's own pass has set."""
    with ExitStack() as stack:
        for kind in _device_types():
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(matmul_precision("highest"))
        yield


@contextmanager
def matmul_precision(name: Literal["highest", "high", "medium"]) -> Iterator[None]:
    """Compute products of fp32 in fp32 (`highest`; convolutions too), TF32 (`high`) or bf16 (`medium`), if it can."""
    before_process = _process_precision()
    before = [(backend, backend.fp32_precision) for backend in _settable_backends()]
    torch.set_float32_matmul_precision(name)
    if name == "highest":
        for backend, _ in before:
            backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        if before_process:
            torch.set_float32_matmul_precision(before_process)
        for backend, value in before:
            if backend.fp32_precision != value:
                backend.fp32_precision = value


def _process_precision() -> str | None:
    """Return the precision set for the process; None where backends have their own, an error to torch."""
    with suppress(RuntimeError):
        return torch.get_float32_matmul_precision()
    return None


def _settable_backends() -> Iterator[Any]:
    """Yield the backends whose precision can be set one by one: none before torch 2.9."""
    for name in _BACKENDS:
        with suppress(AttributeError):
            backend = attrgetter(name)(torch.backends)
            if hasattr(backend, "fp32_precision"):
                yield backend


def _device_types() -> set[str]:
    current = torch.accelerator.current_accelerator()
    known = {"cpu", "cuda", "xpu", "mps", "hpu"} | ({current.type} if current else set())
    return {kind for kind in known if torch.amp.is_autocast_available(kind)}


def model_itself(model: Any) -> Any:
    """Return the model inside one that `torch.compile` has made, and any other as it is.

    Raises `GradPrismError` for one that is spread over processes or devices by a wrapper.
    """
    model = getattr(model, "_orig_mod", model)
    for path, module in model.named_modules() if isinstance(model, nn.Module) else ():
        classes = {kind.__name__ for kind in type(module).__mro__}
        if classes & (_REPLICATING | _SHARDING):
            where = f", at {path}" if path else ""
            what = (
                "the model in it: its `.module`" if classes & _REPLICATING else "a whole model: saved, and loaded anew"
            )
            raise GradPrismError(f"Given a {type(module).__name__}{where}. Expected {what}.")
    return model


@contextmanager
def own_forward(model: nn.Module) -> Iterator[None]:
    """Let modules compute by their own code: neither compiled, nor in the mixed precision that accelerate prepares.

    Compiled code may leave out the hooks that a measurement registers.
    """
    with ExitStack() as changes:
        if "torch._dynamo" in sys.modules and any(map(_is_compiled, model.modules())):
            changes.enter_context(torch.compiler.set_stance("force_eager"))
        for module in model.modules():
            if {"forward", "_original_forward"} <= vars(module).keys():
                changes.enter_context(temporary_attribute(module, "forward", module._original_forward))
        yield


@contextmanager
def temporary_attribute(module: nn.Module, name: str, value: Any) -> Iterator[None]:
    """Give one module an attribute of its own inside, in the place of its class's or of one it has."""
    own = vars(module)
    before = {name: own[name]} if name in own else {}
    setattr(module, name, value)
    try:
        yield
    finally:
        delattr(module, name)
        own.update(before)


def _is_compiled(module: nn.Module) -> bool:
    """Check for `torch.compile(module)`, `module.compile()` and `module.forward = torch.compile(module.forward)`."""
    compiled = getattr(module, "_compiled_call_impl", None) is not None
    return compiled or hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")
