"""Tensors of a GGUF file: their names and shapes, and those that the model loaded from it is without."""

import mmap
import re
import struct
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from gradprism.core.errors import GradPrismError
from gradprism.models.loading_report import LAYER, first_keys

if TYPE_CHECKING:
    from torch import nn

_BLOCK = re.compile(r"blk\.(\d+)\.")
_ATTENTION_OR_MLP = re.compile(r"\.(attn|ffn|post_attention|post_ffw)_(?!rot_embd)\w+\.(weight|bias)")
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of a value of each type, in bytes
_STRING, _ARRAY = 8, 9


def refuse_left_over_tensors(model: "nn.Module", file: Path, name: str) -> None:
    """Refuse a GGUF file with layers, biases or norms that the loaded model is without. Raises `GradPrismError`.

    transformers reports those that are missing, and drops without a word what it has no name for.
    """
    n_layers = model.config.get_text_config().num_hidden_layers  # type: ignore[union-attr, operator]
    in_file, in_model = defaultdict[int, list[str]](list), Counter[int]()
    tensors = tensors_in(file)
    blocks = [(int(match[1]), key) for key in tensors if (match := _BLOCK.match(key))]
    predicting = {number for number, key in blocks if ".nextn." in key}  # further tokens
    if dropped := [key for number, key in blocks if number >= n_layers and number not in predicting]:
        raise GradPrismError(
            f"Cannot load the model {name!r}: it has layers that the model is built without: {first_keys(dropped)}.\n"
            f"Its settings (block_count) say {n_layers} layers."
        )
    for number, key in blocks:
        if number < n_layers and len(tensors[key]) == 1 and _ATTENTION_OR_MLP.search(key):
            in_file[number].append(key)
    for path, weight in model.named_parameters():
        if weight.ndim == 1 and (match := LAYER.fullmatch(path)):
            in_model[int(match["number"])] += 1
    for number, names in in_file.items():
        if len(names) > in_model[number]:
            raise GradPrismError(
                f"Cannot load the model {name!r} as {type(model).__name__}: layer {number} of the file has more biases "
                f"and norms than that class has: {', '.join(names)}.\n"
                "Expected the model as safetensors, or a transformers that knows its class."
            )


def tensors_in(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor, the innermost dimension first as the file has them.

    Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The reader of `gguf` builds every word of the
    vocabulary on the way, which takes 40 s where it has 262,144; here settings and data are passed over.

    Raises `struct.error` or `KeyError` for a file that is damaged; one that has been loaded is not.
    """
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        reader = _Reader(content)
        n_tensors, n_settings = reader.read("<8xQQ")
        for _ in range(n_settings):
            reader.skip_string()
            reader.skip_value(*reader.read("<I"))
        return dict(reader.tensor() for _ in range(n_tensors))


class _Reader:
    """Content of the file, and the position up to which it has been read."""

    def __init__(self, content: mmap.mmap):
        self._content, self._at = content, 0

    def read(self, layout: str) -> tuple[int, ...]:
        found = struct.unpack_from(layout, self._content, self._at)
        self._at += struct.calcsize(layout)
        return found

    def tensor(self) -> tuple[str, tuple[int, ...]]:
        (length,) = self.read("<Q")
        name = self._content[self._at : self._at + length].decode()
        self._at += length
        (n_dims,) = self.read("<I")
        shape = self.read(f"<{n_dims}Q")
        self.read("<IQ")  # type, offset
        return name, shape

    def skip_string(self) -> None:
        (length,) = self.read("<Q")
        self._at += length

    def skip_value(self, kind: int) -> None:
        if kind == _STRING:
            self.skip_string()
        elif kind != _ARRAY:
            self._at += _WIDTHS[kind]
        else:
            of_kind, length = self.read("<IQ")
            if of_kind in _WIDTHS:
                self._at += length * _WIDTHS[of_kind]
            else:
                for _ in range(length):
                    self.skip_value(of_kind)
