"""The end of the true singular values in a published list, and the beginning of rounding noise.

A gradient of T tokens has rank at most T - 1, and the published lists come of an SVD of the whole matrix in float32:
beyond the rank they hold noise, thousands of values that make effective rank too large. Measured, noise reaches 2.5
epsilon of the largest value (SmolLM2-135M, 240 matrices, T of 73 and 233; no more in larger matrices), and the floor of
4 epsilon costs 1.5e-5 in effective rank where the token count alone, which knows nothing of repeated tokens, leaves
5.7e-5. A file that was made in half precision has noise far above that floor: there only the tokens tell.
"""

import numpy as np

NOISE_FLOOR = 4 * float(np.finfo(np.float32).eps)
"""Relative to the largest value; no value at or below it is kept."""


def without_noise(values: np.ndarray, n_tokens: int | None = None) -> np.ndarray:
    """Return the true ones of singular values (n,), descending, float32; at most `n_tokens` - 1 where that is known."""
    if not len(values):
        return values
    kept = int((values.astype(np.float64) > NOISE_FLOOR * float(values[0])).sum())
    return values[:kept] if n_tokens is None else values[: min(kept, n_tokens - 1)]
