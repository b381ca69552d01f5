"""Made-up comparisons with length controls, each effect with numbers of its own."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from tests.made_comparisons import made_comparison

from gradprism.comparison.comparison import Comparison

NO_SUPPORT = {"weighted_n_first": 20.0, "weighted_n_second": 4.9, "weighted_imbalance": 0.01}
ENDS = {
    "raw_effect": "raw_effect",
    "weighted_effect": "weighted",
    "matched_effect": "matched",
    "window_effect": "window",
}


def length_controlled(made: Comparison, *, windows: bool = False, **columns: float | None) -> Comparison:
    """The comparison with effects, intervals and adjusted p of all controls at random, and columns set as given."""
    rng, n = np.random.default_rng(3), made.effects.height
    numbers: dict[str, np.ndarray | float] = {
        "weighted_n_first": 31.2, "weighted_n_second": 24.4, "weighted_imbalance": 0.02,
        "q": rng.uniform(size=n) ** 3, "weighted_q": rng.uniform(size=n) ** 3,
    }  # fmt: skip
    for effect, ends in ENDS.items():
        if windows or ends != "window":
            numbers[effect] = rng.normal(0, 0.15, n)
            numbers |= {f"{ends}_low": numbers[effect] - 0.2, f"{ends}_high": numbers[effect] + rng.uniform(0, 0.2, n)}
    if windows:
        numbers |= {"window_q": 0.5, "window_tokens": 4, "window_n_first": 17, "window_n_second": 19}
    table = made.effects
    values = {name: pl.lit(pl.Series(each) if isinstance(each, np.ndarray) else each) for name, each in numbers.items()}
    values |= {name: pl.lit(each) for name, each in columns.items()}
    return replace(made, effects=table.with_columns(v.cast(table.schema[k]).alias(k) for k, v in values.items()))


def controlled_comparison(
    groups: Sequence[str] = ("high", "low"), n: int = 60, layers: int = 6, *, windows: bool = False
) -> Comparison:
    """A made-up comparison with length controls."""
    return length_controlled(made_comparison(groups, n=n, layers=layers), windows=windows)


def factors(row: dict, control: str) -> tuple[float, float, float]:
    """A control's ratio and the ends of its interval in a row of EFFECTS."""
    names = (control, f"{ENDS[control]}_low", f"{ENDS[control]}_high")
    return tuple(math.exp(row[name]) for name in names)  # type: ignore[return-value]
