"""Ratios of two groups, raw and under each length control, as figures draw them and captions speak of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.findings import margin_of
from gradprism.comparison.length_controls import (
    SIGNS,
    Row,
    controls,
    deciding_control,
    is_paired,
    number_of_rows,
    raw_difference,
)
from gradprism.figures.marks import Mark
from gradprism.prism.measures import MAIN_MEASURES, MEAN

RAW, WEIGHTED, MATCHED, WINDOWS, PAIRED = "raw", "overlap weights", "matched pairs", "windows", "paired"
CONTROL_MARKS: Mapping[str, Mark] = {  # in the order in which they stand under each other
    RAW: Mark("o", filled=False),
    WEIGHTED: Mark("o"),
    MATCHED: Mark("D", size=0.65),
    WINDOWS: Mark("s", size=0.65),
    PAIRED: Mark("o"),
}
_SIZES = {  # columns of EFFECTS: how many rows, effective rows or pairs an estimate is of
    RAW: ("n_first", "n_second"),
    WEIGHTED: ("weighted_n_first", "weighted_n_second"),
    MATCHED: ("matched_pairs", "matched_pairs"),
    WINDOWS: ("window_n_first", "window_n_second"),
    PAIRED: ("paired_rows", "paired_rows"),
}
_KEYS = ("first", "second", "measure", "projection", "layer")
_SCHEMA = {
    **dict.fromkeys(_KEYS[:4], pl.String),
    "layer": pl.Int16,
    "control": pl.String,
    "n_first": pl.Float64,
    "n_second": pl.Float64,
    **dict.fromkeys(("value", "low", "high", "p_adjusted"), pl.Float64),
    **dict.fromkeys(("significant", "support", "decides"), pl.Boolean),
}


def main_measures(comparison: Comparison) -> list[str]:
    """Return the measures that figures of effects are of: the main ones, or the first two where none was compared."""
    return [name for name in MAIN_MEASURES if name in comparison.measures] or list(comparison.measures[:2])


def ratios(comparison: Comparison, *where: pl.Expr) -> pl.DataFrame:
    """Return a row for each ratio of geometric means in rows of EFFECTS: raw, then each length control, or paired.

    `where` selects rows of EFFECTS. `n_first` and `n_second` are rows, effective rows or pairs; `significant` is true
    where the control finds a difference, `support` where there is common support in length, and `decides` for the
    control on which the verdict rests.
    """
    rows = comparison.effects.filter(pl.col("regression_scale") == "log", *where)
    margin = margin_of(comparison.about)
    found = [ratio for row in rows.iter_rows(named=True) for ratio in _ratios_of(row, margin)]
    ends = ("value", "low", "high")
    return pl.DataFrame(found, schema=_SCHEMA, orient="row").with_columns(pl.col(ends).exp())


def layer_mean() -> pl.Expr:
    """Select the rows of EFFECTS that are means over layers."""
    return pl.col("layer").is_null()


def of_contrast(first: str, second: str) -> pl.Expr:
    """Select the rows of EFFECTS of one contrast."""
    return (pl.col("first") == first) & (pl.col("second") == second)


def _ratios_of(row: Row, margin: float) -> Iterator[tuple[Any, ...]]:
    length_controls = controls(row, margin)
    deciding = deciding_control(length_controls)
    estimates = length_controls if is_paired(row) else (raw_difference(row, margin), *length_controls)
    for control in estimates:
        sizes = (row[column] for column in _SIZES[control.name])
        estimate = (control.effect, control.low, control.high, control.q)
        of = (row[key] for key in _KEYS)
        yield (
            *of,
            control.name,
            *sizes,
            *estimate,
            control.found in SIGNS,
            not control.extrapolates,
            control is deciding,
        )


def sizes_in_words(data: pl.DataFrame, control: str) -> str:
    """Say how many rows or pairs the estimates of a control are of, the fewest; empty where there is no estimate."""
    sizes = data.filter(pl.col("value").is_finite(), control=control).select("n_first", "n_second").unique()
    if sizes.is_empty():
        return ""
    first, second = (number_of_rows(least) for least in sizes.min().row(0))
    rows = "effective rows" if control == WEIGHTED else "rows"
    said = (
        f"{first} {'pairs' if control == MATCHED else 'paired rows'}"
        if control in (MATCHED, PAIRED)
        else f"{first} and {second} {rows}"
    )
    return said if len(sizes) == 1 else f"at least {said}"


def controls_in_words(data: pl.DataFrame) -> str:
    """Say for a caption what each length control is of in the ratios drawn, and which ratios are no evidence."""
    if PAIRED in set(data["control"]):
        return "The rows are the same on both sides, and so are their lengths."
    sizes = {control: sizes_in_words(data, control) for control in (WEIGHTED, MATCHED, WINDOWS)}
    found = "; ".join(f"{control}, {size}" for control, size in sizes.items() if size)
    said = f"Length controls: {found}." if found else "No length-controlled ratio could be computed."
    supported = data.filter(pl.col("value").is_finite())["support"].all()
    return said if supported else f"{said} Pale: no common support in length, which is no evidence."


def projections_of(comparison: Comparison, data: pl.DataFrame) -> Sequence[str]:
    """Return the projections in the data in the order of the comparison, their mean last."""
    return [name for name in (*comparison.projections, MEAN) if name in set(data["projection"])]
