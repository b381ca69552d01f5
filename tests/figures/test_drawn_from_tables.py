"""What is on paper is what stands in the tables of a comparison: numbers put there by hand, read back from artists."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from tests.made_comparisons import made_comparison

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.decay import decay_table
from gradprism.figures import available, figure
from gradprism.figures.colours import paler, projection_look

pytestmark = pytest.mark.slow  # every figure is drawn, in every style or format

N = 60
V = 2  # its row in a heatmap, from the top


@pytest.fixture(scope="module")
def made() -> Comparison:
    return made_comparison(n=N, layers=6)


def changed(table: pl.DataFrame, where: dict[str, Any], **values: float | None) -> pl.DataFrame:
    """The table with values put into the rows where columns are what they should be."""
    here = pl.all_horizontal(pl.col(name).eq_missing(pl.lit(value)) for name, value in where.items())
    assert table.filter(here).height
    return table.with_columns(
        pl.when(here).then(pl.lit(value)).otherwise(name).cast(table.schema[name]).alias(name)
        for name, value in values.items()
    )


def panel(drawn: Figure, label: str) -> Axes:
    return next(axes for axes in drawn.axes if axes.get_label() == label)


def line(axes: Axes, label: str) -> Line2D:
    return next(line for line in axes.lines if line.get_label() == label)


def cells(axes: Axes) -> np.ndarray:
    mesh = next(item for item in axes.collections if isinstance(item, QuadMesh))
    return np.ma.filled(np.ma.asarray(mesh.get_array(), float), np.nan).reshape(5, 6)


def dotted(axes: Axes) -> set[tuple[int, int]]:
    """Row and column of the cells with a dot."""
    marks = next(item for item in axes.collections if isinstance(item, PathCollection)).get_offsets()
    return {(round(float(y)), round(float(x))) for x, y in np.asarray(marks)}


def most_colourful(axes: Axes) -> float:
    """How far the strongest colour of a heatmap's map is from white: 1 where a channel is empty."""
    mesh = next(item for item in axes.collections if isinstance(item, QuadMesh))
    return 1 - float(np.min(mesh.get_cmap()(np.linspace(0, 1, 9))[:, :3]))


def caption(made: Comparison, name: str) -> str:
    from gradprism.figures.catalogue import catalogue

    return catalogue([made])[name].caption  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "place", "label"),
    [("nuclear-norm", "low", "k"), ("groups-nuclear-norm", "k", "low"), ("four-panels-high-low", "low", "k")],
)
def test_a_mean_and_its_interval_stand_at_their_layer(made: Comparison, name: str, place: str, label: str) -> None:
    row = {"group": "low", "measure": "nuclear_norm", "projection": "k", "layer": 2}
    levels = changed(made.levels, row, mean=1.25, mean_low=1.0, mean_high=1.75)
    axes = panel(figure(replace(made, levels=levels), name)[0], place)
    x, y = line(axes, label).get_data()
    assert y[list(x).index(2)] == 1.25
    bands = [item.get_paths()[0].vertices for item in axes.collections if isinstance(item, PolyCollection)]
    at = [band[band[:, 0] == 2, 1] for band in bands]
    assert any((ends.min(), ends.max()) == (1.0, 1.75) for ends in at)


def test_an_effect_stands_in_its_cell_with_a_dot_where_significant(made: Comparison) -> None:
    row = {"measure": "effective_rank", "projection": "v", "layer": 4}
    effects = changed(made.effects, row, auc=0.8125, q=0.049, partial_spearman=-0.625, partial_q=0.05)
    effects = changed(effects, {**row, "layer": 5}, auc=None, q=0.051, partial_spearman=0.25, partial_q=None)
    effects = changed(effects, {**row, "layer": 3}, auc=0.25, q=0.051, partial_spearman=0.25, partial_q=0.001)
    drawn, _ = figure(replace(made, effects=effects), "effect-heatmap")
    raw, held = (panel(drawn, f"effective_rank|{name}") for name in ("auc", "partial_spearman"))
    assert cells(raw)[V, 3:] == pytest.approx([0.25, 0.8125, math.nan], nan_ok=True)
    assert cells(held)[V, 3:] == pytest.approx([0.25, -0.625, 0.25])
    assert {column for row, column in dotted(raw) if row == V and column >= 3} == {4}
    assert {column for row, column in dotted(held) if row == V and column >= 3} == {3}


@pytest.mark.parametrize(("pairs", "far"), [(15, False), (14, True), (0, True)])
def test_where_groups_hardly_overlap_in_length_controls_are_no_evidence(
    made: Comparison, pairs: int, far: bool
) -> None:
    """A quarter of 60 rows must pair."""
    effects = made.effects.with_columns(matched_pairs=pl.lit(pairs, pl.Int64), partial_q=pl.lit(1e-9))
    made = replace(made, effects=effects)
    drawn, data = figure(made, "effect-heatmap")
    held = panel(drawn, "nuclear_norm|partial_spearman")
    assert len(dotted(held)) == (0 if far else 30)
    assert most_colourful(held) == pytest.approx(0.35 if far else 1, abs=0.02)
    assert most_colourful(panel(drawn, "nuclear_norm|auc")) == pytest.approx(1, abs=0.02)
    assert ("no common support" in held.get_title()) is far
    assert "no common support" not in panel(drawn, "nuclear_norm|auc").get_title()
    assert data.filter(statistic="partial_spearman")["significant"].any() is not far
    forest, _ = figure(made, "effect-forest")
    titles = [panel(forest, f"effective_rank|{name}").get_title() for name in ("matched", "regression", "partial")]
    assert titles[0].replace("\n", " (").rstrip(")") == f"matched in length ({pairs or 'no'} pairs"
    assert ["no common support" in title for title in titles] == [False, far, far]
    for control in ("matched", "regression", "partial"):
        raw, held = (line(panel(forest, f"effective_rank|{control}"), f"q|{kind}") for kind in ("nothing", "length"))
        assert raw.get_color() == projection_look("q").colour
        pale = far and control != "matched"
        assert held.get_color() == (paler(projection_look("q").colour) if pale else raw.get_color())
    for name in ("effect-heatmap-high-low", "effect-forest-high-low"):
        assert f"{pairs} of at most 60 pairs of rows" in caption(made, name)
        assert ("no evidence" in caption(made, name)) is far


def test_colours_of_effects_mean_the_same_in_every_contrast(made: Comparison) -> None:
    effects = made.effects.with_columns(auc=pl.lit(0.51), partial_spearman=pl.lit(0.01))
    drawn, _ = figure(replace(made, effects=effects), "effect-heatmap")
    for name, limits in (("auc", (0, 1)), ("partial_spearman", (-1, 1))):
        mesh = next(c for c in panel(drawn, f"nuclear_norm|{name}").collections if isinstance(c, QuadMesh))
        assert mesh.get_clim() == limits


def test_ratios_of_the_forest_are_on_one_logarithmic_axis(made: Comparison) -> None:
    row = {"measure": "nuclear_norm", "projection": "q", "layer": None}
    numbers = {
        "raw_effect": 2.0, "raw_effect_low": 1.5, "raw_effect_high": 3.0,
        "matched_effect": 0.5, "matched_low": 0.25, "matched_high": 4.0,
        "regression_effect": 0.8, "regression_low": 0.6, "regression_high": 1.1,
    }  # fmt: skip
    effects = changed(made.effects, row, **{name: math.log(value) for name, value in numbers.items()})
    effects = changed(effects, row, spearman=0.5, spearman_low=0.375, spearman_high=0.625)
    drawn, _ = figure(replace(made, effects=effects), "effect-forest")
    matched, regression, ranks = (panel(drawn, f"nuclear_norm|{name}") for name in ("matched", "regression", "partial"))
    assert matched.get_xscale() == regression.get_xscale() == "log"
    assert matched.get_xlim() == regression.get_xlim()
    shown = [
        (matched, "nothing", (2.0, 1.5, 3.0)), (matched, "length", (0.5, 0.25, 4.0)),
        (regression, "nothing", (2.0, 1.5, 3.0)), (regression, "length", (0.8, 0.6, 1.1)),
        (ranks, "nothing", (0.5, 0.375, 0.625)),
    ]  # fmt: skip
    for axes, held, (value, low, high) in shown:
        assert line(axes, f"q|{held}").get_xdata() == pytest.approx([value])
        assert line(axes, f"q|{held}|interval").get_xdata() == pytest.approx([low, high])
    assert ranks.get_xscale() == "linear"


def of_lengths(name: str, lengths: list[int]) -> pl.DataFrame:
    """The table of decay of a group whose gradients have so many singular values, each half of the one before."""
    values = [[0.5**i for i in range(length)] for length in lengths]
    spectra = pl.DataFrame({"row": range(len(lengths)), "projection": "q", "singular_values": values})
    run = SimpleNamespace(scan=lambda table: spectra.lazy())
    group: Any = SimpleNamespace(examples=spectra.select("row"), name=name, run=run)
    return decay_table(group, np.random.default_rng(0))


def test_decay_ends_where_half_of_the_gradients_have_no_more_values(made: Comparison) -> None:
    decay = pl.concat([of_lengths("high", [4, 8, 8, 12]), of_lengths("low", [3, 3, 3, 3])])
    assert decay.filter(index=10)["median"].to_list() == [0.0]
    made = replace(made, decay=decay)
    drawn, data = figure(made, "decay")
    axes = panel(drawn, "q")
    high, low = (line(axes, name) for name in ("high", "low"))
    drawn_points = [(x, y) for x, y in zip(*high.get_data(), strict=True) if np.isfinite(y)]
    assert [x for x, _ in drawn_points] == [*range(1, 9)]
    assert [y for _, y in drawn_points] == pytest.approx([0.5**i for i in range(8)])
    assert [*low.get_xdata()] == [1, 2, 3]
    assert axes.get_ylim()[0] > 0.5**8 / 2
    bands = [item.get_paths()[0].vertices for item in axes.collections if isinstance(item, PolyCollection)]
    assert bands[0][:, 0].max() == 8  # the lower quartile is of rows of 8 values: (0.25 x 3 = 0.75 of the way from 4)
    assert min(band[:, 1].min() for band in bands) > 1e-6
    assert data.select(pl.col("median", "q25").min() > 0).row(0) == (True, True)
    said = caption(made, "decay")
    assert "beyond the rank of a gradient count as 0" in said
    assert "at most 200 examples of a group" in said
    assert "1e-6" in said
    assert "over the layers" in said


def test_decay_says_how_many_examples_it_is_of() -> None:
    many = made_comparison(n=250, layers=2)
    assert "high (n = 200)" in caption(many, "decay")
    assert figure(many, "decay")[0].legends[0].get_texts()[0].get_text() == "high (n = 200)"


def steep(made: Comparison, measure: str) -> Comparison:
    """One layer of one projection so high that a linear axis hides the others."""
    row = {"group": "high", "measure": measure, "projection": "q", "layer": 3}
    return replace(made, levels=changed(made.levels, row, mean=1e4, mean_low=9e3, mean_high=1.1e4))


def test_all_figures_of_a_measure_agree_on_logarithmic_axes_and_say_so(made: Comparison) -> None:
    names = [name for name in available(made) if "norm" in name or name.startswith(("four", "depth"))]
    assert len(names) == 12
    for one, scale in ((made, "linear"), (steep(made, "nuclear_norm"), "log")):
        for name in names:
            drawn, _ = figure(one, name)
            rank = [
                axes for place, axes in enumerate(drawn.axes) if place >= len(drawn.axes) / 2 and "norm" not in name
            ]
            norm = [axes for axes in drawn.axes if axes not in rank]
            assert {axes.get_yscale() for axes in norm} == {scale}, name
            assert {axes.get_yscale() for axes in rank} <= {"linear"}
            assert ("log scale" in norm[0].get_ylabel()) == ("logarithmic" in caption(one, name)) == (scale == "log")
            if not name.startswith("depth"):  # whose means span so little that all its ticks have labels
                assert (len(norm[0].yaxis.get_minorticklocs()) > 0) == (scale == "log")


def test_models_that_are_drawn_together_agree_on_logarithmic_axes(made: Comparison) -> None:
    models = [replace(made, about={**made.about, "model": {**made.about["model"], "name": name}}) for name in "ab"]
    models[1] = steep(models[1], "effective_rank")
    for name in ("effective-rank-a", "effective-rank-b", "groups-stable-rank-a"):
        assert figure(models, name)[0].axes[0].get_yscale() == "log"
    assert figure(models, "nuclear-norm-a")[0].axes[0].get_yscale() == "linear"


@pytest.mark.parametrize(
    ("groups", "models", "panels", "lines"),
    [
        ("abcd", "x", ["effective_rank", "nuclear_norm"], 4),
        ("ab", "xy", ["effective_rank", "nuclear_norm"], 4),
        ("abcd", "xy", [f"{m}|{x}" for m in ("effective_rank", "nuclear_norm") for x in "xy"], 4),
        ("abcde", "x", [f"{m}|{x}" for m in ("effective_rank", "nuclear_norm") for x in "abcde"], 1),
        ("abcde", "xy", [f"{m}|{x}" for m in ("effective_rank", "nuclear_norm") for x in "abcde"], 2),
        ("a", "uvxyz", [f"{m}|{x}" for m in ("effective_rank", "nuclear_norm") for x in "uvxyz"], 1),
    ],
)
def test_depth_has_at_most_four_lines_in_a_panel(groups: str, models: str, panels: list[str], lines: int) -> None:
    drawn, data = figure([made_comparison(groups, n=5, layers=4, model=model) for model in models], "depth")
    assert sorted(str(axes.get_label()) for axes in drawn.axes) == panels
    assert {len(axes.lines) for axes in drawn.axes} == {lines}
    for measure in ("nuclear_norm", "effective_rank"):
        alike = [axes for axes in drawn.axes if str(axes.get_label()).startswith(measure)]
        assert len({axes.get_ylim() for axes in alike}) == 1
        assert alike[0].get_ylabel()
    shown = {str(line.get_label()) for axes in drawn.axes for line in axes.lines}
    assert shown == {f"{model}|{group}" for model in models for group in groups}
    assert data.height == 2 * 4 * len(groups) * len(models)


def test_without_running_medians_none_are_promised() -> None:
    few, many = made_comparison(n=19, layers=2), made_comparison(n=20, layers=2)
    for made, lines in ((few, False), (many, True)):
        drawn, _ = figure(made, "length")
        handles = drawn.legends[0].legend_handles
        assert {handle.get_linestyle() != "None" for handle in handles if isinstance(handle, Line2D)} == {lines}
        assert ("running medians" in caption(made, "length")) is lines
        assert [axes.get_ylabel() for axes in drawn.axes] == ["nuclear norm (log scale)", "effective rank (log scale)"]
    groups = tuple(replace(group, n=5 if group.name == "low" else group.n) for group in many.groups)
    fewer = pl.concat([many.examples.filter(group="high"), many.examples.filter(group="low").head(5)])
    assert "groups of fewer than 20 have none" in caption(replace(many, groups=groups, examples=fewer), "length")


def test_correlations_that_are_significant_have_a_dot(made: Comparison) -> None:
    none = made.correlations.with_columns(q=pl.lit(0.01), partial_q=pl.lit(0.01), n=pl.lit(80, pl.Int64))
    ifd = {"x": "ifd", "y": "length"}
    one = changed(none, ifd, q=0.05, partial_q=None, n=70)
    gone = changed(one, {"x": "ifd", "y": "loss"}, spearman=None, q=None)
    dots = []
    for table in (none, one, gone):
        axes = panel(figure(replace(made, correlations=table), "correlations")[0], "correlations")
        names = [text.get_text() for text in axes.get_yticklabels()]
        marks = next(item for item in axes.collections if isinstance(item, PathCollection)).get_offsets()
        dots.append({(names[int(y)], names[int(x)]) for x, y in np.asarray(marks)})
    pair = {("IFD", "response tokens"), ("response tokens", "IFD")}
    without = dots[0] - pair
    assert len(dots[0]) == 2 * none.height
    assert dots[1:] == [without, without - {("loss", "IFD")}]  # below the diagonal is the raw number, which is gone
    said = caption(replace(made, correlations=gone), "correlations")
    assert "70 to 80 of them" in said
    assert "pooled" in said
    assert "chosen as extremes" in said
    assert "grey: the diagonal, and where there is no value" in said
