"""A claim over many contrasts: nothing overlaps, numbers are the table's, what is no evidence is drawn as such."""

import math
from typing import Any

import polars as pl
import pytest
from matplotlib.lines import Line2D
from overlaps import faults

from gradprism.figures.files import make
from gradprism.figures.plot import Missing, Plot
from gradprism.figures.styles import STYLES, style_named
from gradprism.study.claim_figures import claim_plot

CONTRASTS = ("wiz-ifd-qwen7b", "s1-gsm8k", "a very long name of a contrast of two sets", "漢字-かな")


def row(model: str, text: str, contrast: str, place: int, **changes: Any) -> dict[str, Any]:
    effects = {"raw_effect": 0.2 * place - 0.5, "matched_effect": 0.1 * place, "weighted_effect": -0.3}
    ends = {f"{name}_{end}": effect + step for name, effect in (
        ("raw_effect", effects["raw_effect"]), ("matched", effects["matched_effect"]),
        ("weighted", effects["weighted_effect"])) for end, step in (("low", -0.2), ("high", 0.3))}  # fmt: skip
    return {
        "model": model, "text": text, "contrast": contrast, "first": "a", "second": "b", "measure": "effective_rank",
        "regression_scale": "log", "regression_n": 80, "matched_pairs": 12, "support": place % 2 == 0,
        "weighted_n_first": 20.2, "weighted_n_second": 11.1, **effects, **ends,
    } | changes  # fmt: skip


def table(
    n_models: int = 2, texts: tuple[str, ...] = ("whole",), contrasts: tuple[str, ...] = CONTRASTS
) -> pl.DataFrame:
    return pl.DataFrame([
        row(f"model-{m}", text, contrast, place)
        for m in range(n_models) for text in texts for place, contrast in enumerate(contrasts)
    ])  # fmt: skip


def plot_of(made: pl.DataFrame, cut: dict[str, str] | None = None) -> Plot:
    plot = claim_plot("quality", "Better data rank higher", made, "whole", cut or {})
    assert isinstance(plot, Plot)
    return plot


CUTS = [{}, {"first-4": "four"}, {"first-16": "sixteen", "first-1": "one"}, dict.fromkeys("abcd", "")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("style", "cut"),
    [
        pytest.param([*STYLES][(place + half) % len(STYLES)], cut, marks=pytest.mark.exhaustive if half else ())
        for place, cut in enumerate(CUTS)
        for half in (0, 2)
    ],
)
@pytest.mark.parametrize(
    ("models", "times"),
    [(4, 2), *(pytest.param(*size, marks=pytest.mark.exhaustive) for size in ((1, 1), (2, 5)))],
)
def test_nothing_overlaps(style: str, cut: dict[str, str], models: int, times: int) -> None:
    names = tuple(f"{name} {i}" for i in range(times) for name in CONTRASTS)
    made = table(models, ("whole", *cut), names)
    assert faults(make(plot_of(made, cut), style_named(style))) == []


def test_numbers_are_ratios_of_the_table() -> None:
    data = plot_of(table(1, ("whole", "first-4")), {"first-4": "four"}).data
    assert data["control"].unique(maintain_order=True).to_list() == [
        "raw", "overlap weights", "matched pairs", "first-4",
    ]  # fmt: skip
    assert data.group_by("control", maintain_order=True).agg(pl.col("n").unique())["n"].to_list() == [
        [80], [31], [12], [80],
    ]  # fmt: skip
    found = data.row(by_predicate=(pl.col("control") == "raw") & (pl.col("contrast") == "s1-gsm8k"), named=True)
    assert (found["value"], found["low"], found["high"]) == pytest.approx(
        (math.exp(-0.3), math.exp(-0.5), math.exp(0.0))
    )


def test_weights_without_common_support_are_hollow() -> None:
    plot = plot_of(table(1))
    assert support_of(plot, "overlap weights") == [True, False, True, False]
    assert all(support_of(plot, "raw") + support_of(plot, "matched pairs"))
    panel = make(plot, style_named("neurips")).axes[1]
    marks = [line for line in panel.get_lines() if line.get_marker() not in ("None", None, "")]
    assert [is_hollow(mark) for mark in marks] == [False, True, False, True]
    assert "Hollow" in plot.caption


def test_intervals_without_common_support_do_not_widen_the_axis() -> None:
    wide = {"weighted_low": -40.0, "weighted_high": 40.0}
    limits = []
    for supported in (False, True):
        made = pl.DataFrame([row("m", "whole", "c", 0, support=supported, **wide)])
        limits.append(make(plot_of(made), style_named("neurips")).axes[0].get_xlim())
    assert math.exp(-1) < limits[0][0] < limits[0][1] < math.exp(1)
    assert limits[1][0] < math.exp(-40) < math.exp(40) < limits[1][1]


def test_a_measure_without_ratios_is_drawn_as_differences() -> None:
    """An effect of -0.5 is -0.5, on an axis with a line at 0."""
    made = pl.DataFrame([row("m", "whole", "c", 0, measure="leading_share", regression_scale="linear")])
    plot = plot_of(made)
    assert plot.data.filter(control="raw").select("value", "low", "high").row(0) == pytest.approx((-0.5, -0.7, -0.2))
    assert "Difference of the means of leading share" in plot.caption
    axes = make(plot, style_named("neurips")).axes[0]
    assert axes.get_xscale() == "linear"
    assert 0.0 in [line.get_xdata()[0] for line in axes.get_lines()]


def support_of(plot: Plot, control: str) -> list[bool]:
    return plot.data.filter(control=control)["support"].to_list()


def is_hollow(mark: Line2D) -> bool:
    return mark.get_markerfacecolor() == "white"


def test_separations_are_drawn_as_differences() -> None:
    made = pl.DataFrame([
        {"model": m, "text": text, "contrast": c, "projection": p, "n_first": 9, "difference": 0.1,
         "difference_low": 0.0, "difference_high": 0.2, "held_difference": -0.1,
         "held_difference_low": -0.2, "held_difference_high": 0.0, "held_extrapolates": c == "b"}
        for m in ("x", "y") for text in ("whole", "w") for c in ("a", "b") for p in ("q", "mean")
    ])  # fmt: skip
    plot = plot_of(made, {"w": "how"})
    assert plot.data["control"].unique(maintain_order=True).to_list() == ["raw", "length regressed out", "w"]
    assert plot.data.height == 3 * 2 * 2
    assert support_of(plot, "length regressed out") == [True, False, True, False]
    assert faults(make(plot, style_named("acl"))) == []
    assert "w: how." in plot.caption


def test_cosines_have_a_panel_for_each_pair() -> None:
    made = pl.DataFrame([
        {"model": m, "text": text, "set": s, "contrast": f"{s} {p}", "pair": p, "n": 9, "median_abs": 0.05,
         "median_abs_low": 0.04, "median_abs_high": 0.06}
        for m in ("x", "y") for text in ("whole", "w") for s in CONTRASTS for p in ("q", "k", "v", "o")
    ])  # fmt: skip
    plot = plot_of(made, {"w": "how"})
    assert plot.data["control"].unique(maintain_order=True).to_list() == ["q", "k", "v", "o"]
    assert plot.data["contrast"].unique(maintain_order=True).to_list() == [*CONTRASTS]
    assert faults(make(plot, style_named("neurips"))) == []


def test_curves_and_changes_are_drawn() -> None:
    curves = pl.DataFrame({
        "model": ["all"], "text": ["whole"], "contrast": ["nuclear_norm different family"],
        "measure": ["nuclear_norm"], "kind": ["different family"],
        "n_pairs": [12], "below_same_model": [0.3], "below_low": [0.1], "below_high": [0.5]})  # fmt: skip
    assert plot_of(curves).data["value"].to_list() == [0.3]
    assert plot_of(curves).data["contrast"].to_list() == ["nuclear norm, different family"]
    changes = pl.DataFrame({
        "model": ["x", "y"], "text": ["whole"] * 2, "contrast": ["a"] * 2, "projection": ["mean"] * 2,
        "measure": ["mad:nuclear_norm"] * 2, "mean_first": [2.0, 3.0],
        "first_low": [1.0, None], "first_high": [4.0, None],
        "mean_second": [5.0, 0.0], "second_low": [4.0, 0.0], "second_high": [6.0, 0.0]})  # fmt: skip
    data = plot_of(changes).data
    assert data["control"].to_list() == ["first set", "first set", "second set"]  # a MAD of 0 has no logarithm
    assert data["value"].to_list() == pytest.approx([2.0, 3.0, 5.0])
    assert data["high"].to_list()[0] == pytest.approx(4.0)
    for made in (curves, changes):
        assert faults(make(plot_of(made), style_named("icml"))) == []


def test_without_a_number_nothing_is_drawn() -> None:
    nothing = dict.fromkeys(("raw_effect", "weighted_effect", "matched_effect"))
    for made in (pl.DataFrame(), pl.DataFrame([row("m", "whole", "of-zeros", 0, **nothing)])):
        assert isinstance(claim_plot("quality", "Better", made, "whole", {}), Missing)
