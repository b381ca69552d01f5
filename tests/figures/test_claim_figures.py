"""A claim over many contrasts: nothing overlaps, numbers are the table's, what is no evidence is drawn as such."""

import math
from typing import Any

import polars as pl
import pytest
from matplotlib.lines import Line2D
from overlaps import faults

from gradprism.figures.claims import claim_plot
from gradprism.figures.files import make
from gradprism.figures.plot import Missing, Plot
from gradprism.figures.styles import STYLES, style_named

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


def plot_of(made: pl.DataFrame, cut: dict[str, int] | None = None) -> Plot:
    plot = claim_plot("quality", "Better data rank higher", made, "whole", cut or {})
    assert isinstance(plot, Plot)
    return plot


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("cut", [{}, {"first-4": 4}, {"first-16": 16, "first-1": 1}, {"a": 1, "b": 2, "c": 3, "d": 4}])
@pytest.mark.parametrize(("models", "times"), [(1, 1), (2, 5), (4, 2)])
def test_nothing_overlaps(style: str, cut: dict[str, int], models: int, times: int) -> None:
    names = tuple(f"{name} {i}" for i in range(times) for name in CONTRASTS)
    made = table(models, ("whole", *cut), names)
    assert faults(make(plot_of(made, cut), style_named(style))) == []


def test_numbers_are_ratios_of_the_table() -> None:
    data = plot_of(table(1, ("whole", "first-4")), {"first-4": 4}).data
    assert data["control"].unique(maintain_order=True).to_list() == [
        "as it is", "matched in length", "regression on length", "first 4 tokens",
    ]  # fmt: skip
    found = data.row(by_predicate=(pl.col("control") == "as it is") & (pl.col("contrast") == "s1-gsm8k"), named=True)
    assert (found["value"], found["low"], found["high"]) == pytest.approx(
        (math.exp(-0.3), math.exp(-0.5), math.exp(0.0))
    )


def test_regressions_that_extrapolate_are_hollow() -> None:
    plot = plot_of(table(1))
    assert data_of(plot, "regression on length") == [False, True, False, True]
    assert not any(data_of(plot, "as it is"))
    panel = make(plot, style_named("neurips")).axes[2]
    marks = [line for line in panel.get_lines() if line.get_marker() not in ("None", None, "")]
    assert [is_hollow(mark) for mark in marks] == [False, True, False, True]
    assert "Hollow" in plot.caption


def data_of(plot: Plot, control: str) -> list[bool]:
    return plot.data.filter(control=control)["extrapolates"].to_list()


def is_hollow(mark: Line2D) -> bool:
    return mark.get_markerfacecolor() == "white"


def test_contrasts_without_a_ratio_are_named() -> None:
    made = pl.concat([table(1), pl.DataFrame([row("model-0", "whole", "of-zeros", 0, regression_scale="linear")])])
    assert "Without a ratio, since a value is not above 0: of-zeros." in plot_of(made).caption
    only = made.filter(contrast="of-zeros")
    assert isinstance(claim_plot("quality", "Better", only, "whole", {}), Missing)
    assert isinstance(claim_plot("quality", "Better", pl.DataFrame(), "whole", {}), Missing)
