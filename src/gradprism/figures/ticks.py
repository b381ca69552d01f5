"""Logarithmic axes with ticks at round numbers, as many as have room, and labels that read as plain numbers.

Linear axes keep matplotlib's own ticks. Its logarithmic ones label powers of ten alone, or too much within one decade.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axis import Axis, XAxis
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    ScalarFormatter,
)

_ROUND_STEPS = [1, 2, 2.5, 5, 10]
_MOST_WITH_MINOR = 1e6  # highest over lowest value of an axis with ticks between powers of ten
_SMALLEST_DECIMAL, _LARGEST_DECIMAL = 1e-3, 1e5


class RoundLogLocator(LogLocator):
    """Ticks at 1, 2, 5 or at 1, 3 of each decade, at powers of ten, or at even steps within a decade, as they fit."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Return round numbers from below `vmin` to above `vmax`."""
        plain = vmin >= _SMALLEST_DECIMAL and vmax < _LARGEST_DECIMAL
        most = max(1, self.axis.get_tick_space() // (1 if plain else 2))  # type: ignore[union-attr]
        decades = math.log10(vmax / vmin)
        if decades < 1 and not 0.7 <= decades <= 0.3 * most:
            return _even_ticks(vmin, vmax, most)
        # The least distances are log10(2) = 0.3 decades between 1, 2, 5, and log10(3) = 0.47 between 1, 3.
        self.set_params(subs=(1, 2, 5) if decades <= 0.3 * most else (1, 3) if decades <= 0.47 * most else (1,))
        return super().tick_values(vmin, vmax)


def _even_ticks(low: float, high: float, most: int) -> list[float]:
    """Return ticks at even steps, as many as stand apart by a share 1 / `most` of the logarithmic axis."""
    apart = 0.9 * math.log(high / low) / most
    for intervals in range(most, 0, -1):
        places = MaxNLocator(intervals, steps=_ROUND_STEPS).tick_values(low, high)
        ticks = [tick for tick in places if low <= tick <= high]
        if all(math.log(right / left) >= apart for left, right in pairwise(ticks)):
            return ticks
    return ticks[:1]


def set_logarithmic(axis: Axis) -> None:
    """Make an axis logarithmic, with labels at round numbers."""
    set_scale = axis.axes.set_xscale if isinstance(axis, XAxis) else axis.axes.set_yscale
    set_scale("log")
    axis.set_major_locator(RoundLogLocator())
    axis.set_major_formatter(FuncFormatter(number_label))
    axis.set_minor_locator(NullLocator())


def fix_ticks(axis: Axis) -> bool:
    """Fix the ticks inside an axis; returns whether they differ from those that were last laid out."""
    ticks = axis.get_majorticklocs()
    changed = [tick.get_loc() for tick in axis.get_major_ticks(len(ticks))] != list(ticks)
    low, high = sorted(axis.get_view_interval())
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    return changed


def add_minor_ticks(axis: Axis) -> None:
    """Put ticks without labels at 1 to 9 times each power of ten of a logarithmic axis, if few, after its layout."""
    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        axis.set_minor_locator(LogLocator(subs=range(1, 10) if high < _MOST_WITH_MINOR * low else (1,), numticks=100))
        axis.set_minor_formatter(NullFormatter())


def set_whole(axis: Axis) -> None:
    """Put ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator("auto", integer=True, steps=_ROUND_STEPS))


def number_label(value: float, _: int | None = None) -> str:
    r"""Return a positive number as a decimal, or as a power of ten where that is shorter.

    >>> number_label(0.01), number_label(10_000), number_label(3e6)
    ('0.01', '10,000', '$3 \\times 10^{6}$')
    """
    if _SMALLEST_DECIMAL <= value < _LARGEST_DECIMAL:
        return f"{value:,g}"
    return f"${ScalarFormatter(useMathText=True).format_data(value)}$"
