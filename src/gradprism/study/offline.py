"""Looking at what is on this machine alone, where the hub would be asked otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def local_files_only() -> Iterator[None]:
    """Have the hub's libraries look into their caches and nowhere else: no request, and no waiting for a network.

    They read `HF_HUB_OFFLINE` when they are imported, which is too early here; their own copies of it are set.
    """
    from datasets import config
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE = before
