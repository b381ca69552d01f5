"""Tensors of a GGUF file: their names and shapes, and those that the model loaded from it is without."""

import math
import mmap
import re
import struct
from collections import Counter, defaultdict
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradprism.core.errors import GradPrismError
from gradprism.models.loading_report import LAYER, first_keys

if TYPE_CHECKING:
    from torch import nn

_BLOCK = re.compile(r"blk\.(\d+)\.")
_ATTENTION_OR_MLP = re.compile(r"\.(attn|ffn|post_attention|post_ffw)_(?!rot_embd)\w+\.(weight|bias)")
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of a value of each type, in bytes
_UINT32, _STRING, _ARRAY = 4, 8, 9
_MOST_DIMENSIONS = 8  # ggml has 4


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

    Raises `GradPrismError` for a file that is damaged or ends too early.
    """
    state = file.stat()
    return _tensors_in(file, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4)
def _tensors_in(file: Path, *_: int) -> dict[str, tuple[int, ...]]:
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Reader(content).table()
    except (struct.error, ValueError, OverflowError, OSError, RecursionError) as error:  # UnicodeDecodeError too
        raise GradPrismError(
            f"Cannot load the model {str(file)!r}: its table of settings and tensors is damaged: {error}.\n"
            "Expected a whole GGUF file; copy or download it again."
        ) from error


class _Reader:
    """Content of the file, and the position up to which it has been read."""

    def __init__(self, content: mmap.mmap):
        self._content, self._at = content, 0

    def table(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every tensor, all of which lie within the file."""
        magic, n_tensors, n_settings = self.read("<4s4xQQ")
        if magic != b"GGUF":
            raise ValueError(f"it begins with {magic!r} and not with b'GGUF'")
        numbers = {b"alignment": 32, b"block_count": 0}
        for _ in range(n_settings):
            key = self.string().rpartition(b".")[2]
            (kind,) = self.read("<I")
            if key in numbers and kind == _UINT32:
                (numbers[key],) = self.read("<I")
            else:
                self.skip_value(kind)
        if numbers[b"block_count"] > n_tensors:
            raise ValueError(f"block_count says {numbers[b'block_count']:,} layers, and it has {n_tensors:,} tensors")
        tensors, spans = dict[str, tuple[int, ...]](), [(0, 0)]
        for _ in range(n_tensors):
            name, shape, span = self.tensor()
            if name in tensors:
                raise ValueError(f"{name} is there twice")
            tensors[name] = shape
            spans.append(span)
        spans.sort()
        if any(start < end for (_, end), (start, _) in pairwise(spans)):
            raise ValueError("two of its tensors overlap")
        data = self._at + -self._at % max(numbers[b"alignment"], 1)
        if data + spans[-1][1] > len(self._content):
            raise ValueError(f"its tensors end at byte {data + spans[-1][1]:,}, and the file at {len(self._content):,}")
        return tensors

    def read(self, layout: str) -> tuple[Any, ...]:
        """Read values, and move behind them. Raises `struct.error` where the file ends before."""
        found = struct.unpack_from(layout, self._content, self._at)
        self._at += struct.calcsize(layout)
        return found

    def string(self) -> bytes:
        """Read a string."""
        (length,) = self.read("<Q")
        self.skip(length)
        return self._content[self._at - length : self._at]

    def skip(self, length: int) -> None:
        """Move on by some bytes. Raises `ValueError` where the file ends before."""
        self._at += length
        if self._at > len(self._content):
            raise ValueError(f"a value ends at byte {self._at:,}, and the file at {len(self._content):,}")

    def tensor(self) -> tuple[str, tuple[int, ...], tuple[int, int]]:
        """Read name and shape of a tensor, and where it begins and ends among the data."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name = self.string().decode()
        (n_dims,) = self.read("<I")
        if n_dims > _MOST_DIMENSIONS:
            raise ValueError(f"{name} has {n_dims:,} dimensions")
        shape = self.read(f"<{n_dims}Q")
        kind, offset = self.read("<IQ")
        block, n_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        return name, shape, (offset, offset + math.prod(shape) // block * n_bytes)

    def skip_value(self, kind: int) -> None:
        """Move behind a value of a type."""
        if kind == _STRING:
            self.string()
        elif kind != _ARRAY:
            self.skip(_width(kind))
        else:
            of_kind, length = self.read("<IQ")
            if of_kind in _WIDTHS:
                self.skip(length * _WIDTHS[of_kind])
            else:
                for _ in range(length):
                    self.skip_value(of_kind)


def _width(kind: int) -> int:
    if kind not in _WIDTHS:
        raise ValueError(f"a setting has the unknown type {kind}")
    return _WIDTHS[kind]
