"""Checkpoints of every kind -> a model and its tokenizer: hub id, folder, GGUF file, built-in name."""

import hashlib
import json
import logging
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from gradprism.errors import GradPrismError
from gradprism.models.builtin import BUILTIN_MODELS, BuiltinModel, fetch
from gradprism.recipe import CheckpointSettings

Say = Callable[[str], None]
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
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

    def load_model(self, device: str) -> Any:
        """Return the model on a device, in evaluation mode."""

    def dtype(self, config: Any) -> str:
        """Return the type of its weights."""

    def fingerprint(self, config: Any) -> str:
        """Return what tells this model and tokenizer from others of the same name."""


class LoadedModel:
    """A model and tokenizer that the caller already holds."""

    def __init__(self, model: Any, tokenizer: Any):
        """Raises `GradPrismError` where one of the two is missing or is not what it should be."""
        if tokenizer is None or not hasattr(model, "config"):
            raise GradPrismError(
                f"Given a {type(model).__name__} and a {type(tokenizer).__name__}; expected a model of transformers "
                "together with its tokenizer, such as spectra(data, model, tokenizer=tokenizer)."
            )
        self._model = model
        self._tokenizer = tokenizer

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
        return str(next(self._model.parameters()).device)

    def load_model(self, device: str) -> Any:
        """Return the model as it is."""
        return self._model

    def load_classifier(self, device: str) -> Any:
        """Return the model as it is."""
        return self._model

    def dtype(self, config: Any) -> str:
        """Return the type of its first weight."""
        return str(next(self._model.parameters()).dtype).removeprefix("torch.")

    def fingerprint(self, config: Any) -> str:
        """Digest of the tokenizer, and of the first and last values of every weight, with their type."""
        import torch

        vocabulary = json.dumps(self._tokenizer.get_vocab(), sort_keys=True)
        template = getattr(self._tokenizer, "chat_template", None)
        digest = hashlib.sha256(f"{self.dtype(config)}{vocabulary}{template}".encode("utf-8", "backslashreplace"))
        for name, weight in self._model.named_parameters():
            flat = weight.detach().flatten()
            ends = torch.cat([flat[:16], flat[-16:]]).to("cpu", torch.float32)
            digest.update(f"{name}{tuple(weight.shape)}".encode() + ends.numpy().tobytes())
        return digest.hexdigest()[:16]


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
        with _quiet(), _explained(self):
            from transformers import AutoTokenizer

            return AutoTokenizer.from_pretrained(self.location, **self._options)

    def load_config(self) -> Any:
        """Load the configuration alone."""
        with _quiet(), _explained(self):
            from transformers import AutoConfig

            return AutoConfig.from_pretrained(self.location, **self._options)

    def device(self, wanted: str) -> str:
        """Return where it was wanted."""
        return wanted

    def load_model(self, device: str = "cpu") -> Any:
        """Load the causal language model, in evaluation mode, on a device."""
        with _quiet(), _explained(self):
            model = self._from_scratch() if self.settings.from_scratch else self._pretrained()
            return model.to(device).eval()

    def load_classifier(self, device: str = "cpu") -> Any:
        """Load a sequence classifier, in evaluation mode, on a device.

        Raises `GradPrismError` where the checkpoint has no trained output layer for one: its scores would be random.
        """
        with _quiet(), _explained(self):
            from transformers import AutoModelForSequenceClassification as Classifier

            model, report = Classifier.from_pretrained(self.location, output_loading_info=True, **self._loading)
            if report["missing_keys"]:
                raise GradPrismError(
                    f"{self.name!r} is no reward model: it has no weights for "
                    f"{', '.join(sorted(report['missing_keys']))}, so its scores would be random.\n"
                    "Expected a checkpoint that was trained as a sequence classifier."
                )
            return model.to(device).eval()

    def _pretrained(self) -> Any:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(self.location, **self._loading)

    @property
    def _loading(self) -> dict[str, Any]:
        options = self._options | {"dtype": self._dtype}
        if not self.settings.allow_pickle and not self.gguf_file:
            options["use_safetensors"] = True
        return options

    def _from_scratch(self) -> Any:
        import torch
        from transformers import AutoModelForCausalLM

        config = self.load_config()
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        dtype = torch.float32 if self._dtype == "auto" else self._dtype
        with torch.random.fork_rng():
            torch.manual_seed(self.settings.init_seed)
            return AutoModelForCausalLM.from_config(
                config, dtype=dtype, trust_remote_code=self.settings.trust_remote_code
            )

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
        """What model and tokenizer are: the hub commit, or a digest of the local files' sizes, heads and tails."""
        commit = getattr(config, "_commit_hash", None)
        if commit:
            return str(commit)
        if self.name in BUILTIN_MODELS:  # the same weights, converted or not
            return BUILTIN_MODELS[self.name].sha256[:16]
        folder = Path(self.location)
        if not folder.is_dir():
            return "unknown"
        patterns = (self.gguf_file,) if self.gguf_file else (*_WEIGHTS, *_SETTINGS)
        files = sorted(file for pattern in patterns for file in folder.glob(pattern))
        digest = hashlib.sha256()
        for file in files:
            digest.update(_ends_of(file))
        return digest.hexdigest()[:16]


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
        return Checkpoint(name, str(path.resolve()), None, settings)
    if path.is_file() or path.suffix == ".gguf" or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise GradPrismError(
            f"No model at {name}: expected a folder with config.json and weights, a .gguf file, a hub id, "
            f"or a built-in name ({', '.join(BUILTIN_MODELS)})."
        )
    return Checkpoint(name, name, None, settings)


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
            return folder, None
        say(f"Converting {model.name} to safetensors (once)")
        checkpoint = Checkpoint(model.name, str(gguf.parent), gguf.name, CheckpointSettings(model=str(gguf)))
        scratch = model.folder / "float32.partial"
        with _explained(checkpoint), _quiet():
            loaded = checkpoint.load_model()
            forget_quantisation(loaded)
            loaded.save_pretrained(scratch)
            checkpoint.load_tokenizer().save_pretrained(scratch)
            scratch.rename(folder)
    return folder, None


def forget_quantisation(model: Any) -> None:
    """Let a model that came dequantised from GGUF be saved as an ordinary one."""
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    if hasattr(model, "is_quantized"):
        del model.is_quantized


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
    lines.append(
        "Expected a hub id (owner/name), a folder with config.json, weights and tokenizer, a .gguf file, or a "
        f"built-in name: {', '.join(BUILTIN_MODELS)}."
    )
    return "\n".join(lines)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the loading libraries' bars and remarks off the terminal; errors still show."""
    from transformers import modeling_gguf_pytorch_utils as gguf_loading
    from transformers.utils import logging as hf_logging

    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    gguf_log = logging.getLogger("gguf")
    gguf_level = gguf_log.level
    gguf_log.setLevel(logging.ERROR)
    bar = getattr(gguf_loading, "tqdm", None)  # it heeds no setting
    if bar:
        gguf_loading.tqdm = partial(bar, disable=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hf_logging.set_verbosity(level)
        if bar:
            gguf_loading.tqdm = bar
        gguf_log.setLevel(gguf_level)
        if bars:
            hf_logging.enable_progress_bar()


def _ends_of(file: Path, size: int = 1 << 20) -> bytes:
    """Name, size, first and last MiB: enough to tell checkpoints apart without reading terabytes."""
    length = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(size)
        stream.seek(max(length - size, 0))
        return file.name.encode() + struct.pack("<Q", length) + head + stream.read(size)
