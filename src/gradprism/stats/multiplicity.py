"""Adjustment of p for the number of tests: the false discovery rate of Benjamini & Hochberg, JRSS B 57 (1995)."""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import false_discovery_control


def benjamini_hochberg(
    p: Float[np.ndarray, " features"], families: Sequence[Hashable]
) -> Float[np.ndarray, " features"]:
    """Adjust each p among those of its family (a name for each feature). A NaN p stays NaN, and is in no family."""
    q = np.full(len(p), np.nan)
    members: dict[Hashable, list[int]] = {}
    for index, family in enumerate(families):
        if not np.isnan(p[index]):
            members.setdefault(family, []).append(index)
    for places in members.values():
        q[places] = false_discovery_control(p[places])
    return q
