"""Checkpoints of every kind -> a model and its tokenizer: hub id, folder, GGUF file, built-in name.

Also quantised ones, with an adapter on top, and spread over several devices.
"""

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from gradprism.core.errors import GradPrismError
from gradprism.models.builtin import BUILTIN_MODELS, BuiltinModel, fetch, refuse_other_gguf
from gradprism.models.device import Spread, runs_on
from gradprism.models.file_digests import digest_of_files, refuse_changed
from gradprism.models.fingerprint import digest_of_model
from gradprism.models.loading_report import refuse_incomplete, refuse_left_over_tensors
from gradprism.models.quiet import quiet
from gradprism.models.settings import CheckpointSettings

Say = Callable[[str], None]
_EXTRA_OF = {
    "bitsandbytes": "quantised", "torchao": "quantised", "compressed": "quantised", "peft": "adapters",
}  # fmt: skip
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.index.json")
_SETTINGS = ("config.json", "tokenizer*", "chat_template*", "special_tokens_map.json", "added_tokens.json",
             "vocab.*", "merges.txt", "spiece.model")  # fmt: skip


class ModelSource(Protocol):
    """Whatever gives a model, its configuration and its tokenizer."""

    @property
    def name(self) -> str:
        """What to call it."""

    def load_config(self) -> Any:
        """Return its configuration."""

    def load_tokenizer(self) -> Any:
        """Return its tokenizer."""

    def device(self, wanted: str) -> str:
        """Return where the model will be, given where it was wanted."""

    def load_model(self, device: str, spread: Spread | None = None) -> Any:
        """Return the model in evaluation mode, on a device or spread over several."""

    def dtype(self, config: Any) -> str:
        """Return the type of its weights."""

    def class_name(self, config: Any) -> str:
        """Return the class that it is built as, which need not be the one it was saved from."""

    def fingerprint(self, config: Any) -> str:
        """Return what tells this model and tokenizer from others of the same name."""

    @property
    def adapter(self) -> str | None:
        """What its adapter is called, if it has one."""

    def quantization(self, config: Any) -> str | None:
        """Return how its weights are quantised, if they are."""


class LoadedModel:
    """A model and tokenizer that the caller already holds."""

    def __init__(self, model: Any, tokenizer: Any):
        """Raises `GradPrismError` where one of the two is missing or is not what it should be."""
        from gradprism.models.adapters import refuse_kinds
        from gradprism.models.full_precision import model_itself

        model = model_itself(model)
        if tokenizer is None or not hasattr(model, "config"):
            raise GradPrismError(
                f"Given a {type(model).__name__} and a {type(tokenizer).__name__}; expected a model of transformers "
                "together with its tokenizer, such as spectra(data, model, tokenizer=tokenizer)."
            )
        refuse_kinds(model)
        self._model = model
        self._tokenizer = tokenizer
        self._digest: str | None = None

    @property
    def name(self) -> str:
        """Return the name it was loaded by, else its class."""
        return self._model.config.name_or_path or type(self._model).__name__

    def load_config(self) -> Any:
        """Return its configuration."""
        return self._model.config

    def load_tokenizer(self) -> Any:
        """Return its tokenizer."""
        return self._tokenizer

    def device(self, wanted: str) -> str:
        """Return where it is: whoever loaded it has placed it."""
        return str(runs_on(self._model))

    def load_model(self, device: str, spread: Spread | None = None) -> Any:
        """Return the model as it is."""
        return self._model

    def load_classifier(self, device: str, spread: Spread | None = None) -> Any:
        """Return the model as it is."""
        return self._model

    @property
    def adapter(self) -> str | None:
        """Return the names of its adapters."""
        return ", ".join(getattr(self._model, "peft_config", None) or ()) or None

    def quantization(self, config: Any) -> str | None:
        """Return the way that its configuration names."""
        return _quantised_by(config)

    def dtype(self, config: Any) -> str:
        """Return the type of its first weight."""
        return str(next(self._model.parameters()).dtype).removeprefix("torch.")

    def class_name(self, config: Any) -> str:
        """Return its class; below an adapter, the adapted model's."""
        from gradprism.models.projections.decoder_layers import base_model

        return type(base_model(self._model)[1]).__name__

    def fingerprint(self, config: Any) -> str:
        """Digest of the tokenizer, of all its weights, and of adapters and hooks; as they were when it was first asked.

        A job asks several times, and a large model takes seconds.
        """
        if self._digest is None:
            self._digest = digest_of_model(self._model, self._tokenizer, self.dtype(config))
        return self._digest


@dataclass(frozen=True)
class Checkpoint:
    """Where a model's files are: `location` for `from_pretrained`, with the GGUF file in it, if it is one."""

    name: str
    location: str
    gguf_file: str | None
    settings: CheckpointSettings

    @property
    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"trust_remote_code": self.settings.trust_remote_code}
        if self.settings.revision:
            options["revision"] = self.settings.revision
        if self.gguf_file:
            options["gguf_file"] = self.gguf_file
        return options

    def load_tokenizer(self) -> Any:
        """Load the tokenizer alone: no weights are read."""
        with quiet(), _explained(self):
            from transformers import AutoTokenizer

            return AutoTokenizer.from_pretrained(self.location, **self._options)

    def load_config(self) -> Any:
        """Load the configuration alone."""
        with quiet(), _explained(self):
            from transformers import AutoConfig

            return AutoConfig.from_pretrained(self.location, **self._options)

    def count_parameters(self) -> int:
        """Count the parameters that the configuration comes to; the model is made without memory for its weights."""
        with quiet(), _explained(self):
            import torch

            config = self.load_config()
            with torch.device("meta"):
                model = self._model_class().from_config(config, trust_remote_code=self.settings.trust_remote_code)
            return sum(weight.numel() for weight in model.parameters())

    def device(self, wanted: str) -> str:
        """Return where it was wanted."""
        return wanted

    def load_model(self, device: str = "cpu", spread: Spread | None = None) -> Any:
        """Load the causal language model, in evaluation mode, on a device or spread over several.

        Raises `GradPrismError` where it cannot be loaded, weights are missing or left over, or its settings contradict
        each other.
        """
        self._refuse_contradictions(spread)
        with quiet(), _explained(self):
            if self.settings.from_scratch:
                model = self._from_scratch().to(device)
            else:
                model = self._pretrained(self._model_class(), device, spread)
            if self.settings.adapter:
                from gradprism.models.adapters import with_adapter

                model = with_adapter(model, self._adapter_folder)
            return model.eval()

    def load_skeleton(self) -> Any:
        """Make the model without weights, on the meta device: its modules and their shapes."""
        import torch

        with quiet(), _explained(self), torch.device("meta"):
            return self._from_scratch()

    def load_classifier(self, device: str = "cpu", spread: Spread | None = None) -> Any:
        """Load a sequence classifier, in evaluation mode, on a device or spread over several.

        Raises `GradPrismError` where the checkpoint lacks a weight: without a trained output layer scores are random.
        """
        with quiet(), _explained(self):
            from transformers import AutoModelForSequenceClassification

            return self._pretrained(AutoModelForSequenceClassification, device, spread).eval()

    def _pretrained(self, auto_class: Any, device: str, spread: Spread | None) -> Any:
        options = self._loading(device, spread)
        asked = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # else refused without a key
        model, report = auto_class.from_pretrained(self.location, **options, **asked)
        refuse_incomplete(model, report, self.name)
        if self.gguf_file:
            refuse_left_over_tensors(model, Path(self.location) / self.gguf_file, self.name)
        if getattr(model, "is_quantized", False) and self.settings.dtype != "auto":
            from gradprism.models.quantised import compute_in

            compute_in(model, self._dtype)
        return model if "device_map" in options else model.to(device)

    def _loading(self, device: str, spread: Spread | None) -> dict[str, Any]:
        options = self._options | {"dtype": self._dtype}
        if not self.settings.allow_pickle and not self.gguf_file:
            options["use_safetensors"] = True
        config = None if self.gguf_file else self.load_config()
        if self.settings.quantization:
            from gradprism.models.quantised import quantization_config

            dtype = getattr(config, "dtype", None) if self._dtype == "auto" else self._dtype
            options["quantization_config"] = quantization_config(self.settings.quantization, dtype)
        saved = _quantised_by(config)
        if saved:
            from gradprism.models.quantised import loading_options

            options |= loading_options(saved, config)
        if spread:
            return options | spread.options
        if saved or self.settings.quantization:
            options["device_map"] = {"": device}  # made on their device, and not to be moved afterwards
        return options

    def _refuse_contradictions(self, spread: Spread | None) -> None:
        """Raises `GradPrismError` for settings of which one would undo the other, or that nothing can do."""
        settings = self.settings
        if settings.from_scratch and (settings.adapter or settings.quantization or spread):
            given = "--adapter" if settings.adapter else "--quantization" if settings.quantization else "a device map"
            raise GradPrismError(
                f"Given --from-scratch together with {given}. Random weights are made in memory, whole and in full "
                "precision; an adapter was trained on others. Expected one of the two."
            )
        if settings.quantization and self.gguf_file:
            raise GradPrismError(
                f"Given --quantization {settings.quantization} and a .gguf file, which is quantised already and is "
                "dequantised on loading. Expected one of the two."
            )
        own = None if settings.from_scratch or self.gguf_file else _quantised_by(self.load_config())
        if settings.quantization and own:
            raise GradPrismError(
                f"Given --quantization {settings.quantization}, and {self.name} was saved quantised already ({own}). "
                "Leave the option out, or name the unquantised checkpoint."
            )

    @property
    def adapter(self) -> str | None:
        """Return the adapter's name."""
        return self.settings.adapter

    @property
    def _adapter_folder(self) -> Path:
        from gradprism.models.adapters import find_adapter

        name = str(self.settings.adapter)
        return find_adapter(name, self.settings.adapter_revision, pickle=self.settings.allow_pickle)

    def quantization(self, config: Any) -> str | None:
        """Return how it is quantised on loading, or was before it was saved; a GGUF file is dequantised."""
        if self.settings.from_scratch or self.gguf_file:
            return None
        return self.settings.quantization or _quantised_by(config)

    def _from_scratch(self) -> Any:
        import torch

        config = self.load_config()
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        dtype = torch.float32 if self._dtype == "auto" else self._dtype
        with torch.random.fork_rng():
            torch.manual_seed(self.settings.init_seed)
            return self._model_class().from_config(
                config, dtype=dtype, trust_remote_code=self.settings.trust_remote_code
            )

    def _model_class(self) -> Any:
        """Where a family has no class for text alone (LLaVA, Qwen-VL), the one that reads images too."""
        from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
        from transformers.models.auto import modeling_auto as known

        if self.gguf_file:
            return AutoModelForCausalLM
        config = self.load_config()
        own = (getattr(config, "auto_map", None) or {}) if self.settings.trust_remote_code else {}
        if "AutoModelForCausalLM" in own or config.model_type in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            return AutoModelForCausalLM
        if (
            "AutoModelForImageTextToText" in own
            or config.model_type in known.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        ):
            return AutoModelForImageTextToText
        return AutoModelForCausalLM  # to say what is wrong

    def class_name(self, config: Any) -> str:
        """Return the class that `load_model` builds for a configuration; its kind where there is none."""
        auto = self._model_class()
        own = (getattr(config, "auto_map", None) or {}) if self.settings.trust_remote_code else {}
        if auto.__name__ in own:
            return str(own[auto.__name__]).rpartition(".")[2]
        with quiet():
            found = auto._model_mapping.get(type(config), None)
        return found.__name__ if isinstance(found, type) else str(config.model_type)

    @property
    def _dtype(self) -> Any:
        import torch

        return "auto" if self.settings.dtype == "auto" else getattr(torch, self.settings.dtype)

    def dtype(self, config: Any) -> str:
        """Return the type asked for; of `auto`, the checkpoint's own (fp32 from scratch)."""
        if self.settings.dtype != "auto" or self.settings.from_scratch:
            return self.settings.dtype.replace("auto", "float32")
        return str(getattr(config, "dtype", None) or "auto").removeprefix("torch.")

    def fingerprint(self, config: Any) -> str:
        """What model, tokenizer and adapter are: the hub commit, or a digest of the local files, whole."""
        if not self.settings.adapter:
            return self._fingerprint(config)
        folder = self._adapter_folder
        return f"{self._fingerprint(config)}+{digest_of_files(sorted(folder.glob('adapter_*')))}"

    def _fingerprint(self, config: Any) -> str:
        commit = getattr(config, "_commit_hash", None)
        if commit:
            return str(commit)
        if self.name in BUILTIN_MODELS:  # the same weights, converted or not
            return BUILTIN_MODELS[self.name].sha256[:16]
        folder = Path(self.location)
        if not folder.is_dir():
            return "unknown"
        code = ("*.py",) if self.settings.trust_remote_code else ()
        patterns = (self.gguf_file,) if self.gguf_file else (*_WEIGHTS, *_SETTINGS, *code)
        files = sorted(file for pattern in patterns for file in folder.glob(pattern))
        return digest_of_files(files)


def find_checkpoint(settings: CheckpointSettings, say: Say = lambda _: None, *, weights: bool = True) -> Checkpoint:
    """Find what `--model` names: a built-in name (fetched if need be), a .gguf file, a folder, or a hub id.

    `weights` says whether they will be loaded: only then is a built-in model converted for fast loading.
    """
    name = settings.model
    path = Path(name).expanduser()
    if name in BUILTIN_MODELS:
        location, gguf_file = _builtin_files(BUILTIN_MODELS[name], say, weights)
        return Checkpoint(name, str(location), gguf_file, settings)
    if path.is_file() and path.suffix == ".gguf":
        return Checkpoint(name, str(path.resolve().parent), path.name, settings)
    if path.is_dir():
        _refuse_adapter(name, path)
        return Checkpoint(name, str(path.resolve()), None, settings)
    if path.is_file() or path.suffix == ".gguf" or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise GradPrismError(
            f"No model at {name}: expected a folder with config.json and weights, a .gguf file, a hub id, "
            f"or a built-in name ({', '.join(BUILTIN_MODELS)})."
        )
    return Checkpoint(name, name, None, settings)


def _refuse_adapter(name: str, folder: Path) -> None:
    """Raise `GradPrismError` for an adapter's folder, and for a model's that has one beside its weights.

    transformers would put the adapter on top of the weights, which hold it already where they were merged.
    """
    if not (folder / "adapter_config.json").is_file():
        return
    weights = [file for pattern in _WEIGHTS for file in folder.glob(pattern) if not file.name.startswith("adapter_")]
    if not (folder / "config.json").is_file() or not weights:
        raise GradPrismError(f"{name} is an adapter. Expected the model it was made for, and --adapter {name}.")
    raise GradPrismError(
        f"{name} holds the weights of a model ({weights[0].name}) and those of an adapter (adapter_config.json): "
        "nothing says whether they are merged already.\nMove the adapter's files (adapter_*) to another folder, which "
        "--adapter can name where they are not."
    )


def _builtin_files(model: BuiltinModel, say: Say, weights: bool) -> tuple[Path, str | None]:
    """Folder with a built-in model dequantised to fp32 once: loading GGUF takes 8 times as long.

    Where the weights are not wanted and were never converted, the GGUF file itself.
    """
    gguf = fetch(model, say)
    folder = model.folder / "float32"
    if not weights and not folder.is_dir():
        return gguf.parent, gguf.name
    with FileLock(model.folder / ".convert.lock"):
        if folder.is_dir():
            refuse_changed(model, folder)
            return folder, None
        say(f"Converting {model.name} to safetensors (once)")
        refuse_other_gguf(model)
        checkpoint = Checkpoint(model.name, str(gguf.parent), gguf.name, CheckpointSettings(model=str(gguf)))
        scratch = model.folder / "float32.partial"
        with _explained(checkpoint), quiet():
            loaded = checkpoint.load_model()
            forget_quantisation(loaded)
            loaded.save_pretrained(scratch)
            checkpoint.load_tokenizer().save_pretrained(scratch)
            scratch.rename(folder)
            refuse_changed(model, folder)
    return folder, None


def forget_quantisation(model: Any) -> None:
    """Let a model that came dequantised from GGUF be saved as an ordinary one."""
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    if hasattr(model, "is_quantized"):
        del model.is_quantized


def _quantised_by(config: Any) -> str | None:
    """The way of quantising that a model's configuration names."""
    own = getattr(config, "quantization_config", None)
    found = own.get("quant_method") if isinstance(own, dict) else getattr(own, "quant_method", None)
    return str(getattr(found, "value", found)) if found else None


@contextmanager
def _explained(checkpoint: Checkpoint) -> Iterator[None]:
    """Loading failures of every library below as one error that says what would work."""
    try:
        yield
    except GradPrismError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, struct.error,
            json.JSONDecodeError) as error:  # fmt: skip
        raise GradPrismError(_failure(checkpoint, error)) from error


def _failure(checkpoint: Checkpoint, error: Exception) -> str:
    name, reason = checkpoint.name, str(error).strip().split("\n\n")[0]
    lines = [f"Cannot load the model {name!r}: {reason}"]
    if close := get_close_matches(name.lower(), BUILTIN_MODELS, n=1):
        lines.append(f"Did you mean the built-in {close[0]!r}?")
    if "safetensors" in reason and not checkpoint.settings.allow_pickle:
        lines.append("Only safetensors and GGUF are loaded by default; --allow-pickle also loads .bin files.")
    if "trust_remote_code" in reason:
        lines.append("--trust-remote-code runs the code that comes with it; only for sources you trust.")
    if missing := next((name for name in _EXTRA_OF if name in reason.lower()), None):
        lines.append(f"pip install 'gradprism[{_EXTRA_OF[missing]}]'")
    if "offload" in reason:
        lines.append("--offload-folder DIR gives the weights a place that fit no memory.")
    lines.append(
        "Expected a hub id (owner/name), a folder with config.json, weights and tokenizer, a .gguf file, or a "
        f"built-in name: {', '.join(BUILTIN_MODELS)}."
    )
    return "\n".join(lines)
