"""What else than its weights a loaded model computes with: hooks, replaced forward passes, modules of other makers."""

import functools
import hashlib
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from gradprism.models.quantised import replaced_forward
from gradprism.models.tensor_bytes import update

_KINDS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_FRAMEWORKS = {"accelerate", "transformers"}  # their hooks move weights and record outputs
_MAKERS = {"torch", "transformers", "transformers_modules", "peft", "accelerate", "bitsandbytes", "torchao",
           "compressed_tensors"}  # fmt: skip
_DEEPEST = 4  # functions in functions, values in values


def additions_to(model: nn.Module) -> Iterator[str]:
    """Describe what may change a model's activations or gradients besides its weights, a line each.

    That is hooks and forward passes put in the place of a module's own, with their code and the values they hold
    (steering vectors, scales), and modules of the caller's own classes. accelerate's and transformers' hooks change no
    number. Code differs between versions of Python.
    """
    for path, module in model.named_modules():
        for kind in _KINDS:
            for hook in getattr(module, kind).values():
                if not _is_of_frameworks(hook):
                    yield f"{path} {kind} {_described(hook)}"
        if (forward := replaced_forward(module)) and not _is_of_frameworks(forward):
            yield f"{path} forward {_described(forward)}"
        if type(module).__module__.split(".")[0] not in _MAKERS:
            yield f"{path} {type(module).__module__}.{type(module).__qualname__}"
    for kind in ("_global_forward_pre_hooks", "_global_forward_hooks", "_global_backward_pre_hooks",
                 "_global_backward_hooks"):  # fmt: skip
        for hook in getattr(nn.modules.module, kind).values():
            yield f"every module {kind} {_described(hook)}"


def _is_of_frameworks(hook: Any) -> bool:
    while isinstance(hook, functools.partial):
        hook = hook.func
    owner = hook if hasattr(hook, "__module__") else type(hook)
    return str(owner.__module__).split(".")[0] in _FRAMEWORKS


def _described(value: Any, depth: int = 0) -> str:
    """Describe a value without addresses: the same in every process that holds the same."""
    if isinstance(value, Tensor):
        digest = hashlib.sha256()
        update(digest, value)
        return f"tensor {value.dtype} {tuple(value.shape)} {digest.hexdigest()}"
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if depth >= _DEEPEST or isinstance(value, nn.Module):
        return _type_name(value)
    if isinstance(value, Mapping):
        return _listed("map", (f"{_described(key)}: {_described(held, depth + 1)}" for key, held in value.items()))
    if isinstance(value, list | tuple):
        return _listed(type(value).__name__, (_described(held, depth + 1) for held in value))
    if isinstance(value, functools.partial):
        return _listed("partial", (_described(part, depth + 1) for part in (value.func, value.args, value.keywords)))
    if isinstance(value, types.MethodType):
        return _listed("method", (_described(part, depth + 1) for part in (value.__func__, value.__self__)))
    if isinstance(value, types.FunctionType):
        return _described_function(value, depth)
    if isinstance(value, types.CodeType):
        return _described_code(value)
    held = getattr(value, "__dict__", {})
    return f"{_type_name(value)} {_described(dict(held), depth + 1)}" if held else _type_name(value)


def _described_function(function: types.FunctionType, depth: int) -> str:
    """Describe a function's code, and the values that it brings along: defaults, closure, globals."""
    code = function.__code__
    cells = [held for cell in function.__closure__ or () for held in _contents(cell)]
    used = [function.__globals__[name] for name in code.co_names if name in function.__globals__]
    values = [held for held in used if isinstance(held, Tensor | int | float | str | list | tuple | dict)]
    parts = (function.__defaults__, function.__kwdefaults__, cells, values)
    name = f"{function.__module__}.{function.__qualname__}"
    return _listed(name, (_described_code(code), *(_described(part, depth + 1) for part in parts)))


def _described_code(code: types.CodeType) -> str:
    constants = (_described(held, 1) for held in code.co_consts)
    return _listed("code", (code.co_code.hex(), repr(code.co_names), *constants))


def _contents(cell: types.CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # not assigned yet
        return []


def _type_name(value: Any) -> str:
    named = value if isinstance(value, type) else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _listed(name: str, parts: Iterable[str]) -> str:
    return f"{name}({', '.join(parts)})"
