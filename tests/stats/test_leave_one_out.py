"""What each row adds, against the score of the set without it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradprism.stats.leave_one_out import leave_one_out
from gradprism.stats.vendi import log_vendi


@settings(max_examples=25)
@given(n=st.integers(2, 25), d=st.integers(2, 25), decay=st.floats(0, 1.5), copies=st.integers(0, 5),
       seed=st.integers(0, 99))  # fmt: skip
def test_losses_are_those_of_leaving_each_row_out(n, d, decay, copies, seed):
    X = np.random.default_rng(seed).standard_normal((n, d)) * np.arange(1, d + 1) ** -decay
    X[: min(copies, n)] = X[0]
    found, score = leave_one_out(X), log_vendi(X)
    without = [log_vendi(np.delete(X, i, axis=0)) for i in range(n)]
    np.testing.assert_allclose(found.losses, score - np.array(without), atol=1e-4)


def test_a_row_that_shares_nothing_adds_one_and_a_copy_of_many_takes_away():
    assert (np.exp(log_vendi(np.eye(30))) * (1 - np.exp(-leave_one_out(np.eye(30)).losses))).mean() == pytest.approx(
        1, abs=1e-3
    )
    X = np.concatenate([np.tile(np.eye(1, 20), (40, 1)), np.eye(20)[1:]])
    losses = leave_one_out(X).losses
    assert losses[:40].max() < 0 < losses[40:].min()


def test_one_row_has_nothing_to_compare_with():
    assert np.isnan(leave_one_out(np.ones((1, 3))).losses).all()
