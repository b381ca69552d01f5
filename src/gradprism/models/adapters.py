"""Adapters of peft on top of a model: loaded, told apart, and refused where they change what a gradient means.

A wrapped projection computes y = W' x with W' = W + s B A (LoRA), or whatever else its kind makes of W. What is
measured is the gradient in W', the weight in effect: Dᵀ X of the wrapper. It is not merged, since a quantised W can
only be merged by rounding W' again.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradprism.core.errors import GradPrismError, first_line
from gradprism.core.optional import need
from gradprism.models.device import execution_device, is_offloaded
from gradprism.models.loading import reason_of
from gradprism.models.settings_files import read_object, refuse_odd_files
from gradprism.models.size_limits import limited_parameters, most_adapter_parameters
from gradprism.models.weight_files import pickled_tensors_of, tensors_of

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
LINEAR = ("LORA", "ADALORA", "IA3", "LOHA", "LOKR", "OFT", "BOFT", "VERA", "FOURIERFT", "HRA", "LN_TUNING",
          "TRAINABLE_TOKENS")  # fmt: skip
"""Kinds whose projections remain linear maps, W' x; each is tested against its merged weights."""

_BESIDE = ("modules_to_save", "trainable_token_indices", "target_parameters")  # what a LoRA may have besides A and B


def find_adapter(name: str, revision: str | None, *, pickle: bool) -> Path:
    """Return the folder of an adapter: as given, or fetched from the hub. Raises `GradPrismError` where it holds none.

    With `pickle`, weights in a .bin file will do.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _fetch_from_hub(name, revision, pickle)
    if not (folder / CONFIG).is_file():
        raise GradPrismError(f"--adapter {name}: no {CONFIG} in it. Expected a folder or hub id of a peft adapter.")
    if not (folder / WEIGHTS).is_file() and not (pickle and (folder / PICKLED).is_file()):
        hint = "; --allow-pickle also loads its .bin file" if (folder / PICKLED).is_file() else ""
        raise GradPrismError(f"--adapter {name}: no {WEIGHTS} in it{hint}.")
    refuse_odd_files(folder, ("adapter_*",))
    _n_stored(folder)
    return folder.resolve()


def _n_stored(folder: Path) -> int:
    """Return the number of values in an adapter's file. Raises `GradPrismError` for a damaged one."""
    file = folder / WEIGHTS
    tensors = tensors_of(file) if file.is_file() else pickled_tensors_of(folder / PICKLED)
    return sum(tensor.n_values for tensor in tensors.values())


def _fetch_from_hub(name: str, revision: str | None, pickle: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise GradPrismError(f"No adapter at {name}: expected a folder with {CONFIG}, or a hub id (owner/name).")
    patterns = [CONFIG, WEIGHTS, *([PICKLED] if pickle else [])]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (OSError, HfHubHTTPError, HFValidationError) as error:  # OSError: not there, or no network
        raise GradPrismError(f"--adapter {name}: {first_line(error)}") from error


def with_adapter(model: "nn.Module", folder: Path) -> "nn.Module":
    """Wrap a model in the adapter of a folder, wherever its weights are.

    Raises `GradPrismError` where peft is missing, the adapter belongs to another model, or its kind is refused.
    """
    peft = need("peft", "adapters")
    try:
        read_object(folder / CONFIG)
        config = peft.PeftConfig.from_pretrained(str(folder))
    except Exception as error:
        raise GradPrismError(f"--adapter {folder}: {CONFIG} is not understood: {reason_of(error)}") from error
    config.inference_mode = True
    refuse_kind(config)
    _refuse_on_offloaded(model, config)
    stored = _n_stored(folder)
    too_large = _does_not_fit(folder, config, f"by {CONFIG} it is far larger than its file, of {stored:,} values")
    try:
        with limited_parameters(most_adapter_parameters(stored), too_large, anywhere=True):
            wrapped: nn.Module = peft.PeftModel(model, config)
        _place_adapter_weights(wrapped)
        renamed = getattr(model, "_checkpoint_conversion_mapping", {})
        weights = peft.utils.load_peft_weights(str(folder), device="cpu", key_mapping=renamed)
        loaded = peft.set_peft_model_state_dict(wrapped, weights)
    except GradPrismError:
        raise
    except Exception as error:  # settings of another type than expected fail wherever they are used first
        raise GradPrismError(_does_not_fit(folder, config, reason_of(error))) from error
    prefix = peft.mapping.PEFT_TYPE_TO_PREFIX_MAPPING[config.peft_type]
    missing = [name for name in loaded.missing_keys if prefix in name]
    if stray := [*missing, *loaded.unexpected_keys]:
        what = "has no weights for" if missing else "has weights that the model does not have:"
        raise GradPrismError(_does_not_fit(folder, config, f"it {what} {stray[0]} ({len(stray)} in all)"))
    _refuse_lost_weights(wrapped, weights, folder)
    return wrapped


def _does_not_fit(folder: Path, config: Any, reason: str) -> str:
    base = config.base_model_name_or_path
    return (
        f"--adapter {folder} does not fit the model: {reason}\n"
        f"Expected an adapter of this very model{f'; it was made for {base}' if base else ''}."
    )


def refuse_kind(config: Any) -> None:
    """Refuse adapters that lengthen the text, or under which a projection is no linear map. Raises `GradPrismError`."""
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    if config.is_prompt_learning:
        problem = "it puts virtual tokens, or keys and values, in front of the text: there would be no weight whose "
        problem += "gradient is that of the text alone"
    elif getattr(config, "alora_invocation_tokens", None):
        problem = "an activated LoRA has other weights before its invocation tokens than behind them"
    elif kind not in LINEAR:
        problem = "it is not tested whether its projections remain linear maps W' x"
    else:
        return
    raise GradPrismError(
        f"Adapters of the kind {kind} are not measured: {problem}.\nExpected one of {', '.join(LINEAR)}."
    )


def refuse_kinds(model: "nn.Module") -> None:
    """Refuse every adapter of a loaded model that `refuse_kind` does. Raises `GradPrismError`."""
    for config in _adapter_configs(model).values():
        refuse_kind(config)


def _refuse_on_offloaded(model: "nn.Module", config: Any) -> None:
    """Refuse adapters other than plain LoRA on offloaded weights. Raises `GradPrismError`.

    Only LoRA's A and B leave W alone: others read it, or stand in for it, where it is not before it is fetched.
    """
    if not any(map(is_offloaded, model.modules())):
        return
    beside = [name for name in _BESIDE if getattr(config, name, None)]
    if getattr(config, "bias", "none") != "none":
        beside.append(f"bias={config.bias!r}")
    kind = "DoRA" if getattr(config, "use_dora", False) else str(config.peft_type.value)
    if kind == "LORA" and not beside:
        return
    if kind == "LORA":
        problem = f"This LoRA has more than A and B ({', '.join(beside)}), which takes the place of weights"
    else:
        problem = f"Adapters of the kind {kind} read the weights they change"
    raise GradPrismError(
        f"{problem}, and parts of this model are offloaded. "
        "Expected a plain LoRA, or a --device-map and --max-memory under which no weights are offloaded."
    )


def _refuse_lost_weights(wrapped: "nn.Module", weights: Mapping[str, "Tensor"], folder: Path) -> None:
    """Refuse an adapter of which a weight has come to nothing on an offloaded model. Raises `GradPrismError`."""
    if not any(map(is_offloaded, wrapped.modules())):
        return
    from peft import get_peft_model_state_dict

    loaded = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    if lost := [name for name in weights if name not in loaded or loaded[name].device.type == "meta"]:
        raise GradPrismError(
            f"--adapter {folder}: its {lost[0]} ({len(lost)} in all) changes weights that are offloaded. "
            "Expected a --device-map and --max-memory under which no weights are."
        )


def _place_adapter_weights(wrapped: "nn.Module") -> None:
    """Allocate an adapter's weights where an offloaded layer computes: peft puts them where its own are, nowhere."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in wrapped.modules():
        if isinstance(module, BaseTunerLayer) and is_offloaded(base := module.get_base_layer()):
            for name in module.adapter_layer_names:
                getattr(module, name).to_empty(device=execution_device(base))


def adapters_of(model: "nn.Module") -> str | None:
    """Return settings, scales and states of a model's adapters as JSON, without weights; None where it has none."""
    configs = _adapter_configs(model)
    if not configs:
        return None
    from peft.tuners.tuners_utils import BaseTunerLayer

    settings = {name: config.to_dict() for name, config in configs.items()}
    layers = [
        (path, getattr(module, "scaling", None), module.disable_adapters, list(module.active_adapters))
        for path, module in model.named_modules()
        if isinstance(module, BaseTunerLayer)
    ]
    return json.dumps(
        [settings, layers],
        sort_keys=True,
        default=lambda value: sorted(map(str, value)) if isinstance(value, set) else str(value),
    )


def _adapter_configs(model: "nn.Module") -> dict[str, Any]:
    found = getattr(model, "peft_config", None)
    return dict(found) if isinstance(found, dict) else {}
