"""Entries on a model in the record and the recipe of a run."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gradprism.files.paths import absolute_path
from gradprism.files.records import short_digest
from gradprism.models.builtin import BUILTIN_MODELS
from gradprism.models.settings import CheckpointSettings
from gradprism.models.sources import ModelSource

if TYPE_CHECKING:
    from gradprism.models.projections.discovery import FoundProjections

_PROBE = "A gradient of 3.14 nats:\n\n\tdef f(x):  return x**2  # naïve, 数学, 👍\r\n\u00a0I'LL re-read 1,024 rows."


def model_record(source: ModelSource, config: Any) -> dict[str, Any]:
    """Return name, class, fingerprint and size of a model; its adapter, quantisation and step, where it has any."""
    special = {"adapter": source.adapter, "quantization": source.quantization(config)}
    text_config = config.get_text_config()
    return {
        "name": source.name,
        "class": source.class_name(config),
        "revision": source.fingerprint(config),
        "dtype": source.dtype(config),
        "layers": getattr(text_config, "num_hidden_layers", None),
        "hidden_size": getattr(text_config, "hidden_size", None),
        **({"training": asdict(source.moment)} if source.moment else {}),
    } | {name: value for name, value in special.items() if value}


def loaded_model_record(model: Any, found: "FoundProjections") -> dict[str, Any]:
    """Return the class of a loaded model and the projections found in it, to be added to `model_record`."""
    from gradprism.models.projections.decoder_layers import base_model  # loads torch

    return {
        "class": type(base_model(model)[1]).__name__,
        "projections": list(found.names),
        "measured_layers": list(found.layers),
        "skipped_layers": list(found.skipped_layers),
        "notes": list(found.notes),
    }


def tokenizer_record(tokenizer: Any) -> dict[str, Any]:
    """Return digests of a tokenizer and of its chat template (None without one), to be added to `model_record`.

    The first is of the vocabulary and of the tokens of a probe text: two checkpoints with the same digest give a text
    the same token ids, whatever their weights, files and chat templates.
    """
    tokens = json.dumps([tokenizer.get_vocab(), tokenizer(_PROBE)["input_ids"]], sort_keys=True)
    template = getattr(tokenizer, "chat_template", None)
    return {
        "tokenizer": short_digest(tokens),
        "chat_template": None if template is None else short_digest(json.dumps(template, sort_keys=True)),
    }


def resolved_checkpoint(checkpoint: CheckpointSettings) -> CheckpointSettings:
    """Make the paths of a checkpoint absolute; hub ids and built-in names stay."""
    builtin = checkpoint.model in BUILTIN_MODELS
    changes = {
        "model": checkpoint.model if builtin else absolute_path(checkpoint.model),
        "adapter": checkpoint.adapter and absolute_path(checkpoint.adapter),
    }
    return checkpoint.model_copy(update=changes)
