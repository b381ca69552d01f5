"""Figures of paired rows: a line a row, geometric means, one estimate a contrast, all rows alone where groups crowd."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.made_pairs import checkpoint

import gradprism
from gradprism.comparison.comparison import Comparison
from gradprism.figures import available, figure
from gradprism.figures.api import draw_figures
from gradprism.figures.paired_lines import MOST_LINES, paired_lines

KINDS = ["plain"] * 12 + ["worked"] * 12


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pairs")
    change = np.where(np.array(KINDS) == "worked", 1.5, 1.1)[:, None, None]
    made = [checkpoint(folder / "before", kind=KINDS), checkpoint(folder / "after", change, seed=8, kind=KINDS)]
    return {run.path.name: run.path for run in made}


@pytest.fixture(scope="module")
def grouped(runs: dict[str, Path]) -> Comparison:
    return gradprism.compare(**runs, paired=True, by="column:kind", resamples=499)


def test_a_line_is_a_row_and_a_thick_one_the_geometric_mean_of_a_group(grouped: Comparison) -> None:
    drawn, data = figure(grouped, "paired")
    axes = next(axes for axes in drawn.axes if axes.get_label() == "nuclear_norm")
    thin = [line for line in axes.lines if str(line.get_label()).endswith("|row")]
    assert len(thin) == 24
    means = {line.get_label(): line.get_ydata() for line in axes.lines if line.get_label() in ("plain", "worked")}
    for kind, factor in (("plain", 1.1), ("worked", 1.5)):
        before, after = np.asarray(means[kind], dtype=float)
        assert after / before == pytest.approx(factor, rel=0.03)
    rows = data.filter(measure="nuclear_norm", mark="row", group="worked")
    expected = np.exp(rows["first"].log().mean()), np.exp(rows["second"].log().mean())  # type: ignore[arg-type]
    np.testing.assert_allclose(means["worked"][::-1], expected)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["before", "after"]


def test_lines_of_many_rows_are_some_of_them_and_means_of_all(tmp_path: Path) -> None:
    n = 3 * MOST_LINES + 5
    made = [checkpoint(tmp_path / name, n=n, layers=1, seed=seed) for seed, name in enumerate(("before", "after"))]
    found = gradprism.compare(before=made[0], after=made[1], paired=True, resamples=199)
    data = paired_lines(found, "nuclear_norm")
    assert data.filter(mark="row").height <= MOST_LINES
    mean = data.filter(mark="mean").row(0, named=True)
    assert mean["n"] == n
    side = found.examples.filter(group="after")["nuclear_norm:mean"].to_numpy()
    assert mean["first"] == pytest.approx(np.exp(np.log(side).mean()))
    assert f"of the same {n} rows" in next(
        plot.caption for plot in draw_figures(found, out=tmp_path / "figures", formats="png", only="paired")
    )


def test_ratios_have_one_estimate_in_every_contrast(grouped: Comparison) -> None:
    _, data = figure(grouped, "answer")
    assert data.group_by("first", "measure").len()["len"].to_list() == [1] * 6
    assert set(data["control"]) == {"paired"}
    assert set(data.filter(measure="nuclear_norm")["verdict"]) == {"changed"}
    _, cells = figure(grouped, "effect-heatmap-after-before")
    assert set(cells["control"]) == {"paired"}


def test_curves_are_of_all_rows_and_ratios_of_each_group(grouped: Comparison) -> None:
    for name in ("groups-nuclear-norm", "length", "depth"):
        _, data = figure(grouped, name)
        assert set(data["group"]) == {"after", "before"}
    assert "effect-forest-after-worked-before-worked" in available(grouped)
    assert not [name for name in available(grouped) if name == "correlations"]


@pytest.mark.slow  # half a second or more
def test_captions_say_that_the_rows_are_the_same(grouped: Comparison, tmp_path: Path) -> None:
    drawn = {each.name: each.caption for each in draw_figures(grouped, out=tmp_path, formats="png")}
    for name in ("answer", "effect-forest-after-before", "effect-heatmap-after-before"):
        assert "in the same rows" in drawn[name]
        assert "overlap weights" not in drawn[name]


def test_other_comparisons_have_no_such_figure(runs: dict[str, Path]) -> None:
    one = gradprism.compare(runs["after"], by="column:kind", resamples=199)
    assert "paired" not in available(one)
    assert paired_lines(one, "nuclear_norm").equals(pl.DataFrame(schema=paired_lines(one, "nuclear_norm").schema))
