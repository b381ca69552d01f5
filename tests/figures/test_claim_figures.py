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
    effects = {"raw_effect": 0.2 * place - 0.5, "matched_effect": 0.1 * place, "regression_effect": -0.3}
    ends = {f"{name}_{end}": effect + step for name, effect in (
        ("raw_effect", effects["raw_effect"]), ("matched", effects["matched_effect"]),
        ("regression", effects["regression_effect"])) for end, step in (("low", -0.2), ("high", 0.3))}  # fmt: skip
    return {
        "model": model, "text": text, "contrast": contrast, "first": "a", "second": "b", "measure": "effective_rank",
        "regression_scale": "log", "regression_n": 80, "matched_pairs": 12, "overlap": place % 2 == 0,
        **effects, **ends,
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
        "raw", "length-matched", "regression on length", "first-4",
    ]  # fmt: skip
    found = data.row(by_predicate=(pl.col("control") == "raw") & (pl.col("contrast") == "s1-gsm8k"), named=True)
    assert (found["value"], found["low"], found["high"]) == pytest.approx(
        (math.exp(-0.3), math.exp(-0.5), math.exp(0.0))
    )


def test_regressions_that_extrapolate_are_hollow() -> None:
    plot = plot_of(table(1))
    assert data_of(plot, "regression on length") == [False, True, False, True]
    assert not any(data_of(plot, "raw"))
    panel = make(plot, style_named("neurips")).axes[2]
    marks = [line for line in panel.get_lines() if line.get_marker() not in ("None", None, "")]
    assert [is_hollow(mark) for mark in marks] == [False, True, False, True]
    assert "Hollow" in plot.caption


def data_of(plot: Plot, control: str) -> list[bool]:
    return plot.data.filter(control=control)["extrapolates"].to_list()


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
    assert data_of(plot, "length regressed out") == [False, True, False, True]
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


def test_contrasts_without_a_ratio_are_named() -> None:
    made = pl.concat([table(1), pl.DataFrame([row("model-0", "whole", "of-zeros", 0, regression_scale="linear")])])
    assert "Without a ratio, since a value is not above 0: of-zeros." in plot_of(made).caption
    only = made.filter(contrast="of-zeros")
    assert isinstance(claim_plot("quality", "Better", only, "whole", {}), Missing)
    assert isinstance(claim_plot("quality", "Better", pl.DataFrame(), "whole", {}), Missing)
