"""Axes with a known number of round ticks: as many as there is room for, so that labels never touch."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullFormatter

_MOST_DECADES = 8  # with ticks within them


@dataclass(frozen=True)
class Scale:
    """The limits of an axis and its ticks with their labels."""

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    log: bool = False

    @property
    def gap(self) -> float:
        """The least distance of two ticks as a share of the axis; 1 for fewer than two."""
        low, high, *ticks = (
            np.log([self.low, self.high, *self.ticks]) if self.log else (self.low, self.high, *self.ticks)
        )
        return float(min(np.diff(ticks), default=high - low) / (high - low))

    @property
    def minor(self) -> tuple[float, ...]:
        """Ticks without labels, by which a logarithmic axis is known: at 2 to 9 times each power of ten."""
        if not self.log:
            return ()
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = range(1, 10) if len(powers) <= _MOST_DECADES else (1,)
        places = [step * 10.0**power for power in powers for step in steps]
        labelled = [place for place in places if any(math.isclose(place, tick) for tick in self.ticks)]
        return tuple(place for place in places if self.low <= place <= self.high and place not in labelled)


def scale_for(values: Iterable[float | None], most: int, log: bool = False, zero: bool = False) -> Scale:
    """An axis that shows all values, with at most `most` ticks; a logarithmic one those above 0.

    `zero` makes a linear axis show zero, too. Missing and infinite values are left out.
    """
    shown = [float(value) for value in values if value is not None and math.isfinite(value)]
    if log and (positive := [value for value in shown if value > 0]):
        return log_scale(min(positive), max(positive), most)
    shown = [*shown, 0.0] if zero or not shown else shown
    return linear_scale(min(shown), max(shown), most)


_NOTHING = 1e-300  # twentieths of less are no numbers any more


def linear_scale(low: float, high: float, most: int, whole: bool = False) -> Scale:
    """A linear axis with a margin of 5%; `whole` has ticks at whole numbers alone, and none in the margin."""
    reach, size = high - low, max(abs(low), abs(high))
    margin = 0.05 * (10.0 if size < _NOTHING else reach if reach > 1e-6 * size else abs(low))
    inside = (low, high) if whole else (low - margin, high + margin)
    low, high = low - margin, high + margin
    ticks = _linear_ticks(*inside, most, whole)
    return Scale(low, high, tuple(ticks), tuple(_linear_labels(ticks)))


def log_scale(low: float, high: float, most: int) -> Scale:
    """A logarithmic axis of positive values: ticks at 1, 2, 5; 1, 3; 1; or some powers of ten, as there is room."""
    margin = (high / low) ** 0.05 if high > low * (1 + 1e-6) else 1.3
    low, high = low / margin, high * margin
    ticks = _log_ticks(low, high, most)
    labels = _linear_labels(ticks) if high < 10 * low else [_log_label(tick) for tick in ticks]
    return Scale(low, high, tuple(ticks), tuple(labels), log=True)


def set_x(axes: Axes, scale: Scale) -> None:
    """Put a scale on the horizontal axis."""
    axes.set_xscale("log" if scale.log else "linear")
    axes.set_xlim(scale.low, scale.high)
    _set_ticks(axes.xaxis, scale)


def set_y(axes: Axes, scale: Scale, labels: bool = True) -> None:
    """Put a scale on the vertical axis; without labels where the panel to the left has the same."""
    axes.set_yscale("log" if scale.log else "linear")
    axes.set_ylim(scale.low, scale.high)
    _set_ticks(axes.yaxis, scale)
    axes.tick_params(axis="y", labelleft=labels)


def _set_ticks(axis: Axis, scale: Scale) -> None:
    axis.set_major_locator(FixedLocator(scale.ticks))
    axis.set_major_formatter(FixedFormatter(scale.labels))
    axis.set_minor_locator(FixedLocator(scale.minor))
    axis.set_minor_formatter(NullFormatter())


def _linear_ticks(low: float, high: float, most: int, whole: bool) -> list[float]:
    """Round steps, as many as there is room for."""
    for intervals in range(most + 1, 0, -1):
        places = MaxNLocator(nbins=intervals, steps=[1, 2, 2.5, 5, 10], integer=whole, min_n_ticks=1)
        ticks = [float(tick) for tick in places.tick_values(low, high) if low <= tick <= high]
        if len(ticks) <= most:
            return ticks
    return ticks[:1]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """As many as stand far enough apart: of one kind within a decade, of the usual kinds over several."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [(1, 2, 5), (1, 3), (1,)] if high >= 10 * low else [(1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5), (1, 2, 5)]
    kinds = [[step * 10.0**power for power in powers for step in some] for some in steps]
    kinds += [[10.0**power for power in powers if power % every == 0] for every in range(2, len(powers) + 2)]
    if high < 10 * low:
        kinds += [_linear_ticks(low, high, fewer, whole=False) for fewer in range(most, 1, -1)]
    inside = [[tick for tick in kind if low <= tick <= high] for kind in kinds]
    apart = math.log(high / low) / most
    return max((kind for kind in inside if _least_gap(kind) >= apart), key=len, default=[])


def _least_gap(ticks: Sequence[float]) -> float:
    return min(np.diff(np.log(ticks)), default=math.inf)


def _linear_labels(ticks: Sequence[float]) -> list[str]:
    """With the same number of decimals; times a power of ten where all are large or small."""
    largest = max((abs(tick) for tick in ticks), default=0.0)
    step = float(min(np.diff(ticks), default=largest))
    if largest and (largest >= 1e6 or step < 1e-4):
        power = math.floor(math.log10(largest) + 1e-9)
        digits = _decimals(step / 10.0**power)
        return [_times_ten(tick / 10.0**power, power, digits) for tick in ticks]
    digits = max(_decimals(step), 0 if len(ticks) > 1 else _decimals(largest))
    return [f"{tick:,.{digits}f}".replace("-", "−") if abs(tick) > step / 2 else "0" for tick in ticks]


def _decimals(step: float) -> int:
    """So many that no digit of a round number is lost."""
    return next((digits for digits in range(12) if abs(round(step, digits) - step) <= 1e-6 * step), 12)


def _log_label(tick: float) -> str:
    if 1e-3 <= tick < 1e6:
        return f"{tick:,.{_decimals(tick)}f}"
    power = math.floor(math.log10(tick) + 1e-9)
    return _times_ten(tick / 10.0**power, power, 0)


def _times_ten(factor: float, power: int, digits: int) -> str:
    """A number as mathematics: 2·10³, and 10³ rather than 1·10³."""
    shown = f"{factor:.{digits}f}"
    if float(shown) == 0:
        return "0"
    return f"$10^{{{power}}}$" if float(shown) == 1 else rf"${shown}{{\cdot}}10^{{{power}}}$"
