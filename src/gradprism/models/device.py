"""Devices that a model runs on: one, or several with memory and disk, as accelerate spreads it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradprism.core.errors import GradPrismError, first_line
from gradprism.models.settings import DEVICE_MAPS, ExecutionSettings

if TYPE_CHECKING:
    import torch
    from torch import nn

Device = str | int


@dataclass(frozen=True)
class Spread:
    """A layout of one model's weights over devices, as `from_pretrained` and accelerate take it."""

    device_map: str | Mapping[str, Device]
    max_memory: Mapping[Device, str] | None = None
    offload_folder: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Options of `from_pretrained`; those not given are left out."""
        given = {
            "device_map": self.device_map if isinstance(self.device_map, str) else dict(self.device_map),
            "max_memory": self.max_memory and dict(self.max_memory),
            "offload_folder": self.offload_folder,
        }
        return {name: value for name, value in given.items() if value is not None}


def find_device(name: str) -> str:
    """Return the device called `name`; for `auto` the accelerator that is there, else the CPU.

    Raises `GradPrismError` for one that is not there.
    """
    import torch

    if name != "auto":
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            raise GradPrismError(
                f"--device {name}: {first_line(error)}\nExpected auto, cpu, cuda, cuda:1, ..."
            ) from error
        return name
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found.type if found else "cpu"


def find_spread(execution: ExecutionSettings) -> Spread | None:
    """Read `--device-map`, `--max-memory` and `--offload-folder`; None where the model stays on one device.

    The last two alone spread it as `auto` does. Raises `GradPrismError` for a file that is no device map, and where
    `--device` says something else.
    """
    if not (execution.device_map or execution.max_memory or execution.offload_folder):
        return None
    if execution.device != "auto":
        raise GradPrismError(
            f"Given --device {execution.device} together with a spread over devices (--device-map, --max-memory, "
            "--offload-folder). Expected one of the two; CUDA_VISIBLE_DEVICES limits which GPUs are taken."
        )
    folder, device_map = execution.offload_folder, _read_device_map(execution.device_map or "auto")
    _refuse_nested(device_map)
    return Spread(
        device_map,
        {_number_or_name(name): size for name, size in _split_pairs(execution.max_memory)}
        if execution.max_memory
        else None,
        str(Path(folder).expanduser()) if folder else None,
    )


def _read_device_map(text: str) -> str | dict[str, Device]:
    if text in DEVICE_MAPS:
        return text
    if not Path(text).is_file():
        return {module: _number_or_name(name) for module, name in _split_pairs(text)}
    try:
        found = json.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GradPrismError(f"--device-map {text}: {error}. Expected a JSON file.") from error
    if not isinstance(found, dict) or not all(type(device) in (str, int) for device in found.values()):
        raise GradPrismError(
            f'--device-map {text}: expected a JSON object of modules and their devices, such as {{"model": 0, '
            '"lm_head": "cpu"}.'
        )
    return found


def _refuse_nested(device_map: str | Mapping[str, Device]) -> None:
    """Refuse modules of a device map that lie in one another: each weight has one device. Raises `GradPrismError`."""
    for outer in () if isinstance(device_map, str) else device_map:
        for inner in device_map:
            if inner != outer and (not outer or inner.startswith(f"{outer}.")):
                raise GradPrismError(
                    f"--device-map places {outer or 'the whole model'}, and {inner}, which is a part of it. "
                    "Expected modules none of which lies in another, and together the whole model."
                )


def _split_pairs(text: str | None) -> list[tuple[str, str]]:
    """Split `a=1,b=2` into pairs."""
    return [(name, value) for name, _, value in (item.partition("=") for item in (text or "").split(","))]


def _number_or_name(name: str) -> Device:
    return int(name) if name.isdigit() else name


def execution_device(module: "nn.Module") -> "torch.device":
    """Return the device that a module computes on: that of accelerate's hook, else that of its first weight.

    With hooks weights may lie elsewhere.
    """
    import torch

    weight = next(module.parameters())
    found = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
    if found is None or weight.device.type != "meta":
        return weight.device
    return torch.empty(0, device=found).device  # accelerate says `0`, "cuda:0" or a device


def is_offloaded(module: "nn.Module") -> bool:
    """Check for weights that accelerate keeps elsewhere until their module is called, and again afterwards."""
    hook = getattr(module, "_hf_hook", None)
    return hook is not None and getattr(hook, "offload", True)


def devices_in_words(model: "nn.Module") -> str:
    """List the devices that a model's weights lie on: `cuda:0, cuda:1, disk`."""
    spread = getattr(model, "hf_device_map", None) or {"": execution_device(model)}
    return ", ".join(
        dict.fromkeys(f"cuda:{device}" if isinstance(device, int) else str(device) for device in spread.values())
    )
