"""Judge what transformers says of a checkpoint that it has loaded: a weight that was not in it is random.

Excepted by structure: tied weights and buffers that are computed are never reported as missing; what the built class
has no module for (towers of vision and sound, further heads, layers that predict several tokens) may be left over.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradprism.core.errors import GradPrismError
from gradprism.models.gguf_table import tensors_in

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
_BLOCK = re.compile(r"blk\.(\d+)\.")
_ATTENTION_OR_MLP = re.compile(r"\.(attn|ffn|post_attention|post_ffw)_(?!rot_embd)\w+\.(weight|bias)")
_LAYER = re.compile(r"(?P<list>.+?)\.(?P<number>\d+)\.(?P<below>.+)")


def refuse_incomplete(model: "nn.Module", report: Mapping[str, Any], name: str) -> None:
    """Raise `GradPrismError` where a loaded model is not all that its checkpoint holds, naming the keys.

    `report` is that of `from_pretrained(output_loading_info=True, ignore_mismatched_sizes=True)`: keys that are
    missing, unexpected, or mismatched (key, shape in the file, shape in the model).
    """
    missing, unexpected = set(report["missing_keys"]), set(report["unexpected_keys"])
    problem = (
        _wrapped(unexpected)
        or _unmerged(unexpected)
        or _mismatched(report["mismatched_keys"])
        or _absent(missing, unexpected)
        or _headless(model, unexpected)
        or _left_over(model, unexpected)
    )
    if getattr(model, "_hf_peft_config_loaded", False):  # found beside the weights by transformers; the report is its
        problem = (
            "it comes with an adapter (adapter_config.json), and nothing says whether that is merged into the weights "
            "already.\nExpected the model it was made for, with --adapter; or the merged weights alone."
        )
    if problem:
        raise GradPrismError(f"Cannot load the model {name!r} as {type(model).__name__}: {problem}")


def refuse_left_over_tensors(model: "nn.Module", file: Path, name: str) -> None:
    """Raise `GradPrismError` where a GGUF file has layers, biases or norms that the loaded model is without.

    transformers reports those that are missing, and drops without a word what it has no name for.
    """
    n_layers = model.config.get_text_config().num_hidden_layers  # type: ignore[union-attr, operator]
    in_file, in_model = defaultdict[int, list[str]](list), Counter[int]()
    tensors = tensors_in(file)
    blocks = [(int(match[1]), key) for key in tensors if (match := _BLOCK.match(key))]
    predicting = {number for number, key in blocks if ".nextn." in key}  # further tokens
    if dropped := [key for number, key in blocks if number >= n_layers and number not in predicting]:
        raise GradPrismError(
            f"Cannot load the model {name!r}: it has layers that the model is built without: {_listed(dropped)}.\n"
            f"Its settings (block_count) say {n_layers} layers."
        )
    for number, key in blocks:
        if number < n_layers and len(tensors[key]) == 1 and _ATTENTION_OR_MLP.search(key):
            in_file[number].append(key)
    for path, weight in model.named_parameters():
        if weight.ndim == 1 and (match := _LAYER.fullmatch(path)):
            in_model[int(match["number"])] += 1
    for number, names in in_file.items():
        if len(names) > in_model[number]:
            raise GradPrismError(
                f"Cannot load the model {name!r} as {type(model).__name__}: layer {number} of the file has more biases "
                f"and norms than that class has a place for: {', '.join(names)}.\n"
                "Expected the model as safetensors, or a transformers that knows its class."
            )


def _wrapped(unexpected: Collection[str]) -> str | None:
    """Describe a checkpoint whose keys have the prefix of a wrapper that was saved along with the model."""
    outer = {
        "module.": "DistributedDataParallel or DataParallel: save its `.module`",
        "base_model.model.": "peft: save the adapter alone, or what merge_and_unload() returns",
    }
    for prefix, remedy in outer.items():
        if found := [key for key in unexpected if key.startswith(prefix)]:
            return f"keys of the checkpoint begin with {prefix!r}: {_listed(found)}.\nIt was saved inside {remedy}."
    for part, remedy in _WRAPPERS.items():
        if found := [key for key in unexpected if part in key.split(".")]:
            return f"keys of the checkpoint hold {part!r}: {_listed(found)}.\nIt was saved inside {remedy}."
    return None


def _unmerged(unexpected: Collection[str]) -> str | None:
    found = [key for key in unexpected if not _ADAPTER_PARTS.isdisjoint(key.split("."))]
    if not found:
        return None
    return (
        f"it holds weights of an adapter, which would be left out: {_listed(found)}.\n"
        "Expected merged weights (merge_and_unload() of peft), or the model it was made for, with --adapter."
    )


def _mismatched(keys: Collection[tuple[str, Any, Any]]) -> str | None:
    if not keys:
        return None
    shapes = [f"{key} ({_shape(there)} in the checkpoint, {_shape(here)} by its config.json)" for key, there, here
              in sorted(keys, key=lambda entry: entry[0])]  # fmt: skip
    return f"shapes differ: {_listed(shapes)}.\nExpected the config.json that these weights were saved with."


def _absent(missing: Collection[str], unexpected: Collection[str]) -> str | None:
    if not missing:
        return None
    problem = f"it has no weights for {_listed(missing)}: they would be random.\n"
    heads = [key for key in unexpected if key.startswith(_CLASSIFIER_HEADS)]
    if heads:
        return f"{problem}It holds {_listed(heads)}: it was trained as a classifier. Expected a causal language model."
    others = f"The checkpoint has {_listed(unexpected)}, which the model has no place for.\n" if unexpected else ""
    return (
        f"{problem}{others}Expected a whole checkpoint, all of its shards included, with the config.json it was saved "
        "with; --from-scratch makes random weights."
    )


def _headless(model: "nn.Module", unexpected: Collection[str]) -> str | None:
    """Describe a classifier whose output layer for words is the tied embedding: nothing is missing, or was trained."""
    heads = [key for key in unexpected if key.startswith(_CLASSIFIER_HEADS)]
    find = getattr(model, "get_output_embeddings", None)
    layer = find() if callable(find) else None
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    paths = [f"{path}.weight" for path, module in model.named_modules() if module is layer]
    if not heads or not any(path in tied for path in paths):
        return None
    return (
        f"it holds {_listed(heads)}, and no output layer of its own: it was trained as a classifier.\n"
        "Expected a causal language model."
    )


def _left_over(model: "nn.Module", unexpected: Collection[str]) -> str | None:
    """Describe weights that belong into the layers or modules of this model, and have no place there."""
    layers: dict[tuple[str, int], list[str]] = {}
    strays = []
    for key in unexpected:
        match = _LAYER.fullmatch(key)
        built = _numbers_in(model, match["list"]) if match else None
        if match and built and int(match["number"]) not in built:
            layers.setdefault((match["list"], int(match["number"])), []).append(key)
        elif _is_weight(key) and (built or _has_weights(model, key.rpartition(".")[0])):
            strays.append(key)
    dropped = [key for keys in layers.values() if not _joins(keys) for key in keys]
    if dropped:
        return (
            f"it has layers that the model was built without: {_listed(dropped)}.\n"
            "Expected the config.json that these weights were saved with: its number of layers is too low."
        )
    if strays := [key for key in strays if not _is_mask(model, key)]:
        return (
            f"it has weights that this class leaves out of its layers: {_listed(strays)}.\n"
            "Expected the config.json that these weights were saved with, and a transformers that knows its class."
        )
    return None


def _joins(keys: Iterable[str]) -> bool:
    """Whether a layer behind the last one predicts further tokens: it joins embeddings with the last hidden states."""
    children = {match["below"].split(".")[0] for key in keys if (match := _LAYER.fullmatch(key))}
    return len(children & _JOINING) > 1


def _is_weight(key: str) -> bool:
    """Whether a key is of a weight; scales of quantised ones, of caches, and masks have other names."""
    return key.rpartition(".")[2] in ("weight", "bias")


def _is_mask(model: "nn.Module", key: str) -> bool:
    """Whether `bias` is a causal mask, as GPT-2 and its kin have saved with each attention."""
    path, _, name = key.rpartition(".")
    module = _module(model, path)
    return name == "bias" and module is not None and not _has_weights(model, path)


def _has_weights(model: "nn.Module", path: str) -> bool:
    module = _module(model, path)
    return module is not None and bool(path) and next(module.parameters(recurse=False), None) is not None


def _numbers_in(model: "nn.Module", path: str) -> set[int]:
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


def _listed(keys: Iterable[str]) -> str:
    """Return the first few keys in order, and how many there are."""
    ordered = sorted(
        keys, key=lambda key: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", key)]
    )
    more = f", ... ({len(ordered)} in all)" if len(ordered) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more


def _shape(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))
