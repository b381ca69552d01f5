"""Statistics of curves against sums by hand."""

import numpy as np
import pytest

from gradprism.stats.layer_curves import (
    mean_absolute_difference,
    mean_absolute_difference_by_thirds,
    relative_difference,
    thirds_of,
)

CURVE = np.array([1.0, 4.0, 2.0, 2.0, 7.0, 6.0, 6.0, 9.0, 5.0, 5.5])  # ten layers: three, three and four


def test_mad_is_total_variation_over_the_steps() -> None:
    total_variation = 3 + 2 + 0 + 5 + 1 + 0 + 3 + 4 + 0.5
    assert mean_absolute_difference(CURVE) == pytest.approx(total_variation / 9)


def test_thirds_take_the_steps_inside_them_alone() -> None:
    # within layers 0-2, 3-5 and 6-9; the steps 2-3 and 5-6 lie in no third
    np.testing.assert_allclose(mean_absolute_difference_by_thirds(CURVE), [(3 + 2) / 2, (5 + 1) / 2, (3 + 4 + 0.5) / 3])


def test_many_curves_at_once() -> None:
    curves = np.random.default_rng(0).normal(size=(2, 4, 9))
    thirds = mean_absolute_difference_by_thirds(curves)
    assert thirds.shape == (2, 4, 3)
    for row, start in enumerate((0, 3, 6)):
        one = curves[1, 2]
        by_hand = (abs(one[start + 1] - one[start]) + abs(one[start + 2] - one[start + 1])) / 2
        assert thirds[1, 2, row] == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("layers", "thirds"),
    [(1, [[], [], [0]]), (4, [[0], [1], [2, 3]]), (5, [[0], [1, 2], [3, 4]]), (30, [[*range(10)], [*range(10, 20)]])],
)
def test_thirds_of_depth(layers: int, thirds: list[list[int]]) -> None:
    found = [list(range(layers))[third] for third in thirds_of(layers)]
    assert found[: len(thirds)] == thirds
    assert [layer for third in found for layer in third] == list(range(layers))


def test_a_third_without_two_neighbours_has_no_value() -> None:
    holes = CURVE.copy()
    holes[[4, 7]] = np.nan  # 3-5 keeps no neighbours; of 6-9 the step 8-9 is left
    np.testing.assert_allclose(mean_absolute_difference_by_thirds(holes), [2.5, np.nan, 0.5])
    assert np.isnan(mean_absolute_difference_by_thirds(CURVE[:1])).all()


def test_relative_difference_has_no_value_over_zero() -> None:
    np.testing.assert_allclose(relative_difference(np.array([3.0, 1.0]), np.array([2.0, 0.0])), [0.5, np.nan])
