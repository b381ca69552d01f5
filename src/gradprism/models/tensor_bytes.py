"""Every byte of a tensor into a digest, wherever it lies and whatever it is made of."""

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from hashlib import _Hash

_CHUNK = 1 << 20  # bytes that one thread hashes by itself: part of what the digest is


def update(digest: "_Hash", tensor: Tensor) -> None:
    """Feed type, shape and all bytes of a tensor; of one that is made of several (quantised), those of each."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, settings = tensor.__tensor_flatten__()
        digest.update(f"{type(tensor).__qualname__}{_without_addresses(str(settings))}".encode())
        for name in names:
            digest.update(name.encode())
            update(digest, getattr(tensor, name))
        return
    plain = tensor.detach().as_subclass(Tensor)
    digest.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
    flat = plain.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    pieces = [flat[start : start + _CHUNK] for start in range(0, len(flat), _CHUNK)]
    if len(pieces) < 2:
        digest.update(b"".join(map(_hashed, pieces)))
        return
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        digest.update(b"".join(pool.map(_hashed, pieces)))


def _hashed(piece: Any) -> bytes:
    return hashlib.sha256(piece).digest()


def _without_addresses(text: str) -> str:
    """Return a representation without where in memory things lay."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)
