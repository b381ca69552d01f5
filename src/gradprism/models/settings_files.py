"""Files of a checkpoint's folder: refused before a library opens what it would hang on, and named where it fails."""

import json
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

from gradprism.core.errors import GradPrismError

VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "spiece.model",
                "added_tokens.json", "model.safetensors.index.json", "pytorch_model.bin.index.json")  # fmt: skip
SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json",
            "chat_template.json", "chat_template.jinja", "adapter_config.json")  # fmt: skip
_LARGEST = dict.fromkeys(SETTINGS, 16 << 20) | dict.fromkeys(VOCABULARIES, 256 << 20)
"""Bytes from which a file is something else: of a real vocabulary they are 35 million at most."""
_SIZES = ("num_hidden_layers", "hidden_size", "vocab_size", "n_layer", "n_layers", "num_layers", "n_embd", "d_model")
_HEADS = ("num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size", "n_head", "num_heads")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_NUMBERS = ("rope_theta", "factor", *_SIZES, *_HEADS)
_LAYER_BYTES = 32 << 10  # least memory of a layer: its modules alone, without weights


def refuse_odd_files(folder: Path, weights: Iterable[str]) -> None:
    """Refuse files that are none (folders, pipes, devices, links to nothing), or too large to be what they are called.

    `weights` are patterns of further names. Raises `GradPrismError`.
    """
    named = [folder / name for name in _LARGEST]
    for file in (*named, *(file for pattern in weights for file in sorted(folder.glob(pattern)))):
        if problem := _odd_kind(file):
            raise GradPrismError(f"{file} {problem}. Expected a file; copy or download the checkpoint again.")
        largest = _LARGEST.get(file.name)
        if largest and file.is_file() and file.stat().st_size > largest:
            raise GradPrismError(
                f"{file} has {file.stat().st_size:,} bytes. Expected {largest:,} at most; copy or download it again."
            )


def _odd_kind(file: Path) -> str | None:
    """Describe a name that is there and is no regular file; None where it is one, or nothing is there."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        return f"cannot be opened: it is a link ({error.strerror})" if file.is_symlink() else None
    if stat.S_ISREG(mode):
        return None
    return "is a folder" if stat.S_ISDIR(mode) else "is a pipe, socket or device"


def read_object(file: Path) -> dict[str, Any]:
    """Read a JSON object. Raises `GradPrismError` that names the file where it holds anything else."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise GradPrismError(f"{file} is no JSON: {error}. Copy or download it again.") from error
    if not isinstance(found, dict):
        raise GradPrismError(f"{file} holds no JSON object, but {shorten(repr(found), 60)}. Copy or download it again.")
    return found


def refuse_impossible_sizes(file: Path, memory: int) -> None:
    """Refuse a config.json with sizes below 1, or with more layers than `memory` bytes could hold of empty ones.

    Some configurations make a list of their layers. Raises `GradPrismError`.
    """
    for name, value in _sizes_in(read_object(file), _SIZES):
        if not 1 <= value < 2**63:
            raise GradPrismError(f"{file} says {name}: {value}. Expected a size from 1, below 2 to the power of 63.")
        if name in _LAYERS and value * _LAYER_BYTES > memory:
            raise GradPrismError(f"{file} says {name}: {value:,}. So many layers do not fit the memory, even if empty.")


def damage_in(folder: Path, error: Exception) -> str | None:
    """Find what a library may have failed on; None where nothing stands out.

    That is a file that is no JSON, a size of 0 or of text, or the setting that a `KeyError` had no entry for.
    """
    files = [file for name in _LARGEST if name.endswith(".json") and (file := folder / name).is_file()]
    try:
        objects = {file.name: read_object(file) for file in files}
    except GradPrismError as damage:
        return str(damage)
    config = objects.get("config.json", {})
    wrong = [f"{name}: {value}" for name, value in _sizes_in(config, _SIZES + _HEADS) if not 1 <= value < 2**63]
    wrong += [f"{name}: {value!r}" for name, value in _entries(config) if name in _NUMBERS and isinstance(value, str)]
    if isinstance(error, KeyError) and error.args:
        wrong += [f"{name}: {value!r}" for name, value in _entries(config) if value == error.args[0]]
    return f"{folder / 'config.json'} says {', '.join(wrong)}." if wrong else None


def _sizes_in(config: Mapping[str, Any], names: Iterable[str]) -> Iterator[tuple[str, int | float]]:
    """Yield the named numbers of a configuration, and of the one for text inside it."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        for name in names:
            if isinstance(value := part.get(name), int | float):
                yield name, value


def _entries(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every setting of a configuration, and those inside its objects."""
    for name, value in config.items():
        yield name, value
        if isinstance(value, dict):
            yield from value.items()
