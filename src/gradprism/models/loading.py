"""Calls of the libraries that load models: silent, and with failures that say what would work."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten

from gradprism.core.errors import GradPrismError
from gradprism.models.builtin import BUILTIN_MODELS
from gradprism.models.settings_files import damage_in

_LOGGERS = ("gguf", "accelerate", "bitsandbytes", "torchao", "torch.utils._pytree")  # what they miss, for speed
_LONGEST = 600  # characters of a library's message
_EXTRA_OF = {
    "bitsandbytes": "quantised", "torchao": "quantised", "compressed": "quantised", "peft": "adapters",
}  # fmt: skip
_LOADING = ("torch", "transformers", "safetensors", "gguf", "accelerate")  # absent where runs are only read


@contextmanager
def silent_libraries() -> Iterator[None]:
    """Keep the loading libraries' bars and remarks off the terminal; errors still show."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in _LOGGERS:  # before transformers is imported, and torchao with it
        logging.getLogger(name).setLevel(logging.ERROR)
    from transformers import modeling_gguf_pytorch_utils as gguf_loading
    from transformers.utils import logging as hf_logging

    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
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
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)
        if bars:
            hf_logging.enable_progress_bar()


@contextmanager
def loading(name: str, *, allow_pickle: bool, folder: Path | None = None) -> Iterator[None]:
    """Silence the libraries, and raise their failures to load a model as `GradPrismError`s that say what would work.

    Whatever they raise is one: on damaged files that is every kind of exception. `folder` is where the files lie, of
    which a damaged one is named.
    """
    try:
        with silent_libraries():
            yield
    except GradPrismError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in _LOADING:
            raise GradPrismError(
                f"Cannot load the model {name!r}: {error.name} is not installed, as where runs are only read.\n"
                "pip install gradprism"
            ) from error
        raise GradPrismError(_failure(name, error, allow_pickle, folder)) from error


def reason_of(error: Exception) -> str:
    """Return the first paragraph of an error's message on one line, with its type where the message alone is bare."""
    if isinstance(error, UnpicklingError):
        return "its pickle is damaged, or holds more than weights, which are all that is read from one"
    text = str(error).strip().split("\n\n")[0].split("Exception raised from")[0]
    text = shorten(text, _LONGEST, placeholder=" ...")
    if type(error).__name__.startswith("StrictDataclass"):  # huggingface_hub: a setting of another type or value
        return f"config.json: {text.partition('Error: ')[2] or text}"
    says_itself = isinstance(error, GradPrismError | OSError | ValueError | RuntimeError | ImportError)
    return text if text and says_itself else f"{type(error).__name__}: {text}".removesuffix(": ")


def _failure(name: str, error: Exception, allow_pickle: bool, folder: Path | None) -> str:
    """Write what failed, a hint for each option or extra that may help, and what a model can be."""
    reason = reason_of(error)
    lines = [f"Cannot load the model {name!r}: {reason}"]
    if folder and (damage := damage_in(folder, error)):
        lines.append(damage)
    close = get_close_matches(name.lower(), BUILTIN_MODELS, n=1)
    if close and close[0] != name:
        lines.append(f"Did you mean the built-in {close[0]!r}?")
    if "safetensors" in reason and not allow_pickle:
        lines.append("Only safetensors and GGUF are loaded by default; --allow-pickle also loads .bin files.")
    if "trust_remote_code" in reason:
        lines.append("--trust-remote-code runs the code that comes with it; only for sources you trust.")
    if missing := next((package for package in _EXTRA_OF if package in reason.lower()), None):
        lines.append(f"pip install 'gradprism[{_EXTRA_OF[missing]}]'")
    if "offload" in reason:
        lines.append("--offload-folder DIR gives weights that fit no memory a place on disk.")
    lines.append(
        "Expected a hub id (owner/name), a folder with config.json, weights and tokenizer, a .gguf file, or a "
        f"built-in name: {', '.join(BUILTIN_MODELS)}."
    )
    return "\n".join(lines)
