"""Moments by group, from which the page fits lines: beside fits of numpy through the same examples."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.made_comparisons import made_comparison

from gradprism.comparison.comparison import Comparison
from gradprism.report.length_moments import length_moments


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return made_comparison(("a", "b", "c"), 30, 3)


def logs(comparison: Comparison, column: str) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.log10(comparison.examples[name].to_numpy().astype(float)) for name in ("n_response_tokens", column))


def test_each_group_has_the_moments_of_its_logarithms(comparison: Comparison) -> None:
    found = length_moments(comparison)["effective_rank:mean"]
    assert found["scale"] == "log"
    for moments, group in zip(found["groups"], "abc", strict=True):
        own = replace(comparison, examples=comparison.examples.filter(group=group))
        x, y = logs(own, "effective_rank:mean")
        covariance = np.cov(x, y, ddof=0) * 30
        expected = [30, x.mean(), y.mean(), covariance[0, 0], covariance[0, 1], covariance[1, 1], x.min(), x.max()]
        assert moments == pytest.approx(expected, rel=1e-6)


def test_a_column_that_is_not_positive_throughout_stays_linear(comparison: Comparison) -> None:
    found = length_moments(comparison)["adjacent_cosine:q"]
    assert found["scale"] == "linear"
    own = comparison.examples.filter(group="b")["adjacent_cosine:q"]
    assert found["groups"][1][2] == pytest.approx(own.mean(), rel=1e-6)


def test_rows_without_a_value_are_left_out_and_groups_without_any_have_none(comparison: Comparison) -> None:
    group, row = pl.col("group"), pl.col("row")
    gone = (group == "a") | ((group == "b") & (row < 10))
    examples = comparison.examples.with_columns(
        pl.when(~gone).then("ifd").alias("ifd"),
        pl.when((group == "c") & (row == 0)).then(float("nan")).otherwise("loss").alias("loss"),
    )
    found = length_moments(replace(comparison, examples=examples))
    assert [moments and moments[0] for moments in found["ifd"]["groups"]] == [None, 20, 30]
    assert [moments[0] for moments in found["loss"]["groups"]] == [30, 30, 29]


@pytest.mark.slow  # starts Chromium
def test_the_line_through_several_groups_is_that_through_all_of_their_examples(
    comparison: Comparison, run_on_page: Any
) -> None:
    two = replace(comparison, examples=comparison.examples.filter(pl.col("group") != "b"))
    x, y = logs(two, "nuclear_norm:mean")
    moments = length_moments(comparison)["nuclear_norm:mean"]["groups"]
    line = run_on_page("length_scatter", "lineThrough(pooledMoments(given))", [moments[0], moments[2]])
    slope, from_ = np.polyfit(x, y, 1)
    assert [line["slope"], line["from"], line["n"]] == pytest.approx([slope, from_, 60], rel=1e-5)
    assert line["r2"] == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2, rel=1e-5)
    assert [line["low"], line["high"]] == pytest.approx([x.min(), x.max()], rel=1e-6)


@pytest.mark.slow  # starts Chromium
def test_one_slope_beside_an_intercept_for_each_group_is_a_regression_on_both(
    comparison: Comparison, run_on_page: Any
) -> None:
    x, y = logs(comparison, "nuclear_norm:mean")
    groups = comparison.examples["group"].to_numpy()
    design = np.column_stack([x, *(groups == name for name in "abc")])
    coefficients, residuals, *_ = np.linalg.lstsq(design, y, rcond=None)
    moments = length_moments(comparison)["nuclear_norm:mean"]["groups"]
    found = run_on_page("length_scatter", "commonSlope(given, pooledMoments(given))", moments)
    assert found["slope"] == pytest.approx(coefficients[0], rel=1e-5)
    assert found["r2"] == pytest.approx(1 - residuals[0] / ((y - y.mean()) ** 2).sum(), rel=1e-5)


@pytest.mark.slow  # starts Chromium
def test_examples_of_one_length_have_no_line(run_on_page: Any) -> None:
    given = [[20, 2.0, 1.0, 4e-31, 1e-31, 3.0, 2.0, 2.0], [2, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0]]
    assert run_on_page("length_scatter", "given.map(each => lineThrough(each))", given) == [None, None]
