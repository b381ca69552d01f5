import math

import numpy as np
import pytest
from hypothesis import example, given, strategies
from matplotlib.figure import Figure

from gradprism.figures.ticks import linear_scale, log_scale, scale_for, set_x, set_y

VALUES = strategies.floats(1e-9, 1e9)


@given(VALUES, strategies.floats(1.0, 1e8), strategies.integers(2, 8))
def test_log_ticks_fit_their_room(low: float, factor: float, most: int) -> None:
    scale = log_scale(low, low * factor, most)
    assert scale.low < low
    assert low * factor < scale.high
    assert len(set(scale.labels)) == len(scale.ticks) <= most + 1
    gaps = np.diff(np.log(scale.ticks))
    assert (gaps >= math.log(scale.high / scale.low) / most * (1 - 1e-9)).all()


@given(strategies.floats(-1e6, 1e6), strategies.floats(0, 1e6), strategies.integers(2, 8))
@example(5e-324, 0.0, 2)
@example(0.0, 5e-324, 2)
def test_linear_ticks_are_inside_and_no_more_than_fit(low: float, reach: float, most: int) -> None:
    scale = linear_scale(low, low + reach, most)
    assert scale.low < scale.high
    assert len(scale.ticks) <= most
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks)
    assert len(set(scale.labels)) == len(scale.labels)


@pytest.mark.parametrize("last", [1, 2, 11, 29, 79])
def test_layers_are_whole_numbers(last: int) -> None:
    scale = linear_scale(0, last, 8, whole=True)
    assert len(scale.ticks) >= 2
    assert all(tick == int(tick) for tick in scale.ticks)


def test_a_logarithmic_axis_shows_what_is_above_zero() -> None:
    assert scale_for([0.0, 1.0, 100.0], 5, log=True) == log_scale(1.0, 100.0, 5)
    assert not scale_for([0.0, -1.0], 5, log=True).log
    assert not scale_for([1.0, 1000.0], 5).log


def test_a_logarithmic_axis_has_ticks_without_labels_at_2_to_9() -> None:
    axes = Figure().subplots()
    set_y(axes, log_scale(1, 100, 3))  # labelled: 1, 10, 100
    assert axes.yaxis.get_minorticklocs() == pytest.approx([0.8, 0.9, *range(2, 10), *range(20, 100, 10)])
    assert not any(axes.yaxis.get_minor_formatter()(place) for place in axes.yaxis.get_minorticklocs())
    set_y(axes, linear_scale(1, 100, 3))
    assert len(axes.yaxis.get_minorticklocs()) == 0


def test_over_many_decades_only_powers_of_ten_have_ticks() -> None:
    assert log_scale(1e-6, 1e6, 4).minor == pytest.approx(
        [10.0**power for power in range(-6, 7) if 10.0**power not in log_scale(1e-6, 1e6, 4).ticks]
    )


def test_missing_values_do_not_move_an_axis() -> None:
    assert scale_for([None, 1.0, math.nan, 2.0, math.inf], 5) == scale_for([1.0, 2.0], 5)
    assert scale_for([None], 5).low < scale_for([], 5).high


def test_numbers_read_as_they_are() -> None:
    assert linear_scale(0, 1, 6).labels[:2] == ("0", "0.2")
    assert linear_scale(-0.05, 0.05, 5).labels[0] == "−0.04"
    assert linear_scale(0, 2e7, 5).labels == (
        "0",
        "$0.5{\\cdot}10^{7}$",
        "$10^{7}$",
        "$1.5{\\cdot}10^{7}$",
        "$2.0{\\cdot}10^{7}$",
    )
    assert "$10^{6}$" in log_scale(1e5, 1e7, 5).labels
    assert log_scale(0.01, 100, 5).labels == ("0.01", "0.1", "1", "10", "100")


def test_scales_are_put_on_axes() -> None:
    axes = Figure().subplots()
    set_x(axes, log_scale(1, 1000, 5))
    set_y(axes, linear_scale(0, 1, 3), labels=False)
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[1] > 1000
    assert not any(label.get_visible() for label in axes.get_yticklabels())
