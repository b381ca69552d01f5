"""Quantised weights: made on loading, computed with as they are, and refused where nothing can be sent back."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gradprism.errors import GradPrismError
from gradprism.extras import need
from gradprism.recipe import Quantization

_ADJOINT = 0.05  # backward may differ from forward by as much: 8-bit activations round by 1e-2


def quantization_config(name: Quantization, dtype: torch.dtype) -> Any:
    """What `from_pretrained` takes. Raises `GradPrismError` where the package is missing.

    bnb-4bit is NF4 in blocks of 64 (Dettmers et al. 2023, "QLoRA"); bnb-8bit and torchao-int8 have one scale a row.
    """
    from transformers import BitsAndBytesConfig, TorchAoConfig

    if name == "torchao-int8":
        need("torchao", "quantised")
        from torchao.quantization import Int8WeightOnlyConfig

        return TorchAoConfig(Int8WeightOnlyConfig())
    need("bitsandbytes", "quantised")
    if name == "bnb-8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def compute_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Let 4-bit layers of bitsandbytes compute in the type asked for: checkpoints are saved with one of their own."""
    for module in _of_bitsandbytes(model, "Linear4bit"):
        module.compute_dtype, module.compute_type_is_set = dtype, True


@contextmanager
def exact_products(model: nn.Module) -> Iterator[None]:
    """Layers of bitsandbytes compute with their dequantised weights, in the type of their inputs.

    By themselves 8-bit layers also round their activations to 8 bits in the forward pass (Dettmers et al. 2022,
    "LLM.int8()") and not in the backward one: what comes back would be the gradient of another function. 4-bit layers
    on CPUs with AVX512-BF16 compute in bf16 wherever their input needs no gradient, and cannot go back afterwards.
    """
    changed: list[tuple[nn.Module, str, Any]] = []
    for module in _of_bitsandbytes(model, "Linear8bitLt"):
        if not module.state.has_fp16_weights:
            called = "_old_forward" if hasattr(module, "_hf_hook") else "forward"  # accelerate's hook calls the first
            _change(changed, module, called, partial(_forward_8bit, module))
    for module in _of_bitsandbytes(model, "Linear4bit"):
        _change(changed, module, "support_avx512bf16_for_cpu", False)
    try:
        yield
    finally:
        for module, name, before in changed:
            if before is _ABSENT:
                delattr(module, name)
            else:
                setattr(module, name, before)


_ABSENT = object()


def _change(changed: list[tuple[nn.Module, str, Any]], module: nn.Module, name: str, value: Any) -> None:
    changed.append((module, name, vars(module).get(name, _ABSENT)))
    setattr(module, name, value)


def _of_bitsandbytes(model: nn.Module, kind: str) -> list[Any]:
    """Modules of one of its classes; none where it was never imported."""
    found = getattr(sys.modules.get("bitsandbytes.nn"), kind, None)
    return [module for module in model.modules() if found and isinstance(module, found)]


def _forward_8bit(module: Any, inputs: Tensor) -> Tensor:
    """Stands in for `Linear8bitLt.forward`."""
    if module.weight.CB is not None:
        module.init_8bit_state()
    outputs: Tensor = _Product8bit.apply(inputs, module.state.CB, module.state.SCB)  # type: ignore[no-untyped-call]
    return outputs if module.bias is None else outputs + module.bias.to(outputs.dtype)


class _Product8bit(torch.autograd.Function):
    """y = W x, with W dequantised anew in each direction: kept until backward, it would be the whole model."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, codes: Tensor, scales: Tensor) -> Tensor:
        ctx.codes, ctx.scales = codes, scales
        return inputs @ _dequantised(codes, scales, inputs.dtype).T

    @staticmethod
    def backward(ctx: Any, deltas: Tensor) -> tuple[Tensor, None, None]:
        return deltas @ _dequantised(ctx.codes, ctx.scales, deltas.dtype), None, None


def _dequantised(codes: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """Codes of -127 to 127 of the largest magnitude in each row -> (d_out, d_in)."""
    return codes.to(dtype).mul_((scales / 127).to(dtype)[:, None])


def refuse_forward_only(model: nn.Module) -> None:
    """Raises `GradPrismError` for a model with layers that send no gradient back, or not that of what they compute.

    Many quantised kernels are written for inference alone: the gradient would go round them, along the residual
    stream, and what is measured below would be wrong without a word. One layer of each kind is asked.
    """
    kinds: dict[tuple[type, type], str] = {}
    for path, module in model.named_modules():
        weight = getattr(module, "weight", None)
        plain = type(module) is nn.Linear and type(weight) in (nn.Parameter, type(None))  # None: unpacked when called
        if not plain and isinstance(getattr(module, "in_features", None), int) and not list(module.children()):
            kinds.setdefault((type(module), type(weight)), path)
    with exact_products(model):
        for (kind, held), path in kinds.items():
            if not _sends_back(model.get_submodule(path), _dtype_of(model)):
                raise GradPrismError(
                    f"{path} ({kind.__name__} with {held.__name__} weights) sends no gradient back, or not that of "
                    "what it computes: it is made for inference alone. Expected a quantisation whose layers can be "
                    "differentiated, such as --quantization bnb-4bit, bnb-8bit or torchao-int8 of the unquantised "
                    "checkpoint, or the dequantised weights."
                )


def _dtype_of(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.dtype.is_floating_point), torch.float32)


def _sends_back(module: nn.Module, dtype: torch.dtype) -> bool:
    """Whether x · Wᵀ(W x) = |W x|² for one x: backward is the transpose of forward."""
    from gradprism.models.device import runs_on

    d_in = int(module.in_features)  # type: ignore[arg-type]
    with torch.inference_mode(False), torch.enable_grad():
        device = runs_on(module) if next(module.parameters(), None) is not None else next(module.buffers()).device
        inputs = torch.arange(d_in, device=device).cos().to(dtype).expand(2, d_in).clone()
        inputs[1] = 0  # what the bias adds
        inputs.requires_grad_(True)
        outputs = module(inputs)
        if not outputs.requires_grad:
            return False
        product = (outputs[0] - outputs[1]).detach()
        (found,) = torch.autograd.grad(outputs, inputs, torch.stack([product, torch.zeros_like(product)]))
    size = product.double().square().sum().item()
    back = (inputs[0].double() * found[0].double()).sum().item()
    return bool(abs(back - size) <= _ADJOINT * size)
