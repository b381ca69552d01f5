"""What tells models of the same name apart, without reading all of their weights."""

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradprism.models.device import is_fetched

if TYPE_CHECKING:
    from torch import Tensor, nn


def digest_of_files(files: Iterable[Path]) -> str:
    """Digest of names, sizes, and the first and last MiB of each."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(_ends_of(file))
    return digest.hexdigest()[:16]


def _ends_of(file: Path, size: int = 1 << 20) -> bytes:
    """Name, size, first and last MiB: enough to tell checkpoints apart without reading terabytes."""
    length = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(size)
        stream.seek(max(length - size, 0))
        return file.name.encode() + struct.pack("<Q", length) + head + stream.read(size)


def digest_of_model(model: "nn.Module", tokenizer: Any, dtype: str) -> str:
    """Digest of the tokenizer, of the first and last values of every weight, and of the adapters' settings."""
    from gradprism.models.adapters import adapters_of

    vocabulary = json.dumps(tokenizer.get_vocab(), sort_keys=True)
    template = getattr(tokenizer, "chat_template", None)
    digest = hashlib.sha256(f"{dtype}{vocabulary}{template}".encode("utf-8", "backslashreplace"))
    for name, weight in _weights_of(model):
        digest.update(f"{name}{tuple(weight.shape)}".encode() + _ends_of_weight(weight))
    digest.update((adapters_of(model) or "").encode())
    return digest.hexdigest()[:16]


def _weights_of(model: "nn.Module") -> Iterator[tuple[str, "Tensor"]]:
    """Every weight, tied ones once, with the scales of quantised ones; fetched where it is offloaded."""
    from accelerate.utils import align_module_device
    from torch import Tensor

    seen: dict[int, Tensor] = {}  # kept, so that no number is given twice
    elsewhere = _tied(model) if any(map(is_fetched, model.modules())) else set()
    for path, module in model.named_modules():
        with align_module_device(module):
            leaf = not list(module.children())
            own = module.state_dict(keep_vars=True) if leaf else dict(module.named_parameters(recurse=False))
            for name, weight in own.items():
                full = f"{path}.{name}" if path else name
                if isinstance(weight, Tensor) and id(weight) not in seen and full not in elsewhere:
                    if not is_fetched(module):  # those are made anew each time
                        seen[id(weight)] = weight
                    yield full, weight


def _tied(model: "nn.Module") -> set[str]:
    """Names of weights that are others, by what the model itself says: once fetched, they are two tensors."""
    return {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        for name in getattr(module, "all_tied_weights_keys", None) or ()
    }


def _ends_of_weight(weight: "Tensor") -> bytes:
    import torch

    plain = weight.detach()
    if type(plain) is not torch.Tensor and hasattr(plain, "dequantize"):
        plain = plain.dequantize()
    flat = plain.flatten()
    return torch.cat([flat[:16], flat[-16:]]).to("cpu", torch.float32).numpy().tobytes()
