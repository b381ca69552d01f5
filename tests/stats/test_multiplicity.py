"""Benjamini and Hochberg against scipy and against the procedure as it is written."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from gradprism.stats.multiplicity import benjamini_hochberg


def step_up(p: list[float]) -> list[float]:
    """The least rate at which each would be rejected: of m sorted p, the k-th is compared with rate k / m."""
    m, ordered = len(p), sorted(p)
    return [min(1.0, *(ordered[k] * m / (k + 1) for k in range(m) if ordered[k] >= one)) for one in p]


def test_each_family_by_itself() -> None:
    p = np.random.default_rng(0).random(60) ** 2
    families = [("norm", i % 2) if i % 3 else "rank" for i in range(60)]
    q = benjamini_hochberg(p, families)
    for family in set(families):
        members = [i for i in range(60) if families[i] == family]
        np.testing.assert_allclose(q[members], false_discovery_control(p[members]))
        assert q[members] == pytest.approx(step_up(p[members].tolist()))


def test_what_was_not_tested_does_not_count() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03, np.nan])
    q = benjamini_hochberg(p, "aaaab")
    np.testing.assert_allclose(q, [0.03, np.nan, 0.04, 0.04, np.nan])


def test_nothing_at_all() -> None:
    assert benjamini_hochberg(np.array([]), []).tolist() == []
