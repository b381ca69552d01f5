"""Quantised weights: made on loading, computed with as they are, and refused where nothing can be sent back."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.models.full_precision import temporary_attribute
from gradprism.models.settings import Quantization

_ROUNDING = 1e-3  # a linear map may differ from one by as much, in types that round by less; TF32 by 5e-4
_DEQUANTISED = {
    "compressed-tensors": "CompressedTensorsConfig",  # unpacks in the first forward pass, which is too late
    "fp8": "FineGrainedFP8Config",  # on a GPU rounds its inputs to 8 bits on the way forward, and not on the way back
    "mxfp4": "Mxfp4Config",  # on a GPU has no backward pass (GPT-OSS)
}  # left to themselves; of others, what they compute can be differentiated, or is refused


def quantization_config(name: Quantization, dtype: torch.dtype | None) -> Any:
    """Return the `quantization_config` of `from_pretrained`. Raises `GradPrismError` where a package is missing.

    4-bit layers compute in `dtype`, where it is known.

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
    compute = {} if dtype is None else {"bnb_4bit_compute_dtype": dtype}
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", **compute)


def loading_options(saved: str | None, config: Any) -> dict[str, Any]:
    """Return the options of `from_pretrained` for a checkpoint that was saved quantised by the method `saved`.

    Those whose layers could not be measured are dequantised; others need no option.
    """
    if saved not in _DEQUANTISED:
        return {}
    import transformers

    own = config.quantization_config
    own = own if isinstance(own, dict) else own.to_dict()
    names = () if saved == "compressed-tensors" else ("modules_to_not_convert", "ignored_layers")
    kept = {name: own[name] for name in names if own.get(name)}  # else overruled by none
    return {"quantization_config": getattr(transformers, _DEQUANTISED[saved])(dequantize=True, **kept)}


def refuse_unknown_method(saved: str, config: Any) -> None:
    """Refuse a way of quantising that transformers does not know: it would take the stored values for the weights.

    Raises `GradPrismError`.
    """
    from transformers.quantizers.auto import AutoHfQuantizer

    own = config.quantization_config
    if not AutoHfQuantizer.supports_quant_method(own if isinstance(own, dict) else own.to_dict()):
        raise GradPrismError(
            f"The checkpoint was saved quantised by {saved!r}, which this transformers does not know. "
            "Expected one that it does, or the unquantised checkpoint."
        )


def compute_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Let 4-bit layers of bitsandbytes compute in the type asked for instead of the one that they were saved with."""
    for module in _bitsandbytes_layers(model, "Linear4bit"):
        module.compute_dtype, module.compute_type_is_set = dtype, True


@contextmanager
def exact_products(model: nn.Module) -> Iterator[None]:
    """Let layers of bitsandbytes compute with their dequantised weights, in the type of their inputs.

    Otherwise 8-bit layers also round their activations to 8 bits in the forward pass (Dettmers et al. 2022,
    "LLM.int8()") and not in the backward one: what comes back would be the gradient of another function. 4-bit layers
    on CPUs with AVX512-BF16 compute in bf16 wherever their input needs no gradient, and cannot go back afterwards.
    """
    with ExitStack() as changes:
        for module in _bitsandbytes_layers(model, "Linear8bitLt"):
            if not module.state.has_fp16_weights:
                called = "_old_forward" if hasattr(module, "_hf_hook") else "forward"  # which a hook calls
                changes.enter_context(temporary_attribute(module, called, partial(_forward_8bit, module)))
        for module in _bitsandbytes_layers(model, "Linear4bit"):
            changes.enter_context(temporary_attribute(module, "support_avx512bf16_for_cpu", False))
        yield


def _bitsandbytes_layers(model: nn.Module, kind: str) -> list[Any]:
    """Return the modules of a class of bitsandbytes; none where that was never imported."""
    found = getattr(sys.modules.get("bitsandbytes.nn"), kind, None)
    return [module for module in model.modules() if found and isinstance(module, found)]


def _forward_8bit(module: Any, inputs: Tensor) -> Tensor:
    """Compute in the place of `Linear8bitLt.forward`: codes and scales are in its state from its first pass on.

    peft's DoRA brings the codes, without their scales, back into the weight.
    """
    weight, state = module.weight, module.state
    codes, scales = (weight.CB if state.CB is None else state.CB), (weight.SCB if state.SCB is None else state.SCB)
    outputs: Tensor = _Product8bit.apply(inputs, codes, scales)  # type: ignore[no-untyped-call]
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
    """Turn codes of -127 to 127, in units of each row's largest magnitude / 127, into weights (d_out, d_in)."""
    return codes.to(dtype).mul_((scales / 127).to(dtype)[:, None])


def refuse_forward_only(model: nn.Module) -> None:
    """Refuse layers that send no gradient back, or not that of what they compute. Raises `GradPrismError`.

    Many quantised kernels are written for inference alone: the gradient would go round them, along the residual
    stream, and what is measured below would be wrong without a word. One linear layer of each kind is tried; other
    modules with packed weights have no transpose to try, and are refused.
    """
    kinds: dict[tuple[Any, ...], str] = {}
    for path, module in model.named_modules():
        packed = any(map(_is_packed, module.parameters(recurse=False)))
        if not isinstance(getattr(module, "in_features", None), int):
            if packed and not hasattr(module, "num_embeddings"):  # no gradient is wanted below embeddings
                raise GradPrismError(_no_gradient(path, module, "may send no gradient back: this is not tested"))
        elif packed or not (list(module.children()) or _is_plain_linear(module)):
            kinds.setdefault((type(module), _weights_in_words(module), replaced_forward(module)), path)
    with exact_products(model):
        for path in kinds.values():
            _try_gradient(path, model.get_submodule(path), _dtype_of(model))


def _no_gradient(path: str, module: nn.Module, problem: str) -> str:
    return (
        f"{path} ({type(module).__name__} with {_weights_in_words(module)} weights) {problem}.\n"
        "Expected a quantisation whose layers can be differentiated, such as --quantization bnb-4bit, bnb-8bit or "
        "torchao-int8 of the unquantised checkpoint, or the dequantised weights."
    )


def _weights_in_words(module: nn.Module) -> str:
    """Describe the kind of weights that a module holds: `Parameter of float32`, `Params4bit of uint8`."""
    weight = getattr(module, "weight", None)
    if weight is None:
        weight = next(module.parameters(recurse=False), None)
    dtype = f" of {str(weight.dtype).removeprefix('torch.')}" if isinstance(weight, Tensor) else ""
    return f"{type(weight).__name__}{dtype}"


def _is_packed(weight: Tensor) -> bool:
    """Check for weights that are not the numbers to multiply with: codes, 8-bit floats, a tensor of another class."""
    return type(weight) is not nn.Parameter or not (weight.dtype.is_floating_point and weight.dtype.itemsize > 1)


def _is_plain_linear(module: nn.Module) -> bool:
    """Check that torch itself computes a linear layer. A weight of None is unpacked when the module is called."""
    return (
        type(module).forward is nn.Linear.forward
        and replaced_forward(module) is None
        and type(getattr(module, "weight", None)) in (nn.Parameter, type(None))
    )


def replaced_forward(module: nn.Module) -> Any:
    """Return the function that stands in the place of a module's own `forward`, accelerate's hooks aside; or None."""
    found = vars(module).get("_old_forward" if hasattr(module, "_hf_hook") else "forward")
    function = getattr(found, "__func__", found)
    return None if function is type(module).forward else function


def _dtype_of(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if not _is_packed(p)), torch.float32)


def _try_gradient(path: str, module: nn.Module, dtype: torch.dtype) -> None:
    """Refuse a layer that fails, or of which `_gradient_problem` finds one. Raises `GradPrismError`."""
    try:
        problem = _gradient_problem(module, dtype)
    except Exception as error:
        if not any(map(_is_packed, module.parameters(recurse=False))) and _weights_in_words(module) != "NoneType":
            return  # of torch's own operations, on inputs of another shape
        raise GradPrismError(_no_gradient(path, module, f"fails: {type(error).__name__}: {error}")) from error
    if problem:
        raise GradPrismError(_no_gradient(path, module, problem))


def _gradient_problem(module: nn.Module, dtype: torch.dtype) -> str | None:
    """Check W (x + y) = W x + W y, which rounded inputs break, and x · Wᵀ(W x) = |W x|²: backward is the transpose.

    Returns what is wrong, or None. x and y have their values in different places, so that no type rounds their sum.
    """
    from gradprism.models.device import execution_device

    d_in = int(module.in_features)  # type: ignore[arg-type]
    with torch.inference_mode(False), torch.enable_grad():
        device = (
            execution_device(module) if next(module.parameters(), None) is not None else next(module.buffers()).device
        )
        wave = torch.arange(d_in, device=device).cos().to(dtype)
        even = torch.arange(d_in, device=device) % 2 == 0
        x, y = wave.where(even, 0), (0.7 * wave).where(~even, 0)
        both, *others = ((row[None]).requires_grad_(True) for row in (x + y, x, y, torch.zeros_like(x)))
        outputs, *apart = (module(row) for row in (both, *others))
        if not isinstance(outputs, Tensor):
            return None  # a router of experts, whose outputs are choices
        if not outputs.requires_grad:
            return "sends no gradient back: it is made for inference alone"
        of_x, of_y, bias = (output.detach().double() for output in apart)
        product = outputs.detach().double() - bias
        (found,) = torch.autograd.grad(outputs, both, product.to(outputs.dtype))
    size = product.norm().item()
    epsilon = max(torch.finfo(kind).eps for kind in (dtype, getattr(module, "compute_dtype", None) or dtype))
    allowed = max(_ROUNDING, 1.5 * epsilon) * size + epsilon * bias.norm().item()
    if (product - (of_x - bias) - (of_y - bias)).norm().item() > allowed:
        return "rounds its inputs, so that what it sends back is not the gradient of what it computes"
    back = (both.detach().double() * found.double()).sum().item()
    if abs(back - size * size) > allowed * size:
        return "sends no gradient back, or not that of what it computes"
    return None
