"""Files of weights, checked by their headers before anything is allocated."""

import json
import struct
from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePath
from typing import Any, TypeGuard
from zipfile import is_zipfile

from gradprism.core.errors import GradPrismError
from gradprism.models.loading import reason_of
from gradprism.models.loading_report import first_keys
from gradprism.models.settings_files import read_object

_SAFE, _PICKLED = "model.safetensors", "pytorch_model.bin"
_PREFIX = "Error while deserializing header: "


@dataclass(frozen=True)
class StoredWeights:
    """Size of the weights of a checkpoint: their tensors, values and bytes."""

    n_tensors: int
    n_values: int
    n_bytes: int


def stored_weights(folder: Path, config: Any, *, allow_pickle: bool, quantised: bool) -> StoredWeights | None:
    """Check the weights of a folder, and count them; None where it has none, which the loading library says.

    `config` may name their file (`transformers_weights`).
    Raises `GradPrismError` for a damaged header, index or pickle, for a weight that is there twice, and for weights of
    whole numbers in a model that is not quantised.
    """
    named = getattr(config, "transformers_weights", None)
    if named and not (_is_name(named) and named.endswith((".safetensors", ".safetensors.index.json"))):
        raise GradPrismError(
            f"{folder / 'config.json'} says transformers_weights: {named!r}. Expected the name of a "
            "safetensors file in the same folder."
        )
    read = tensors_of
    files = _files(folder, named or _SAFE)
    if not files and allow_pickle:
        read, files = pickled_tensors_of, _files(folder, _PICKLED)
    if not files:
        return None
    headers = {file: read(file) for file in files}
    names = Counter(name for tensors in headers.values() for name in tensors)
    if twice := [name for name, times in names.items() if times > 1]:
        raise GradPrismError(f"{folder} has {first_keys(twice)} in several of its files. Expected each weight once.")
    for file, tensors in headers.items() if not quantised else ():
        _refuse_whole_numbers(file, tensors)
    n_values = sum(tensor.n_values for tensors in headers.values() for tensor in tensors.values())
    return StoredWeights(names.total(), n_values, sum(file.stat().st_size for file in files))


@dataclass(frozen=True)
class StoredTensor:
    """A tensor by the header of its file."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def n_values(self) -> int:
        """Number of values."""
        return prod(self.shape)


def tensors_of(file: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a safetensors file, by name. Raises `GradPrismError` for a header that is not whole.

    safetensors itself checks that they cover the file, each once; of a name that is there twice it takes one.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt"):
            pass
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            pairs = json.loads(stream.read(length), object_pairs_hook=list)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise GradPrismError(
            f"{file} is damaged: {str(error).removeprefix(_PREFIX)}.\n"
            "Expected a whole safetensors file; copy or download it again."
        ) from error
    names = Counter(name for name, _ in pairs)
    if twice := [name for name, times in names.items() if times > 1]:
        raise GradPrismError(f"{file} is damaged: its header has {first_keys(twice)} twice. Expected each weight once.")
    return {
        name: StoredTensor(entry["dtype"], tuple(entry["shape"]))
        for name, entry in ((name, dict(entry)) for name, entry in pairs if name != "__metadata__")
    }


def pickled_tensors_of(file: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a pickled file, by name: nothing but weights is read from it, and these not yet.

    Raises `GradPrismError` where it holds anything else, or is damaged.
    """
    import torch

    try:
        found = torch.load(file, map_location="meta", weights_only=True, mmap=is_zipfile(file))
    except Exception as error:
        raise GradPrismError(f"{file} is damaged, or no file of weights: {reason_of(error)}.") from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in found.items()
    ):
        raise GradPrismError(f"{file} holds more than weights, or none. Expected a state dict: tensors by their names.")
    return {
        name: StoredTensor("F" if weight.is_floating_point() else "I", tuple(weight.shape))
        for name, weight in found.items()
    }


def _refuse_whole_numbers(file: Path, tensors: dict[str, StoredTensor]) -> None:
    """Refuse weights and biases stored as whole numbers: loaded as they are, they would be other weights."""
    wrong = [
        name
        for name, tensor in tensors.items()
        if tensor.dtype.startswith(("I", "U", "BOOL"))
        and (name.endswith(".weight") or (name.endswith(".bias") and len(tensor.shape) == 1))
    ]
    if wrong:
        raise GradPrismError(
            f"{file} has {first_keys(wrong)} as whole numbers ({tensors[wrong[0]].dtype}), and config.json names no "
            "quantisation. Expected floating-point weights, or the config.json that they were saved with."
        )


def _files(folder: Path, name: str) -> list[Path]:
    """Return the files of weights that are loaded: the one of this name, or those that its index names."""
    file = folder / name
    index = file if name.endswith(".index.json") else folder / f"{name}.index.json"
    if not index.is_file() or (file.is_file() and file != index):
        return [file] if file.is_file() else []
    found = read_object(index)
    weight_map = found.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not isinstance(found.get("metadata"), dict):
        raise GradPrismError(f"{index} is no index. Expected an object with metadata, and a weight_map of files.")
    suffix = PurePath(name.removesuffix(".index.json")).suffix
    shards = {repr(shard): shard for shard in weight_map.values()}
    return [_shard(index, shard, suffix) for shard in shards.values()]


def _shard(index: Path, shard: Any, suffix: str) -> Path:
    """Return the path of a shard. Raises `GradPrismError` where it is none of this folder, or not there."""
    if not _is_name(shard) or not shard.endswith(suffix):
        raise GradPrismError(f"{index} names {shard!r}. Expected the name of a {suffix} file in the same folder.")
    if not (index.parent / shard).is_file():
        raise GradPrismError(f"{index} names {shard}, which is not there. Copy or download the whole checkpoint.")
    return index.parent / shard


def _is_name(given: Any) -> TypeGuard[str]:
    """Return whether a value is the name of a file, and no path: what lies elsewhere is not part of a fingerprint."""
    return isinstance(given, str) and PurePath(given).name == given and "\0" not in given
