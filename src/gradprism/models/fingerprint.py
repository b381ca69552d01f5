"""Digest of a loaded model: every byte of its weights, and what else it computes with (adapters, hooks, own modules).

It tells models of the same name apart. The bytes are hashed whole: about 1.5 GB a second for each core that helps
(SHA-256 with the processor's instructions for it), after they have come from where they lie.
"""

import functools
import hashlib
import json
import os
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import align_module_device
from torch import Tensor, nn

from gradprism.models.adapters import adapters_of
from gradprism.models.device import is_offloaded
from gradprism.models.file_digests import DIGITS
from gradprism.models.projections.linear import join_path
from gradprism.models.quantised import replaced_forward

if TYPE_CHECKING:
    from hashlib import _Hash

_CHUNK = 1 << 20  # bytes that one thread hashes by itself: part of what the digest is
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_HARMLESS = {"accelerate", "transformers"}  # their hooks move weights and record outputs
_LIBRARIES = {"torch", "transformers", "transformers_modules", "peft", "accelerate", "bitsandbytes", "torchao",
           "compressed_tensors"}  # fmt: skip
_MAX_DEPTH = 4  # functions in functions, values in values


def digest_of_model(model: nn.Module, tokenizer: Any, dtype: str) -> str:
    """Return a digest of a loaded model and its tokenizer.

    It covers the vocabulary and chat template, all bytes of every weight and saved buffer, the adapters' settings, and
    hooks and forward passes that change activations.
    """
    vocabulary = json.dumps(tokenizer.get_vocab(), sort_keys=True)
    template = getattr(tokenizer, "chat_template", None)
    digest = hashlib.sha256(f"{dtype}{vocabulary}{template}".encode("utf-8", "backslashreplace"))
    for name, weight in _weights_of(model):
        digest.update(name.encode())
        _add_tensor(digest, weight)
    for line in (adapters_of(model) or "", *_additions_to(model)):
        digest.update(line.encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:DIGITS]


def _weights_of(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield name and value of every weight and saved buffer, scales of quantised ones too; tied ones once.

    Offloaded ones are fetched.
    """
    seen: dict[int, Tensor] = {}  # kept, so that no number is given twice
    elsewhere = _tied(model) if any(map(is_offloaded, model.modules())) else set()
    for path, module in model.named_modules():
        with align_module_device(module):
            for name, weight in _own_state(module).items():
                full = join_path(path, name)
                if isinstance(weight, Tensor) and id(weight) not in seen and full not in elsewhere:
                    if not is_offloaded(module):  # those are made anew each time
                        seen[id(weight)] = weight
                    yield full, weight


def _own_state(module: nn.Module) -> dict[str, Any]:
    """Return the weights and buffers that a module itself saves: not its children's, nor rotary frequencies."""
    if not list(module.children()):
        return module.state_dict(keep_vars=True)
    buffers = dict(module.named_buffers(recurse=False))
    saved = {name: buffer for name, buffer in buffers.items() if name not in module._non_persistent_buffers_set}
    return dict(module.named_parameters(recurse=False)) | saved


def _tied(model: nn.Module) -> set[str]:
    """Return the names of tied weights, by the model's own list: once fetched, they are two tensors."""
    return {
        join_path(path, name)
        for path, module in model.named_modules()
        for name in getattr(module, "all_tied_weights_keys", None) or ()
    }


def _add_tensor(digest: "_Hash", tensor: Tensor) -> None:
    """Add type, shape and all bytes of a tensor to a digest; for one made of several (quantised), those of each."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, settings = tensor.__tensor_flatten__()
        digest.update(f"{type(tensor).__qualname__}{_without_addresses(str(settings))}".encode())
        for name in names:
            digest.update(name.encode())
            _add_tensor(digest, getattr(tensor, name))
        return
    plain = tensor.detach().as_subclass(Tensor)
    digest.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
    flat = plain.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    pieces = [flat[start : start + _CHUNK] for start in range(0, len(flat), _CHUNK)]
    if len(pieces) < 2:
        digest.update(b"".join(map(_sha256, pieces)))
        return
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        digest.update(b"".join(pool.map(_sha256, pieces)))


def _sha256(piece: Any) -> bytes:
    return hashlib.sha256(piece).digest()


def _without_addresses(text: str) -> str:
    """Return a representation without addresses in memory."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _additions_to(model: nn.Module) -> Iterator[str]:
    """Describe what may change a model's activations or gradients besides its weights, a line each.

    That is hooks and forward passes put in the place of a module's own, with their code and the values they hold
    (steering vectors, scales), and modules of the caller's own classes. accelerate's and transformers' hooks change no
    number. Code differs between versions of Python.
    """
    for path, module in model.named_modules():
        for kind in _HOOKS:
            for hook in getattr(module, kind).values():
                if not _changes_nothing(hook):
                    yield f"{path} {kind} {_in_words(hook)}"
        if (forward := replaced_forward(module)) and not _changes_nothing(forward):
            yield f"{path} forward {_in_words(forward)}"
        if type(module).__module__.split(".")[0] not in _LIBRARIES:
            yield f"{path} {type(module).__module__}.{type(module).__qualname__}"
    for kind in ("_global_forward_pre_hooks", "_global_forward_hooks", "_global_backward_pre_hooks",
                 "_global_backward_hooks"):  # fmt: skip
        for hook in getattr(nn.modules.module, kind).values():
            yield f"every module {kind} {_in_words(hook)}"


def _changes_nothing(hook: Any) -> bool:
    while isinstance(hook, functools.partial):
        hook = hook.func
    owner = hook if hasattr(hook, "__module__") else type(hook)
    return str(owner.__module__).split(".")[0] in _HARMLESS


def _in_words(value: Any, depth: int = 0) -> str:
    """Describe a value without addresses, so that every process that holds it describes it alike."""
    if isinstance(value, Tensor):
        digest = hashlib.sha256()
        _add_tensor(digest, value)
        return f"tensor {value.dtype} {tuple(value.shape)} {digest.hexdigest()}"
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if depth >= _MAX_DEPTH or isinstance(value, nn.Module):
        return _type_name(value)
    if isinstance(value, Mapping):
        return _call_in_words("map", (f"{_in_words(key)}: {_in_words(item, depth + 1)}" for key, item in value.items()))
    if isinstance(value, list | tuple):
        return _call_in_words(type(value).__name__, (_in_words(item, depth + 1) for item in value))
    if isinstance(value, functools.partial):
        return _call_in_words(
            "partial", (_in_words(part, depth + 1) for part in (value.func, value.args, value.keywords))
        )
    if isinstance(value, types.MethodType):
        return _call_in_words("method", (_in_words(part, depth + 1) for part in (value.__func__, value.__self__)))
    if isinstance(value, types.FunctionType):
        return _function_in_words(value, depth)
    if isinstance(value, types.CodeType):
        return _code_in_words(value)
    attributes = getattr(value, "__dict__", {})
    return f"{_type_name(value)} {_in_words(dict(attributes), depth + 1)}" if attributes else _type_name(value)


def _function_in_words(function: types.FunctionType, depth: int) -> str:
    """Describe a function by its code and the values that it brings along: defaults, closure, globals."""
    code = function.__code__
    cells = [content for cell in function.__closure__ or () for content in _cell_contents(cell)]
    used = [function.__globals__[name] for name in code.co_names if name in function.__globals__]
    values = [value for value in used if isinstance(value, Tensor | int | float | str | list | tuple | dict)]
    parts = (function.__defaults__, function.__kwdefaults__, cells, values)
    name = f"{function.__module__}.{function.__qualname__}"
    return _call_in_words(name, (_code_in_words(code), *(_in_words(part, depth + 1) for part in parts)))


def _code_in_words(code: types.CodeType) -> str:
    constants = (_in_words(constant, 1) for constant in code.co_consts)
    return _call_in_words("code", (code.co_code.hex(), repr(code.co_names), *constants))


def _cell_contents(cell: types.CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # not assigned yet
        return []


def _type_name(value: Any) -> str:
    named = value if isinstance(value, type) else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _call_in_words(name: str, parts: Iterable[str]) -> str:
    return f"{name}({', '.join(parts)})"
