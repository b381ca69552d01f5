import math
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradprism.figures.ticks import add_minor_ticks, number_label, set_logarithmic, set_whole


def panel(width: float = 1.2, height: float = 1.0) -> Axes:
    """A panel of so many inches, with letters as small as in papers."""
    axes = Figure(figsize=(width, height)).add_axes((0, 0, 1, 1))
    axes.tick_params(labelsize=7.5, labelfontfamily="STIXGeneral")
    return axes


def shown_ticks(axes: Axes) -> list[float]:
    low, high = axes.get_xlim()
    return [float(tick) for tick in axes.get_xticks() if low <= tick <= high]


def labels(axes: Axes) -> list[str]:
    axes.figure.draw_without_rendering()
    low, high = axes.get_xlim()
    return [text.get_text() for text in axes.get_xticklabels() if low <= text.get_position()[0] <= high]


@pytest.mark.parametrize("width", [0.9, 2.5])
@pytest.mark.parametrize("factor", [1.01, 1.36, 3.0, 7.5, 30.0, 1e3, 1e8])
@pytest.mark.parametrize("low", [1e-9, 0.88, 474.0, 9.1e5])
@pytest.mark.slow
def test_log_ticks_fit_their_room(low: float, factor: float, width: float) -> None:
    axes = panel(width)
    axes.plot([low, low * factor], [0, 1])
    set_logarithmic(axes.xaxis)
    axes.figure.draw_without_rendering()
    least, greatest = axes.get_xlim()
    assert least < low < low * factor < greatest
    shown = [text for text in axes.get_xticklabels() if least <= text.get_position()[0] <= greatest]
    assert len({text.get_text() for text in shown}) == len(shown) > 0
    boxes = [text.get_window_extent() for text in shown]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize("last", [1, 2, 11, 29, 79])
def test_layers_are_whole_numbers(last: int) -> None:
    axes = panel()
    axes.plot([0, last], [0, 1])
    set_whole(axes.xaxis)
    ticks = shown_ticks(axes)
    assert len(ticks) >= 2
    assert all(tick == int(tick) for tick in ticks)


def test_a_logarithmic_axis_shows_what_is_above_zero() -> None:
    axes, positive = panel(), panel()
    for one, values in ((axes, [0.0, 1.0, 100.0]), (positive, [1.0, 100.0])):
        set_logarithmic(one.xaxis)
        one.plot(values, values)
    assert axes.get_xlim() == pytest.approx(positive.get_xlim())


def log_panel(low: float, high: float, width: float = 1.2) -> Axes:
    axes = panel(width)
    set_logarithmic(axes.xaxis)
    axes.set_xlim(low, high)
    add_minor_ticks(axes.xaxis)
    return axes


def test_a_logarithmic_axis_has_ticks_without_labels_at_2_to_9() -> None:
    axes = log_panel(0.75, 130)  # labelled: 1, 10, 100
    assert shown_ticks(axes) == [1, 10, 100]
    minor = [tick for tick in axes.xaxis.get_minorticklocs() if 0.75 <= tick <= 130]
    assert minor == pytest.approx([0.8, 0.9, *range(2, 10), *range(20, 100, 10)])
    assert not any(axes.xaxis.get_minor_formatter()(tick) for tick in minor)
    linear = panel()
    add_minor_ticks(linear.xaxis)
    assert len(linear.xaxis.get_minorticklocs()) == 0


def test_over_many_decades_only_powers_of_ten_have_ticks() -> None:
    axes = log_panel(0.9e-6, 1.1e6)
    places = [*shown_ticks(axes), *axes.xaxis.get_minorticklocs()]
    inside = sorted(place for place in places if 0.9e-6 <= place <= 1.1e6)
    assert inside == pytest.approx([10.0**power for power in range(-6, 7)])


def test_missing_values_do_not_move_an_axis() -> None:
    axes, alone = panel(), panel()
    axes.plot([math.nan, 1.0, 2.0, math.inf], [0, 0, 1, 1])
    alone.plot([1.0, 2.0], [0, 1])
    assert axes.get_xlim() == alone.get_xlim()


def test_numbers_read_as_they_are() -> None:
    assert labels(log_panel(0.009, 110, 2)) == ["0.01", "0.1", "1", "10", "100"]
    assert labels(log_panel(0.88, 1.21, 1.6)) == ["0.9", "1", "1.1", "1.2"]
    assert labels(log_panel(0.9, 12, 3)) == ["1", "2", "5", "10"]
    assert number_label(10_000) == "10,000"
    assert number_label(1e6) == "$10^{6}$"
    assert number_label(2e-5) == r"$2 \times 10^{−5}$"
    assert np.all([len(number_label(value)) <= 6 for value in (0.001, 0.02, 12.5, 50_000)])
