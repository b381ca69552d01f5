"""Settings of a model: which checkpoint, and on which devices it runs."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from gradprism.core.errors import GradPrismError
from gradprism.core.settings import Settings

Quantization = Literal["bnb-8bit", "bnb-4bit", "torchao-int8"]

_SHORT_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    BeforeValidator(lambda name: _SHORT_DTYPES.get(name, name) if isinstance(name, str) else name),
]
"""The type of a model's weights and activations; short names of the types are replaced by the long ones."""

DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""Layouts over devices that accelerate works out by itself."""
PLACING_OPTIONS = ("device", "device_map", "max_memory", "offload_folder")
"""Options of `ExecutionSettings` that say where a model is loaded."""


class CheckpointSettings(Settings):
    """A model's checkpoint, and the way it is loaded."""

    model: str
    """Hub id, folder, .gguf file, or a built-in name (see `gradprism models`)."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    dtype: Dtype = "float32"
    """Type of the weights and activations, also as fp32, bf16, fp16; `auto` keeps the checkpoint's own."""
    from_scratch: bool = False
    """Random weights of the same configuration instead of the trained ones."""
    init_seed: int = 0
    """Seed of --from-scratch."""
    trust_remote_code: bool = False
    """Run modelling code that the checkpoint brings. Only for sources you trust."""
    allow_pickle: bool = False
    """Load pickled (.bin) weights. Only for sources you trust."""
    adapter: str | None = None
    """Folder or hub id of a peft adapter (LoRA, ...), put on top of the model and kept apart from its weights."""
    adapter_revision: str | None = None
    """Branch, tag or commit of a hub adapter."""
    quantization: Quantization | None = None
    """Quantise the linear maps on loading. What was saved quantised needs nothing: it loads as it is."""


class ExecutionSettings(Settings):
    """Devices, batches and threads of the work. None of these changes a number beyond rounding."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    batch_tokens: int | None = Field(default=None, ge=1)
    """Most tokens, padding included, in one batch. By itself 512 on a CPU, where padding costs more than small
    batches do, and 8192 elsewhere."""
    threads: int | None = Field(default=None, ge=1)
    """Threads for the eigenvalue problems; all cores otherwise."""
    device_map: str | None = None
    """Spread the model over devices, memory and disk: auto, balanced, balanced_low_0, sequential, a JSON file, or
    MODULE=DEVICE,... (of each module its device: 0, cuda:1, cpu, disk)."""
    max_memory: str | None = None
    """Most of each device that the weights of a spread model may take: 0=20GiB,1=20GiB,cpu=100GiB."""
    offload_folder: str | None = None
    """Folder for weights of a spread model that fit no memory and cannot be read from their own files."""

    @field_validator("device_map")
    @classmethod
    def _check_map(cls, text: str | None) -> str | None:
        """Make the path of a file absolute, so that a recipe can be replayed from anywhere."""
        if text is None or text in DEVICE_MAPS or re.fullmatch(r"[\w.]*=[\w:]+(,[\w.]*=[\w:]+)*", text):
            return text
        path = Path(text).expanduser()
        if not path.is_file():
            raise ValueError(f"expected {', '.join(DEVICE_MAPS)}, a JSON file, or MODULE=DEVICE,MODULE=DEVICE,...")
        return str(path.resolve())

    @field_validator("max_memory")
    @classmethod
    def _check_sizes(cls, text: str | None) -> str | None:
        size = r"[\w:]+=\d+(\.\d+)?[KMGT]i?B"
        if text is not None and not re.fullmatch(f"{size}(,{size})*", text):
            raise ValueError("expected DEVICE=SIZE,..., such as 0=20GiB,1=20GiB,cpu=100GiB")
        return text


def refuse_loading_options(options: Mapping[str, Any]) -> None:
    """Refuse options of loading for a model that is loaded already. Raises `GradPrismError`."""
    unused = sorted({*options} & {*CheckpointSettings.model_fields, *PLACING_OPTIONS})
    if unused:
        raise GradPrismError(
            f"Given {', '.join(unused)} together with a model that is loaded already. Expected options of the text and "
            "of what is measured; load the model as you want it, on the device that you want."
        )
