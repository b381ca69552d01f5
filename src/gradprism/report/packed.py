"""Many small curves in little space: logarithms on a grid, differences along the last axis, deflated, base64.

A page undoes it example by example: `assets/packed.js` is the other half.
"""

import base64
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

CHUNK = 128  # examples that are inflated together
DECADES = 6.0  # relative singular values reach down to 1e-6

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint16]


def log_codes(values: Array, low: float, high: float, levels: int) -> Codes:
    """Encode log10(values) between `low` and `high` as 1 to `levels`; 0 for what is missing, zero or lower.

    Rounding is at most (high - low) / (levels - 1) / 2 decades.
    """
    present = np.isfinite(values) & (values > 0)
    logs = np.log10(np.where(present, values, 1.0))
    present &= logs >= low - 1e-9
    fractions = (np.clip(logs, low, high) - low) / max(high - low, 1e-12)
    return np.where(present, 1 + np.rint(fractions * (levels - 1)), 0).astype(np.uint16)


def log_range(values: Array) -> tuple[float, float]:
    """Return log10 of the smallest and largest positive value; (0, 1) where there is none."""
    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size:
        return 0.0, 1.0
    return float(np.log10(positive.min())), float(np.log10(positive.max()))


def packed(codes: Codes, wide: bool) -> dict[str, Any]:
    """Pack codes (example, ..., last) as chunks of examples; `wide` keeps two bytes of each, else one."""
    chunks = [_deflated(codes[start : start + CHUNK], wide) for start in range(0, len(codes), CHUNK)]
    return {"shape": list(codes.shape[1:]), "per_chunk": CHUNK, "bytes": 2 if wide else 1, "chunks": chunks}


def _deflated(codes: Codes, wide: bool) -> str:
    """Deflate all high bytes, then all low bytes: the high ones hardly change along a curve."""
    steps = np.diff(codes, axis=-1, prepend=np.zeros_like(codes[..., :1]))
    low = (steps & 0xFF).astype(np.uint8).tobytes()
    high = (steps >> 8).astype(np.uint8).tobytes() if wide else b""
    return base64.b64encode(zlib.compress(high + low, 9)).decode("ascii")
