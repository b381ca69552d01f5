"""What tells loaded models of the same name apart: every byte of their weights, and what else they compute with.

The bytes are hashed whole: about 1.5 GB a second for each core that helps (SHA-256 with the processor's instructions
for it), after they have come from where they lie.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gradprism.models.device import is_fetched
from gradprism.models.file_digests import DIGITS

if TYPE_CHECKING:
    from torch import Tensor, nn


def digest_of_model(model: "nn.Module", tokenizer: Any, dtype: str) -> str:
    """Return a digest of a loaded model and its tokenizer.

    It covers the vocabulary and chat template, all bytes of every weight and saved buffer, the adapters' settings, and
    hooks and forward passes that change activations.
    """
    from gradprism.models.adapters import adapters_of
    from gradprism.models.hooks import additions_to
    from gradprism.models.tensor_bytes import update

    vocabulary = json.dumps(tokenizer.get_vocab(), sort_keys=True)
    template = getattr(tokenizer, "chat_template", None)
    digest = hashlib.sha256(f"{dtype}{vocabulary}{template}".encode("utf-8", "backslashreplace"))
    for name, weight in _weights_of(model):
        digest.update(name.encode())
        update(digest, weight)
    for line in (adapters_of(model) or "", *additions_to(model)):
        digest.update(line.encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:DIGITS]


def _weights_of(model: "nn.Module") -> Iterator[tuple[str, "Tensor"]]:
    """Every weight and saved buffer, tied ones once, with the scales of quantised ones; fetched where offloaded."""
    from accelerate.utils import align_module_device
    from torch import Tensor

    seen: dict[int, Tensor] = {}  # kept, so that no number is given twice
    elsewhere = _tied(model) if any(map(is_fetched, model.modules())) else set()
    for path, module in model.named_modules():
        with align_module_device(module):
            for name, weight in _own_state(module).items():
                full = f"{path}.{name}" if path else name
                if isinstance(weight, Tensor) and id(weight) not in seen and full not in elsewhere:
                    if not is_fetched(module):  # those are made anew each time
                        seen[id(weight)] = weight
                    yield full, weight


def _own_state(module: "nn.Module") -> dict[str, Any]:
    """What a module itself would save, not what modules in it would; rotary frequencies and the like are not saved."""
    if not list(module.children()):
        return module.state_dict(keep_vars=True)
    buffers = dict(module.named_buffers(recurse=False))
    saved = {name: held for name, held in buffers.items() if name not in module._non_persistent_buffers_set}
    return dict(module.named_parameters(recurse=False)) | saved


def _tied(model: "nn.Module") -> set[str]:
    """Names of weights that are others, by what the model itself says: once fetched, they are two tensors."""
    return {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        for name in getattr(module, "all_tied_weights_keys", None) or ()
    }
