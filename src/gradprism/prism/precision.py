"""Set the precision of the model's own matrix products. Cosines never give up any; spectra: `estimated_spectrum`.

    exact     in the type of the weights; TF32 off
    balanced  tensors keep their type; their products are computed in TF32 (tensor cores) or bf16 (AMX)
    fast      bf16 (tensor cores, AMX), or int8 where a CPU has VNNI only: bf16 is slower than fp32 there

A machine without such units computes the products as with `exact`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Int8, Int32
from torch import Tensor, nn

from gradprism.models.full_precision import matmul_precision
from gradprism.models.offload import refetching
from gradprism.prism.settings import Precision

Arithmetic = Literal["as loaded", "TF32 products", "bf16 products", "bf16 autocast", "int8 products"]

_MATMUL_PRECISION: dict[Arithmetic, Literal["high", "medium"]] = {"TF32 products": "high", "bf16 products": "medium"}
_SMALLEST = 1e-30  # lower bound of a row's scale, for rows of zeros


def arithmetic_of(precision: Precision, device: torch.device) -> Arithmetic:
    """Return the arithmetic that a precision means on a device."""
    if precision == "exact":
        return "as loaded"
    if device.type == "cuda":
        if torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
            return "as loaded"
        return "TF32 products" if precision == "balanced" else "bf16 autocast"
    has = _cpu_capabilities() if device.type == "cpu" else {}
    if has.get("amx_bf16"):
        return "bf16 products" if precision == "balanced" else "bf16 autocast"
    if precision == "fast" and (has.get("avx512_vnni") or has.get("avx_vnni")) and hasattr(torch, "_int_mm"):
        return "int8 products"
    return "as loaded"


def _cpu_capabilities() -> dict[str, Any]:
    find = getattr(torch.cpu, "get_capabilities", None)  # torch 2.9; before, nothing is known
    return dict(find()) if find else {}


class Computing:
    """Runs a model's forward and backward passes in one arithmetic, within `with computing():`.

    The model is left unchanged.
    """

    def __init__(self, model: nn.Module, arithmetic: Arithmetic, device: torch.device, but: Sequence[nn.Module] = ()):
        """Prepare the arithmetic; the linear maps `but` stay exact where the others compute in int8."""
        self._model = model
        self._arithmetic = arithmetic
        self._device = device
        self._linears = _linears(model, but) if arithmetic == "int8 products" else []
        self._quantised: dict[nn.Linear, _Int8Linear] = {}

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Switch to the arithmetic, and restore the previous one at the end."""
        autocast = self._arithmetic == "bf16 autocast"
        with (
            matmul_precision(_MATMUL_PRECISION.get(self._arithmetic, "highest")),
            torch.autocast(self._device.type, torch.bfloat16) if autocast else nullcontext(),
            self._in_int8(),
            refetching(self._model),
        ):
            yield

    @contextmanager
    def _in_int8(self) -> Iterator[None]:
        rows = _QuantisedRows()
        try:
            for linear in self._linears:
                if linear not in self._quantised or self._quantised[linear].is_stale(linear):
                    self._quantised[linear] = _Int8Linear(linear)
                linear.forward = partial(self._quantised[linear], rows)  # type: ignore[method-assign]
            yield
        finally:
            for linear in self._linears:
                vars(linear).pop("forward", None)


def _linears(model: nn.Module, but: Sequence[nn.Module]) -> list[nn.Linear]:
    """Return the plain linear maps: no quantised ones, and none whose weights are fetched when called."""
    return [
        module
        for module in model.modules()
        if type(module) is nn.Linear
        and type(getattr(module, "weight", None)) is nn.Parameter
        and module not in but
        and "forward" not in vars(module)
    ]


class _QuantisedRows:
    """Rounds activations to int8, once for the projections that read the same ones (q, k and v; gate and up)."""

    def __init__(self) -> None:
        self._last: tuple[Tensor, tuple[Tensor, Tensor]] | None = None

    def of(self, values: Float[Tensor, "*batch k"]) -> tuple[Int8[Tensor, "rows k"], Float[Tensor, "rows 1"]]:
        """Round each row to the nearest of 255 levels; return the rows and their scales."""
        if self._last is None or self._last[0] is not values:
            self._last = values, _rounded(values.detach().flatten(0, -2))
        return self._last[1]


def _rounded(rows: Float[Tensor, "rows k"]) -> tuple[Int8[Tensor, "rows k"], Float[Tensor, "rows 1"]]:
    rows = rows.float()
    scale = rows.abs().amax(1, keepdim=True).clamp_(min=_SMALLEST).div_(127)
    return (rows / scale).round_().to(torch.int8), scale


class _Int8Linear:
    """A linear map in int8 with int32 sums, y = W x and dL/dx = Wᵀ dL/dy; scales are per token, and per row of W or Wᵀ.

    Dettmers et al., "LLM.int8()", NeurIPS 2022, without its outliers in higher precision; also for the backward pass.
    """

    def __init__(self, linear: nn.Linear):
        weight = linear.weight.detach()  # (d_out, d_in)
        self._bias = linear.bias
        self._source = _state(linear.weight)
        (forward, self._scale_out), (backward, self._scale_in) = _rounded(weight), _rounded(weight.T.contiguous())
        self._forward, self._backward = forward.T, backward.T  # (d_in, d_out), (d_out, d_in)

    def is_stale(self, linear: nn.Linear) -> bool:
        """Return whether the weights were trained or replaced since they were rounded."""
        return self._source != _state(linear.weight)

    def __call__(self, rows: _QuantisedRows, inputs: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Compute W x + b, in place of the linear map's `forward`."""
        outputs = cast(Tensor, _Int8Product.apply(inputs, rows.of(inputs), self))  # type: ignore[no-untyped-call]
        return outputs if self._bias is None else outputs + self._bias

    def outputs(self, rows: Tensor, scale: Tensor) -> Float[Tensor, "rows d_out"]:
        """Compute W x of rows in int8."""
        return (_product(rows, self._forward) * scale).mul_(self._scale_out.T)

    def input_deltas(self, deltas: Float[Tensor, "rows d_out"]) -> Float[Tensor, "rows d_in"]:
        """Compute Wᵀ dL/dy."""
        rows, scale = _rounded(deltas)
        return (_product(rows, self._backward) * scale).mul_(self._scale_in.T)


def _state(weight: Tensor) -> tuple[int, int]:
    return weight.data_ptr(), weight._version


def _product(rows: Int8[Tensor, "rows k"], weight: Int8[Tensor, "k n"]) -> Int32[Tensor, "rows n"]:
    product: Callable[[Tensor, Tensor], Tensor] = torch._int_mm
    return product(rows, weight)


class _Int8Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, rows: tuple[Tensor, Tensor], linear: _Int8Linear) -> Tensor:
        ctx.linear = linear
        return linear.outputs(*rows).to(inputs.dtype).view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, deltas: Tensor) -> tuple[Tensor, None, None]:
        found = ctx.linear.input_deltas(deltas.flatten(0, -2))
        return found.to(deltas.dtype).view(*deltas.shape[:-1], -1), None, None
