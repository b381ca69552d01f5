"""Checkpoints on disk or on the hub: found by hub id, folder, GGUF file or built-in name, and loaded.

Also quantised ones, with an adapter on top, and spread over several devices.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod
from pathlib import Path
from typing import Any

from filelock import FileLock

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import Say, say_nothing
from gradprism.models.builtin import BUILTIN_MODELS, BuiltinModel, fetch, refuse_other_gguf
from gradprism.models.device import Spread
from gradprism.models.file_digests import digest_of_files, refuse_changed
from gradprism.models.gguf_tensors import refuse_left_over_tensors, tensors_in
from gradprism.models.loading import loading, silent_libraries
from gradprism.models.loading_report import refuse_incomplete
from gradprism.models.settings import CheckpointSettings
from gradprism.models.settings_files import refuse_impossible_sizes, refuse_odd_files
from gradprism.models.size_limits import (
    available_memory,
    limited_parameters,
    most_parameters,
    refuse_more_layers,
    with_few_layers,
)
from gradprism.models.sources import quantised_by
from gradprism.models.weight_files import StoredWeights, stored_weights

_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.index.json")
_SETTINGS = ("config.json", "tokenizer*", "chat_template*", "special_tokens_map.json", "added_tokens.json",
             "vocab.*", "merges.txt", "spiece.model")  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """A model's files: the `location` that `from_pretrained` takes, and the GGUF file in it, if it is one."""

    name: str
    location: str
    gguf_file: str | None
    settings: CheckpointSettings

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """Refuse files that a library would hang on, and raise the failures of what is done inside."""
        folder = self._folder if self.gguf_file is None else None
        with loading(self.name, allow_pickle=self.settings.allow_pickle, folder=folder):
            if self.gguf_file:
                tensors_in(Path(self.location) / self.gguf_file)
            elif folder:
                refuse_odd_files(folder, _WEIGHTS)
            yield

    @property
    def _folder(self) -> Path | None:
        """Folder of its files; None for those of the hub."""
        return folder if (folder := Path(self.location)).is_dir() else None

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
        with self._loading():
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(self.location, **self._options)
            if not isinstance(longest := tokenizer.model_max_length, int | float):
                raise GradPrismError(
                    f"The tokenizer of {self.name} has model_max_length: {longest!r}. Expected a number of tokens."
                )
            return tokenizer

    def load_config(self) -> Any:
        """Load the configuration alone."""
        with self._loading():
            from transformers import AutoConfig

            if not self.gguf_file and (file := Path(self.location) / "config.json").is_file():
                refuse_impossible_sizes(file, available_memory())
            config = AutoConfig.from_pretrained(self.location, **self._options)
            if not self.settings.trust_remote_code:
                self._refuse_hub_code(config)
            return config

    def _refuse_hub_code(self, config: Any) -> None:
        """Refuse a configuration whose attention is a kernel of the hub: code. Raises `GradPrismError`."""
        for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
            for setting in ("_attn_implementation", "_experts_implementation"):
                if "/" in str(wanted := getattr(part, setting, None)):
                    raise GradPrismError(
                        f"The configuration of {self.name} asks for code of the hub: {setting}: {wanted!r}.\n"
                        "Leave the setting out; --trust-remote-code runs such code, only for sources you trust."
                    )

    def count_parameters(self) -> int:
        """Count the parameters that the configuration comes to; the model is made without memory for its weights."""
        return sum(weight.numel() for weight in self.load_skeleton().parameters())

    def device(self, wanted: str) -> str:
        """Return the device that was asked for."""
        return wanted

    def load_model(self, device: str = "cpu", spread: Spread | None = None) -> Any:
        """Load the causal language model, in evaluation mode, on a device or spread over several.

        Raises `GradPrismError` where it cannot be loaded, weights are missing or left over, or its settings contradict
        each other.
        """
        self._refuse_contradictions(spread)
        with self._loading():
            if self.settings.from_scratch:
                self._refuse_beyond_memory()
                model = self._from_scratch(self.load_config()).to(device)
            else:
                model = self._pretrained(self._model_class(), device, spread)
            if self.settings.adapter:
                from gradprism.models.adapters import with_adapter

                model = with_adapter(model, self._adapter_folder)
            return model.eval()

    def load_skeleton(self) -> Any:
        """Make the model without weights, on the meta device: its modules and their shapes."""
        import torch

        with self._loading(), torch.device("meta"):
            return self._from_scratch(self.load_config())

    def _refuse_beyond_memory(self) -> None:
        """Refuse random weights that do not fit the memory, before any is made. Raises `GradPrismError`."""
        import torch

        free = available_memory()
        config, times = with_few_layers(self.load_config())
        message = (
            f"Cannot make the model {self.name!r} from scratch: its configuration comes to more parameters than "
            f"{free / 2**30:.1f} GiB of memory hold.\nExpected sizes that fit, or --dtype bfloat16."
        )
        dtype = self._scratch_dtype
        with torch.device("meta"), limited_parameters(int(free / dtype.itemsize / times), message):
            self._from_scratch(config)

    def load_classifier(self, device: str = "cpu", spread: Spread | None = None) -> Any:
        """Load a sequence classifier, in evaluation mode, on a device or spread over several.

        Raises `GradPrismError` where the checkpoint lacks a weight: without a trained output layer scores are random.
        """
        with self._loading():
            from transformers import AutoModelForSequenceClassification

            return self._pretrained(AutoModelForSequenceClassification, device, spread).eval()

    def _pretrained(self, auto_class: Any, device: str, spread: Spread | None) -> Any:
        options = self._loading_options(device, spread)
        reporting = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # else refused without a key
        with self._limited_by_stored():
            model, report = auto_class.from_pretrained(self.location, **options, **reporting)
        refuse_incomplete(model, report, self.name)
        if self.gguf_file:
            refuse_left_over_tensors(model, Path(self.location) / self.gguf_file, self.name)
        if getattr(model, "is_quantized", False) and self.settings.dtype != "auto":
            from gradprism.models.quantised import compute_in

            compute_in(model, self._dtype)
        return model if "device_map" in options else model.to(device)

    def _limited_by_stored(self) -> AbstractContextManager[Any]:
        """Check the stored weights, and refuse a model of many times as many parameters as soon as it is made."""
        stored, quantised = self._stored()
        if stored is None:
            return nullcontext()
        message = (
            f"Cannot load the model {self.name!r}: by its configuration it has far more parameters than its weights "
            f"({stored.n_values:,} values in {stored.n_tensors:,} tensors).\n"
            "Expected the config.json that these weights were saved with."
        )
        return limited_parameters(most_parameters(stored, quantised=quantised), message)

    def _stored(self) -> tuple[StoredWeights | None, bool]:
        """Check and count the stored weights, and say whether several may lie in one value; None for those of a hub."""
        if self.gguf_file:
            file = Path(self.location) / self.gguf_file
            shapes = tensors_in(file).values()
            return StoredWeights(len(shapes), sum(map(prod, shapes)), file.stat().st_size), False
        if self._folder is None:
            return None, False
        config, pickle = self.load_config(), self.settings.allow_pickle
        saved = bool(quantised_by(config))
        stored = stored_weights(self._folder, config, allow_pickle=pickle, quantised=saved)
        if stored:
            refuse_more_layers(config, stored, self.name)
        return stored, saved or bool(self.settings.quantization)

    def _loading_options(self, device: str, spread: Spread | None) -> dict[str, Any]:
        options = self._options | {"dtype": self._dtype}
        if not self.settings.allow_pickle and not self.gguf_file:
            options["use_safetensors"] = True
        config = None if self.gguf_file else self.load_config()
        if self.settings.quantization:
            from gradprism.models.quantised import quantization_config

            dtype = getattr(config, "dtype", None) if self._dtype == "auto" else self._dtype
            options["quantization_config"] = quantization_config(self.settings.quantization, dtype)
        saved = quantised_by(config)
        if saved:
            from gradprism.models.quantised import loading_options, refuse_unknown_method

            refuse_unknown_method(saved, config)
            options |= loading_options(saved, config)
        if spread:
            return options | spread.options
        if saved or self.settings.quantization:
            options["device_map"] = {"": device}  # made on their device, and not to be moved afterwards
        return options

    def _refuse_contradictions(self, spread: Spread | None) -> None:
        """Refuse settings of which one would undo the other, or that nothing can do. Raises `GradPrismError`."""
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
        saved = None if settings.from_scratch or self.gguf_file else quantised_by(self.load_config())
        if settings.quantization and saved:
            raise GradPrismError(
                f"Given --quantization {settings.quantization}, and {self.name} was saved quantised already ({saved}). "
                "Leave the option out, or name the unquantised checkpoint."
            )

    @property
    def moment(self) -> None:
        """None: what is stored is not in training."""

    @property
    def adapter(self) -> str | None:
        """Name of the adapter, as given; None where there is none."""
        return self.settings.adapter

    @property
    def _adapter_folder(self) -> Path:
        from gradprism.models.adapters import find_adapter

        name = str(self.settings.adapter)
        return find_adapter(name, self.settings.adapter_revision, pickle=self.settings.allow_pickle)

    def quantization(self, config: Any) -> str | None:
        """Return how it is quantised on loading, or was when it was saved; None for GGUF, which is dequantised."""
        if self.settings.from_scratch or self.gguf_file:
            return None
        return self.settings.quantization or quantised_by(config)

    def _from_scratch(self, config: Any) -> Any:
        import torch

        if hasattr(config, "quantization_config"):
            del config.quantization_config
        with torch.random.fork_rng():
            torch.manual_seed(self.settings.init_seed)
            return self._model_class().from_config(
                config, dtype=self._scratch_dtype, trust_remote_code=self.settings.trust_remote_code
            )

    @property
    def _scratch_dtype(self) -> Any:
        import torch

        return torch.float32 if self._dtype == "auto" else self._dtype

    def _model_class(self) -> Any:
        """Return the auto class of causal language models, or the one that reads images too for families without it.

        LLaVA and Qwen-VL have no class for text alone.
        """
        from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
        from transformers.models.auto import modeling_auto as known

        if self.gguf_file:
            return AutoModelForCausalLM
        config = self.load_config()
        families = {
            AutoModelForCausalLM: known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
            AutoModelForImageTextToText: known.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        }
        having = (
            auto
            for auto, names in families.items()
            if auto.__name__ in self._own_classes(config) or config.model_type in names
        )
        return next(having, AutoModelForCausalLM)  # which says what is wrong

    def _own_classes(self, config: Any) -> dict[str, str]:
        """Return the classes of code that comes with the checkpoint, by auto class; none unless that may run."""
        return (getattr(config, "auto_map", None) or {}) if self.settings.trust_remote_code else {}

    def class_name(self, config: Any) -> str:
        """Return the class that `load_model` builds for a configuration; its kind where there is none."""
        auto = self._model_class()
        if own := self._own_classes(config).get(auto.__name__):
            return str(own).rpartition(".")[2]
        with silent_libraries():
            found = auto._model_mapping.get(type(config), None)
        return found.__name__ if isinstance(found, type) else str(config.model_type)

    @property
    def _dtype(self) -> Any:
        import torch

        return "auto" if self.settings.dtype == "auto" else getattr(torch, self.settings.dtype)

    def dtype(self, config: Any) -> str:
        """Return the type asked for; where that is `auto`, the checkpoint's own (fp32 from scratch)."""
        if self.settings.dtype != "auto" or self.settings.from_scratch:
            return self.settings.dtype.replace("auto", "float32")
        return str(getattr(config, "dtype", None) or "auto").removeprefix("torch.")

    def fingerprint(self, config: Any) -> str:
        """Return the hub commit of model and tokenizer, or a digest of their whole files; behind +, the adapter's."""
        if not self.settings.adapter:
            return self._fingerprint(config)
        folder = self._adapter_folder
        return f"{self._fingerprint(config)}+{digest_of_files(sorted(folder.glob('adapter_*')))}"

    def _fingerprint(self, config: Any) -> str:
        if self.name in BUILTIN_MODELS:  # the same weights, converted or not
            return BUILTIN_MODELS[self.name].sha256[:16]
        folder = Path(self.location)
        if not folder.is_dir():
            return getattr(config, "_commit_hash", None) or self._commit_in_cache()
        code = ("*.py",) if self.settings.trust_remote_code else ()
        patterns = (self.gguf_file,) if self.gguf_file else (*_WEIGHTS, *_SETTINGS, *code)
        files = sorted(file for pattern in patterns for file in folder.glob(pattern) if not file.is_dir())
        return digest_of_files(files)

    def _commit_in_cache(self) -> str:
        """Return the commit of the hub that the files come from, by the folder that the client keeps them in.

        Later versions of transformers do not say it in the configuration. Raises `GradPrismError` where it is not
        known: without it, runs of different weights would pass for runs of one model.
        """
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.location, "config.json", revision=self.settings.revision)
        if not isinstance(found, str) or not (sha := re.search(r"/snapshots/([0-9a-f]{40})/", Path(found).as_posix())):
            raise GradPrismError(
                f"The commit of {self.name} is not known: its config.json is not in the cache of the hub's client. "
                "Expected a hub id whose files it keeps there, or a folder."
            )
        return sha[1]


def find_checkpoint(settings: CheckpointSettings, say: Say = say_nothing, *, weights: bool = True) -> Checkpoint:
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
    if "/" not in name and (close := get_close_matches(name.lower(), BUILTIN_MODELS, n=1)):
        raise GradPrismError(
            f"No model {name!r}. Did you mean the built-in {close[0]!r}? Others: a hub id (OWNER/NAME), a folder, or a "
            ".gguf file."
        )
    return Checkpoint(name, name, None, settings)


def _refuse_adapter(name: str, folder: Path) -> None:
    """Refuse an adapter's folder, and a model's that has an adapter beside its weights. Raises `GradPrismError`.

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
    """Return folder and GGUF file of a built-in model, converted to fp32 once: loading GGUF takes 8 times as long.

    The file is None for the converted folder. Where the weights are not wanted and were never converted, it is the
    GGUF file itself.
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
        with loading(model.name, allow_pickle=False):
            loaded = checkpoint.load_model()
            forget_quantisation(loaded)
            loaded.save_pretrained(scratch)
            checkpoint.load_tokenizer().save_pretrained(scratch)
            scratch.rename(folder)
            refuse_changed(model, folder)
    return folder, None


def forget_quantisation(model: Any) -> None:
    """Let a model that was dequantised from GGUF be saved as an ordinary one."""
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    if hasattr(model, "is_quantized"):
        del model.is_quantized
