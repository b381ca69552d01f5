"""What is on paper is what stands in the tables of a comparison: numbers put there by hand, read back from artists."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from length_controlled import NO_SUPPORT, controlled_comparison, length_controlled
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
MARKED = ("raw", "overlap weights", "matched pairs")


@pytest.fixture(scope="module")
def made() -> Comparison:
    return controlled_comparison(n=N)


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


def legend_texts(drawn: Figure) -> list[str]:
    return [text.get_text() for text in drawn.legends[0].get_texts()]


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


def test_a_ratio_stands_in_its_cell_with_a_dot_where_significant(made: Comparison) -> None:
    row = {"measure": "effective_rank", "projection": "v", "layer": 4}
    numbers = {"raw_effect": 0.3, "raw_effect_low": 0.1, "raw_effect_high": 0.5, "q": 0.049,
               "weighted_effect": -0.3, "weighted_low": -0.5, "weighted_high": -0.1, "weighted_q": 0.05}  # fmt: skip
    effects = changed(made.effects, row, **numbers)
    effects = changed(effects, {**row, "layer": 5}, **{**numbers, "raw_effect": None, "weighted_high": 0.1})
    effects = changed(effects, {**row, "layer": 3}, **{**numbers, "q": 0.051, "weighted_q": 0.001})
    drawn, _ = figure(replace(made, effects=effects), "effect-heatmap")
    raw, controlled = (panel(drawn, f"effective_rank|{name}") for name in ("raw", "overlap weights"))
    assert cells(raw)[V, 3:] == pytest.approx([math.exp(0.3), math.exp(0.3), math.nan], nan_ok=True)
    assert cells(controlled)[V, 3:] == pytest.approx([math.exp(-0.3)] * 3)
    assert {column for row, column in dotted(raw) if row == V and column >= 3} == {4}
    assert {column for row, column in dotted(controlled) if row == V and column >= 3} == {3}


@pytest.mark.parametrize(("columns", "far"), [({}, False), (NO_SUPPORT, True), ({"weighted_imbalance": 0.11}, True)])
def test_without_common_support_in_length_controlled_ratios_are_pale(
    made: Comparison, columns: dict[str, float], far: bool
) -> None:
    numbers = {"weighted_effect": 0.3, "weighted_low": 0.2, "weighted_high": 0.4, "weighted_q": 1e-9, **columns}
    made = length_controlled(made, **numbers)
    drawn, data = figure(made, "effect-heatmap")
    controlled = panel(drawn, "nuclear_norm|overlap weights")
    assert len(dotted(controlled)) == (0 if far else 30)
    assert most_colourful(controlled) == pytest.approx(0.35 if far else 1, abs=0.02)
    assert most_colourful(panel(drawn, "nuclear_norm|raw")) == pytest.approx(1, abs=0.02)
    assert ("no common support" in controlled.get_title()) is far
    assert "no common support" not in panel(drawn, "nuclear_norm|raw").get_title()
    assert data.filter(control="overlap weights")["significant"].any() is not far
    forest, _ = figure(made, "effect-forest")
    colour = projection_look("q").colour
    marks = {name: line(panel(forest, "effective_rank"), f"q|{name}") for name in MARKED}
    assert {name: mark.get_color() for name, mark in marks.items()} == {
        "raw": colour, "overlap weights": paler(colour) if far else colour, "matched pairs": colour,
    }  # fmt: skip
    assert ("no common support" in legend_texts(forest)[1]) is far
    answer, _ = figure(made, "answer")
    mark = line(panel(answer, "answer"), "high|low|nuclear_norm|overlap weights")
    assert mark.get_color() == (paler("#000000") if far else "#000000")
    sizes = [columns.get(f"weighted_n_{side}", n) for side, n in (("first", 31.2), ("second", 24.4))]
    for name in ("effect-heatmap-high-low", "effect-forest-high-low", "answer"):
        assert f"overlap weights, {sizes[0]:.0f} and {sizes[1]:.0f} effective rows" in caption(made, name)
        assert ("no evidence" in caption(made, name)) is far
    assert "matched pairs, 20 pairs" in caption(made, "effect-forest-high-low")


def test_windows_decide_in_the_answer_where_lengths_do_not_overlap(made: Comparison) -> None:
    for columns, deciding in (({}, "overlap weights"), (NO_SUPPORT, "windows")):
        drawn, data = figure(length_controlled(made, windows=True, **columns), "answer")
        assert data["control"].to_list() == ["raw", deciding] * 2
        assert legend_texts(drawn) == ["raw", f"length-controlled ({deciding})"]
        said = caption(length_controlled(made, windows=True, **columns), "effect-forest-high-low")
        assert f"The verdict rests on {deciding}." in said
        assert "windows, 17 and 19 rows" in said


def test_bars_without_common_support_do_not_widen_the_axis(made: Comparison) -> None:
    ends = {"weighted_effect": 0.5, "weighted_low": -20.0, "weighted_high": 20.0}
    for columns, wide in ((NO_SUPPORT, False), ({}, True)):
        for name in ("effect-forest", "answer"):
            drawn, _ = figure(length_controlled(made, **ends, **columns), name)
            low, high = drawn.axes[0].get_xlim()
            assert low < 1 < math.exp(0.5) < high
            assert bool(high > 1000) is wide


def test_colours_mean_the_same_in_every_contrast_of_a_comparison() -> None:
    made = controlled_comparison(("a", "b", "c"))
    for a_and_b, b_and_c, greatest in ((0.2, 0.2, 1.25), (0.3, 0.6, 2), (3.0, 0.3, 4)):
        effect = (
            pl.when(first="a", second="b").then(a_and_b).when(first="b", second="c").then(b_and_c)
            .otherwise((a_and_b + b_and_c) / 2)
        )  # fmt: skip
        effects = made.effects.with_columns(effect.alias("raw_effect"), pl.lit(0.01).alias("weighted_effect"))
        for name in ("effect-heatmap-a-b", "effect-heatmap-b-c"):
            drawn, _ = figure(replace(made, effects=effects), name)
            meshes = [mesh for axes in drawn.axes[:4] for mesh in axes.collections if isinstance(mesh, QuadMesh)]
            assert {mesh.get_clim() for mesh in meshes} == {(1 / greatest, greatest)}
        assert ("end colours" in caption(replace(made, effects=effects), "effect-heatmap-a-b")) is (a_and_b == 3.0)


def test_all_panels_of_the_forest_have_one_logarithmic_axis_with_1_on_it(made: Comparison) -> None:
    row = {"measure": "nuclear_norm", "projection": "q", "layer": None}
    effects = changed(
        made.effects, row, raw_effect=math.log(3), raw_effect_low=math.log(2), raw_effect_high=math.log(4)
    )
    drawn, _ = figure(replace(made, effects=effects), "effect-forest")
    assert [axes.get_label() for axes in drawn.axes] == ["nuclear_norm", "effective_rank"]
    assert {axes.get_xscale() for axes in drawn.axes} == {"log"}
    assert len({axes.get_xlim() for axes in drawn.axes}) == 1
    assert drawn.axes[0].get_xlim()[1] > 4
    assert all(any(list(each.get_xdata()) == [1, 1] for each in axes.lines) for axes in drawn.axes)
    assert line(drawn.axes[0], "q|raw").get_xdata() == pytest.approx([3])


def test_the_answer_has_decided_contrasts_first_and_verdicts_in_words() -> None:
    made = controlled_comparison(("a", "b", "c"))
    kinds = {("a", "b"): ("unclear", "none"), ("a", "c"): ("equal", "length"), ("b", "c"): ("none", "survives")}
    findings = [
        replace(each, kind=kinds[each.first, each.second][each.measure == "effective_rank"]) for each in made.findings
    ]
    drawn, data = figure(replace(made, findings=tuple(findings)), "answer")
    axes = panel(drawn, "answer")
    order = [("b", "c"), ("a", "c"), ("a", "b")]
    assert data.select("first", "second").unique(maintain_order=True).rows() == order
    written = [text.get_text() for text in sorted(axes.texts, key=lambda text: text.get_position()[1])]
    assert written == [
        "b against c", "not just length", "not shown",
        "a against c", "mostly length", "equal",
        "a against b", "not shown", "unclear",
    ]  # fmt: skip
    measures = [text.get_text() for text in axes.get_yticklabels()]
    assert measures[:4] == ["", "effective rank", "nuclear norm", ""]


def test_of_many_contrasts_the_answer_has_the_first_twelve() -> None:
    made = controlled_comparison("abcdef", n=5, layers=2)
    assert figure(made, "answer")[1].select("first", "second").n_unique() == 12
    assert "3 further contrasts are not shown" in caption(made, "answer")


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
