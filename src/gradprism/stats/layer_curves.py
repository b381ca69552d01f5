"""Statistics of curves over layers: total variation as a mean over neighbouring layers, and relative difference.

The mean absolute difference of neighbouring layers (MAD) and the relative difference (RD) are those of Li et al., "What
Happened in LLMs Layers when Trained for Fast vs. Slow Thinking" (arXiv 2410.23743, ACL 2025). MAD is the total
variation of the curve over L layers, divided by the L - 1 steps from layer to layer.
"""

import numpy as np
from jaxtyping import Float

from gradprism.stats.missing import mean_present

MAD_IN_WORDS = "mean absolute difference of neighbouring layers (total variation / (L-1))"
THIRDS = ("early", "middle", "late")


def mean_absolute_difference(curve: Float[np.ndarray, "... layers"]) -> Float[np.ndarray, "..."]:
    """Average the absolute steps from each layer to the next; NaN where no two neighbours have a value."""
    return mean_present(np.abs(np.diff(curve, axis=-1)))


def mean_absolute_difference_by_thirds(curve: Float[np.ndarray, "... layers"]) -> Float[np.ndarray, "... 3"]:
    """Average the absolute steps that lie within the early, the middle and the late third of the layers.

    A step from one third into the next is in neither. NaN where a third has no two neighbours with a value, so for
    fewer than 4 layers in at least one of them.
    """
    return np.stack([mean_absolute_difference(curve[..., third]) for third in thirds_of(curve.shape[-1])], axis=-1)


def thirds_of(layers: int) -> tuple[slice, slice, slice]:
    """Split layers, in order of depth, into early, middle and late: layers floor(i L / 3) to floor((i + 1) L / 3)."""
    first, second = layers // 3, 2 * layers // 3
    return slice(0, first), slice(first, second), slice(second, layers)


def relative_difference(
    first: Float[np.ndarray, "... layers"], second: Float[np.ndarray, "... layers"]
) -> Float[np.ndarray, "... layers"]:
    """Compute (first - second) / second at each layer; NaN where the second is 0."""
    gap = np.asarray(first - second)
    return np.asarray(np.divide(gap, second, out=np.full(gap.shape, np.nan), where=second != 0))
