"""Check the report of transformers on a checkpoint that it has loaded: a weight that was not in it is random.

Excepted by structure: tied weights and buffers that are computed are never reported as missing; what the built class
has no module for (towers of vision and sound, further heads, layers that predict several tokens) may be left over.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gradprism.core.errors import GradPrismError

if TYPE_CHECKING:
    from torch import nn

_SHOWN = 3  # keys of a problem
_WRAPPERS = {
    "_orig_mod": "torch.compile: save the model that was compiled (its `_orig_mod`)",
    "_fsdp_wrapped_module": "FSDP: gather a full state dict and save that",
    "_checkpoint_wrapped_module": "activation checkpointing: save the model inside",
}
_ADAPTER_PARTS = {"base_layer", "lora_A", "lora_B", "lora_embedding_A", "lora_magnitude_vector", "modules_to_save"}
_JOINING = {"eh_proj", "enorm", "hnorm"}  # what a layer that predicts a further token puts before its attention
_CLASSIFIER_HEADS = ("score.", "classifier.", "classification_head.")
LAYER = re.compile(r"(?P<list>.+?)\.(?P<number>\d+)\.(?P<below>.+)")


def refuse_incomplete(model: "nn.Module", report: Mapping[str, Any], name: str) -> None:
    """Refuse a loaded model that is not all that its checkpoint holds. Raises `GradPrismError` that names the keys.

    `report` is that of `from_pretrained(output_loading_info=True, ignore_mismatched_sizes=True)`: keys that are
    missing, unexpected, or mismatched (key, shape in the file, shape in the model).
    """
    missing, unexpected = set(report["missing_keys"]), set(report["unexpected_keys"])
    problem = (
        _saved_in_wrapper(unexpected)
        or _unmerged_adapter(unexpected)
        or _other_shapes(report["mismatched_keys"])
        or _missing_weights(missing, unexpected)
        or _classifier_without_head(model, unexpected)
        or _left_over_weights(model, unexpected)
    )
    if getattr(model, "_hf_peft_config_loaded", False):  # found beside the weights by transformers; the report is its
        problem = (
            "it comes with an adapter (adapter_config.json), and nothing says whether that is merged into the weights "
            "already.\nExpected the model it was made for, with --adapter; or the merged weights alone."
        )
    if problem:
        raise GradPrismError(f"Cannot load the model {name!r} as {type(model).__name__}: {problem}")


def _saved_in_wrapper(unexpected: Collection[str]) -> str | None:
    """Describe a checkpoint whose keys have the prefix of a wrapper that was saved along with the model."""
    outer = {
        "module.": "DistributedDataParallel or DataParallel: save its `.module`",
        "base_model.model.": "peft: save the adapter alone, or what merge_and_unload() returns",
    }
    for prefix, remedy in outer.items():
        if found := [key for key in unexpected if key.startswith(prefix)]:
            return f"keys of the checkpoint begin with {prefix!r}: {first_keys(found)}.\nIt was saved inside {remedy}."
    for part, remedy in _WRAPPERS.items():
        if found := [key for key in unexpected if part in key.split(".")]:
            return f"keys of the checkpoint hold {part!r}: {first_keys(found)}.\nIt was saved inside {remedy}."
    return None


def _unmerged_adapter(unexpected: Collection[str]) -> str | None:
    found = [key for key in unexpected if not _ADAPTER_PARTS.isdisjoint(key.split("."))]
    if not found:
        return None
    return (
        f"it holds weights of an adapter, which would be left out: {first_keys(found)}.\n"
        "Expected merged weights (merge_and_unload() of peft), or the model it was made for, with --adapter."
    )


def _other_shapes(keys: Collection[tuple[str, Any, Any]]) -> str | None:
    if not keys:
        return None
    shapes = [
        f"{key} ({_shape_in_words(there)} in the checkpoint, {_shape_in_words(here)} by its config.json)"
        for key, there, here in sorted(keys, key=lambda entry: entry[0])
    ]
    return f"shapes differ: {first_keys(shapes)}.\nExpected the config.json that these weights were saved with."


def _missing_weights(missing: Collection[str], unexpected: Collection[str]) -> str | None:
    if not missing:
        return None
    problem = f"it has no weights for {first_keys(missing)}: they would be random.\n"
    heads = [key for key in unexpected if key.startswith(_CLASSIFIER_HEADS)]
    if heads:
        return (
            f"{problem}It holds {first_keys(heads)}: it was trained as a classifier. Expected a causal language model."
        )
    others = f"The checkpoint has {first_keys(unexpected)}, which the model does not have.\n" if unexpected else ""
    return (
        f"{problem}{others}Expected a whole checkpoint, all of its shards included, with the config.json it was saved "
        "with; --from-scratch makes random weights."
    )


def _classifier_without_head(model: "nn.Module", unexpected: Collection[str]) -> str | None:
    """Describe a classifier whose output layer over words is the tied embedding, so that no weight is missing."""
    heads = [key for key in unexpected if key.startswith(_CLASSIFIER_HEADS)]
    find = getattr(model, "get_output_embeddings", None)
    layer = find() if callable(find) else None
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    paths = [f"{path}.weight" for path, module in model.named_modules() if module is layer]
    if not heads or not any(path in tied for path in paths):
        return None
    return (
        f"it holds {first_keys(heads)}, and no output layer of its own: it was trained as a classifier.\n"
        "Expected a causal language model."
    )


def _left_over_weights(model: "nn.Module", unexpected: Collection[str]) -> str | None:
    """Describe weights for layers or modules of this model that it was built without."""
    layers: dict[tuple[str, int], list[str]] = {}
    strays = []
    for key in unexpected:
        match = LAYER.fullmatch(key)
        built = _layer_numbers(model, match["list"]) if match else None
        if match and built and int(match["number"]) not in built:
            layers.setdefault((match["list"], int(match["number"])), []).append(key)
        elif _is_weight(key) and (built or _has_weights(model, key.rpartition(".")[0])):
            strays.append(key)
    dropped = [key for keys in layers.values() if not _predicts_further_tokens(keys) for key in keys]
    if dropped:
        return (
            f"it has layers that the model was built without: {first_keys(dropped)}.\n"
            "Expected the config.json that these weights were saved with: its number of layers is too low."
        )
    if strays := [key for key in strays if not _is_mask(model, key)]:
        return (
            f"it has weights that this class leaves out of its layers: {first_keys(strays)}.\n"
            "Expected the config.json that these weights were saved with, and a transformers that knows its class."
        )
    return None


def _predicts_further_tokens(keys: Iterable[str]) -> bool:
    """Check for a layer that predicts further tokens: it joins embeddings with the last hidden states."""
    children = {match["below"].split(".")[0] for key in keys if (match := LAYER.fullmatch(key))}
    return len(children & _JOINING) > 1


def _is_weight(key: str) -> bool:
    """Check that a key is of a weight: scales of quantised weights and of caches have other names."""
    return key.rpartition(".")[2] in ("weight", "bias")


def _is_mask(model: "nn.Module", key: str) -> bool:
    """Check for a causal mask, which the GPT-2 family has saved as `bias` with each attention."""
    path, _, name = key.rpartition(".")
    module = _module(model, path)
    return name == "bias" and module is not None and not _has_weights(model, path)


def _has_weights(model: "nn.Module", path: str) -> bool:
    module = _module(model, path)
    return module is not None and bool(path) and next(module.parameters(recurse=False), None) is not None


def _layer_numbers(model: "nn.Module", path: str) -> set[int]:
    """Return the numbers of the layers that a list of the model has; none where there is no such list."""
    module = _module(model, path)
    return {int(name) for name, _ in module.named_children() if name.isdecimal()} if module is not None else set()


def _module(model: "nn.Module", path: str) -> "nn.Module | None":
    """Return the module of a path, which a checkpoint may have without the prefix of the base model."""
    base = getattr(model, "base_model_prefix", "")
    for full in (path, f"{base}.{path}"):
        try:
            return model.get_submodule(full)
        except AttributeError:
            continue
    return None


def first_keys(keys: Iterable[str]) -> str:
    """Return the first few keys in the order of their numbers, and how many there are."""
    ordered = sorted(
        keys, key=lambda key: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", key)]
    )
    more = f", ... ({len(ordered)} in all)" if len(ordered) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more


def _shape_in_words(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))
