"""Silence while models load: what the loading libraries say is for their own users."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

_TALKATIVE = ("gguf", "accelerate", "bitsandbytes", "torchao", "torch.utils._pytree")  # what they miss, for speed


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the loading libraries' bars and remarks off the terminal; errors still show."""
    levels = {name: logging.getLogger(name).level for name in _TALKATIVE}
    for name in _TALKATIVE:  # before transformers is imported, and torchao with it
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
