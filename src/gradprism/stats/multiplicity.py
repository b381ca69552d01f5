"""Adjustment of p for the number of tests.

The false discovery rate of Benjamini & Hochberg, JRSS B 57 (1995), and the family-wise error of Holm, Scandinavian
Journal of Statistics 6 (1979).
"""

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


def holm(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Adjust each p for all tests together, so that one false finding among them is as rare as p says; NaN stays."""
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    ascending = known[np.argsort(p[known], kind="stable")]
    steps = p[ascending] * np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
