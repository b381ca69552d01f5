"""What is on paper is what is in the CSV: read back from the artists of each figure."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from length_controlled import ENDS, controlled_comparison, factors
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from tests.made_comparisons import made_comparison

from gradprism.comparison.comparison import Comparison
from gradprism.figures import figure
from gradprism.figures.api import draw_figures

NOTHING = math.nan

pytestmark = pytest.mark.slow  # some figures of every kind are drawn


@pytest.fixture(scope="module")
def made() -> Comparison:
    return controlled_comparison(windows=True)


def panel(drawn: Figure, label: str) -> Axes:
    return next(axes for axes in drawn.axes if axes.get_label() == label)


def line(axes: Axes, label: str) -> Line2D:
    return next(line for line in axes.lines if line.get_label() == label)


def numbers(frame: pl.DataFrame, column: str) -> npt.NDArray[np.float64]:
    return frame[column].cast(pl.Float64).fill_null(NOTHING).to_numpy()


@pytest.mark.parametrize(
    "name", ["nuclear-norm", "effective-rank", "stable-rank", "adjacent-cosine", "same-layer-cosine"]
)
def test_curves_are_the_levels_of_each_group(made: Comparison, name: str) -> None:
    drawn, data = figure(made, name)
    assert (
        data.height
        == made.levels.filter(
            pl.col("measure") == name.replace("-", "_"), pl.col("layer").is_not_null(), pl.col("projection") != "mean"
        ).height
    )
    for (group, projection), rows in data.group_by("group", "projection"):
        found = line(panel(drawn, str(group)), str(projection))
        np.testing.assert_array_equal(found.get_xdata(), numbers(rows.sort("layer"), "layer"))
        np.testing.assert_array_equal(found.get_ydata(), numbers(rows.sort("layer"), "mean"))


def test_bands_reach_from_low_to_high(made: Comparison) -> None:
    drawn, data = figure(made, "nuclear-norm")
    rows = data.filter(group="low", projection="q").sort("layer")
    band = next(item for item in panel(drawn, "low").collections if isinstance(item, PolyCollection))
    corners = band.get_paths()[0].vertices
    for layer, low, high in rows.select("layer", "mean_low", "mean_high").rows():
        at = corners[corners[:, 0] == layer, 1]
        assert at.min() == pytest.approx(low)
        assert at.max() == pytest.approx(high)


def test_the_four_panels_are_two_measures_of_two_groups_with_an_axis_for_each_measure(made: Comparison) -> None:
    drawn, data = figure(made, "four-panels")
    assert [axes.get_title() for axes in drawn.axes] == ["high (n = 60)", "low (n = 60)"] * 2
    for place, (measure, group) in enumerate(
        [("nuclear_norm", "high"), ("nuclear_norm", "low"), ("effective_rank", "high"), ("effective_rank", "low")]
    ):
        rows = data.filter(measure=measure, group=group, projection="o").sort("layer")
        np.testing.assert_array_equal(line(drawn.axes[place], "o").get_ydata(), numbers(rows, "mean"))
    limits = [axes.get_ylim() for axes in drawn.axes]
    assert limits[0] == limits[1] != limits[2] == limits[3]


def test_groups_over_each_other(made: Comparison) -> None:
    drawn, data = figure(made, "groups-effective-rank")
    for (group, projection), rows in data.group_by("group", "projection"):
        found = line(panel(drawn, str(projection)), str(group))
        np.testing.assert_array_equal(found.get_ydata(), numbers(rows.sort("layer"), "mean"))


def test_depth_puts_models_of_any_number_of_layers_on_one_axis() -> None:
    small, large = made_comparison(layers=6, model="small"), made_comparison(layers=11, model="large")
    drawn, data = figure([small, large], "depth")
    for model, last in (("small", 5), ("large", 10)):
        found = line(panel(drawn, "effective_rank"), f"{model}|low")
        rows = data.filter(model=model, group="low", measure="effective_rank").sort("layer")
        np.testing.assert_allclose(found.get_xdata(), np.arange(last + 1) / last)
        np.testing.assert_array_equal(found.get_ydata(), numbers(rows, "mean"))
    assert data["projection"].unique().to_list() == ["mean"]
    legend = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert legend == ["small", "large", "high (n = 40)", "low (n = 40)"]


def test_decay_is_the_table_of_decay(made: Comparison) -> None:
    drawn, data = figure(made, "decay")
    rows = data.filter(group="low", projection="v").sort("index")
    found = line(panel(drawn, "v"), "low")
    np.testing.assert_array_equal(found.get_xdata(), numbers(rows, "index"))
    np.testing.assert_array_equal(found.get_ydata(), numbers(rows, "median"))


def test_every_example_is_a_point_and_medians_are_of_examples_of_like_length(made: Comparison) -> None:
    drawn, data = figure(made, "length")
    axes = panel(drawn, "effective_rank")
    examples = made.examples.filter(group="high")
    points = next(item for item in axes.collections if isinstance(item, PathCollection) and item.get_label() == "high")
    assert points.get_rasterized()
    np.testing.assert_array_equal(points.get_offsets()[:, 0], numbers(examples, "n_response_tokens"))
    np.testing.assert_array_equal(points.get_offsets()[:, 1], numbers(examples, "effective_rank:mean"))
    ordered = examples.sort("n_response_tokens", maintain_order=True)
    bins = [ordered[start : start + 10] for start in range(0, 60, 10)]  # 60 examples: six bins of ten
    found = line(axes, "high")
    np.testing.assert_allclose(found.get_xdata(), [b["n_response_tokens"].median() for b in bins])
    np.testing.assert_allclose(found.get_ydata(), [b["effective_rank:mean"].median() for b in bins])
    assert data.filter(mark="running_median", group="high", measure="effective_rank").height == 6


@pytest.mark.parametrize(
    ("control", "column", "q"), [("raw", "raw_effect", "q"), ("overlap weights", "weighted_effect", "weighted_q")]
)
def test_cells_of_the_heatmap_are_ratios_with_a_dot_where_significant(
    made: Comparison, control: str, column: str, q: str
) -> None:
    drawn, data = figure(made, "effect-heatmap")
    axes = panel(drawn, f"nuclear_norm|{control}")
    mesh = next(item for item in axes.collections if isinstance(item, QuadMesh))
    table = np.asarray(mesh.get_array()).reshape(5, 6)
    rows = made.effects.filter(pl.col("layer").is_not_null(), measure="nuclear_norm")
    for place, projection in enumerate(("q", "k", "v", "o", "mean")):
        one = rows.filter(projection=projection).sort("layer")
        np.testing.assert_allclose(table[place], np.exp(numbers(one, column)))
    least, greatest = mesh.get_clim()
    assert least * greatest == pytest.approx(1)
    ends = ENDS[column]
    excludes = (pl.col(f"{ends}_low") > 0) | (pl.col(f"{ends}_high") < 0)
    large = pl.lit(True)
    if control != "raw":  # what leaves little of the raw effect is not found
        most = pl.max_horizontal(pl.col(f"{ends}_low").abs(), pl.col(f"{ends}_high").abs())
        large = (most > 0.5 * pl.col("raw_effect").abs()) | (most > math.log(1.1))
    sure = rows.filter((pl.col(q) < 0.05) & excludes & large)
    dots = next(item for item in axes.collections if isinstance(item, PathCollection)).get_offsets()
    drawn_rows = data.filter(measure="nuclear_norm", control=control)
    assert len(dots) == sure.height == drawn_rows.filter(pl.col("significant")).height > 0
    assert not axes.patches  # nothing is hatched


def test_each_control_stands_beside_the_raw_ratio(made: Comparison) -> None:
    drawn, _ = figure(made, "effect-forest")
    effect = made.effects.filter(pl.col("layer").is_null(), measure="nuclear_norm", projection="k").row(0, named=True)
    columns = {"raw": "raw_effect", "overlap weights": "weighted_effect", "matched pairs": "matched_effect",
               "windows": "window_effect"}  # fmt: skip
    axes = panel(drawn, "nuclear_norm")
    heights = []
    for control, column in columns.items():
        value, *ends = factors(effect, column)
        mark = line(axes, f"k|{control}")
        assert mark.get_xdata()[0] == pytest.approx(value)
        assert line(axes, f"k|{control}|interval").get_xdata() == pytest.approx(ends)
        assert (mark.get_markerfacecolor() == "white") is (control == "raw")
        heights.append(mark.get_ydata()[0])
    assert heights == sorted(heights)
    assert all(0.5 < height < 1.5 for height in heights)  # in the row of k


def test_the_answer_has_a_row_of_ratios_for_each_contrast_and_main_measure(made: Comparison) -> None:
    drawn, data = figure(made, "answer")
    axes = panel(drawn, "answer")
    means = made.effects.filter(pl.col("layer").is_null(), projection="mean")
    for measure in ("nuclear_norm", "effective_rank"):
        effect = means.filter(measure=measure).row(0, named=True)
        for control, column in (("raw", "raw_effect"), ("overlap weights", "weighted_effect")):
            value, *ends = factors(effect, column)
            assert line(axes, f"high|low|{measure}|{control}").get_xdata()[0] == pytest.approx(value)
            assert line(axes, f"high|low|{measure}|{control}|interval").get_xdata() == pytest.approx(ends)
    assert data["verdict"].to_list() == ["mostly length"] * 2 + ["not just length"] * 2
    assert data.columns[-1] == "verdict"


def test_correlations_are_raw_below_the_diagonal_and_controlled_above(made: Comparison) -> None:
    drawn, data = figure(made, "correlations")
    axes = panel(drawn, "correlations")
    mesh = next(item for item in axes.collections if isinstance(item, QuadMesh))
    size = len(axes.get_xticks())
    table = np.ma.filled(np.asarray(mesh.get_array()).reshape(size, size), np.nan)
    labels = [text.get_text() for text in axes.get_yticklabels()]
    row, column = labels.index("effective rank"), labels.index("IFD")
    pair = data.filter(x="ifd", y="effective_rank:mean").row(0, named=True)
    assert table[row, column] == pair["spearman"]
    assert table[column, row] == pair["partial"]
    assert np.isfinite(table).sum() == 2 * data.height


def without(made: Comparison, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Comparison:
    return replace(made, levels=change(made.levels), effects=change(made.effects))


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_what_is_missing_is_a_gap(made: Comparison, nothing: float | None) -> None:
    hole = (pl.col("layer") == 3) & (pl.col("projection") == "q")

    def change(table: pl.DataFrame) -> pl.DataFrame:
        kept = ("mean", "mean_low", "mean_high", "raw_effect")
        columns = [name for name in kept if name in table.columns]
        return table.with_columns(
            pl.when(hole).then(pl.lit(nothing, pl.Float64)).otherwise(name).alias(name) for name in columns
        )

    holed = without(made, change)
    drawn, _ = figure(holed, "nuclear-norm")
    y = np.asarray(line(panel(drawn, "high"), "q").get_ydata())
    assert np.flatnonzero(np.isnan(y)).tolist() == [3]
    drawn, _ = figure(holed, "effect-heatmap")
    mesh = next(item for item in panel(drawn, "nuclear_norm|raw").collections if isinstance(item, QuadMesh))
    assert np.ma.getmaskarray(mesh.get_array()).sum() == 1


def test_a_layer_without_a_row_is_a_gap_and_a_lone_point_has_a_marker(made: Comparison) -> None:
    lone = (pl.col("projection") == "q") & pl.col("layer").is_in([1, 2, 4, 5])
    drawn, _ = figure(without(made, lambda table: table.filter(~lone.fill_null(False))), "nuclear-norm")
    found = line(panel(drawn, "high"), "q")
    assert np.isfinite(found.get_ydata()).tolist() == [True, False, False, True, False, False]
    assert found.get_markevery() == [0, 3]


def test_the_csv_holds_the_numbers(made: Comparison, tmp_path: Path) -> None:
    for one in draw_figures(made, out=tmp_path, formats=["png"], only=["nuclear-norm", "length"]):
        assert one.csv is not None
        _, data = figure(made, one.name)
        assert pl.read_csv(one.csv, schema_overrides=data.schema).equals(data)
