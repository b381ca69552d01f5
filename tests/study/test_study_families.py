"""Agreement of models and likeness of curves against scipy, numpy and loops over pairs and draws."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr
from tests.made_comparisons import made_comparison
from tests.made_layer_means import columns_of, logs_of_lengths, with_layer_means

from gradprism.comparison.comparison_tables import LEVELS
from gradprism.core.errors import GradPrismError
from gradprism.stats.bootstrap import times_drawn
from gradprism.study.families import (
    AGREEMENT,
    CURVE_SUMMARY,
    CURVES,
    agreement_table,
    curve_summary,
    curve_table,
)

Curve = Sequence[float] | np.ndarray


def by_inverse(*columns: np.ndarray) -> float:
    precision = np.linalg.inv(np.corrcoef([rankdata(column) for column in columns]))
    return float(-precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1]))


def levels(name: str, *curves: tuple[str, str, Curve], layers: Sequence[int] | None = None) -> pl.DataFrame:
    """A table LEVELS with a curve for each measure and projection."""
    rows = [
        {"group": name, "measure": measure, "projection": projection, "layer": layer, "n": 9, "mean": mean}
        for measure, projection, curve in curves
        for layer, mean in [(None, 1.0), *zip(layers or range(len(curve)), curve, strict=True)]
    ]
    empty = dict.fromkeys(LEVELS)
    return pl.DataFrame([empty | row for row in rows], schema=LEVELS)


def norms(**curves: Curve) -> dict[tuple[str, str], pl.DataFrame]:
    """`a_x`: of model a and set x."""
    keys = {name: (name.partition("_")[0], name.partition("_")[2]) for name in curves}
    return {key: levels(key[1], ("nuclear_norm", "mean", curves[name])) for name, key in keys.items()}


def log_curve(curve: Curve) -> np.ndarray:
    return np.log(np.interp(np.arange(41) / 40 * (len(curve) - 1), np.arange(len(curve)), curve))


def test_agreement_equals_scipy_over_the_rows_that_both_have() -> None:
    one, two = with_layer_means(seed=1), with_layer_means(seed=2)
    two = replace(two, examples=two.examples.filter(pl.col("row") != 4).sample(fraction=1.0, shuffle=True, seed=0))
    table = agreement_table({"a": one, "b": two})
    assert table.schema == AGREEMENT
    assert table.height == 25
    there, found = one.examples.filter(pl.col("row") != 4), two.examples.sort("row")
    sides = replace(one, examples=there), replace(two, examples=found)
    lengths = np.mean([logs_of_lengths(side) for side in sides], axis=0)
    for row in table.iter_rows(named=True):
        x, y = (columns_of(side, [f"{row['measure']}:{row['projection']}"])[:, 0] for side in sides)
        assert row["n"] == 20
        assert row["spearman"] == pytest.approx(spearmanr(x, y).statistic)
        assert row["partial"] == pytest.approx(by_inverse(x, y, *lengths.T))
        assert row["low"] < row["spearman"] < row["high"]
        assert row["partial_low"] < row["partial"] < row["partial_high"]


def test_agreement_of_every_two_models() -> None:
    table = agreement_table({name: with_layer_means(seed=i) for i, name in enumerate("abc")})
    pairs = table.select("first_model", "second_model").unique(maintain_order=True).rows()
    assert pairs == [("a", "b"), ("a", "c"), ("b", "c")]
    assert agreement_table({"a": with_layer_means()}).is_empty()
    same = agreement_table({"a": with_layer_means(), "b": with_layer_means()})
    assert same["spearman"].to_list() == pytest.approx([1] * 25)
    assert same["partial"].to_list() == pytest.approx([1] * 25)


def test_of_length_alone_no_partial_agreement_is_left() -> None:
    random = np.random.default_rng(0)
    tokens = random.integers(20, 900, 160)
    models = {
        name: with_layer_means((80, 80), i, n_prompt_tokens=random.integers(5, 50, 160),
                               n_response_tokens=(tokens * (1 + i / 4)).astype(int),
                               effective_rank__mean=tokens**0.8 * random.lognormal(0, 0.2, 160))
        for i, name in enumerate("ab")
    }  # fmt: skip
    row = agreement_table(models).filter(measure="effective_rank", projection="mean").row(0, named=True)
    assert row["spearman"] > 0.8
    assert row["partial_low"] < 0 < row["partial_high"]


def test_agreement_on_hostile_examples() -> None:
    one = with_layer_means(stable_rank__mean=np.ones(21), effective_rank__q=[None, np.nan, np.inf, *range(18)])
    two = with_layer_means(seed=1, n_response_tokens=[None, *range(20, 40)])
    table = agreement_table({"a": one, "b": two})
    n = dict(zip(table.select("measure", "projection").rows(), table["n"], strict=True))
    assert (n["effective_rank", "q"], n["nuclear_norm", "q"], n["stable_rank", "mean"]) == (18, 20, 20)
    constant = table.filter(measure="stable_rank", projection="mean")
    assert constant.select("spearman", "partial", "low").row(0) == (None,) * 3
    same = {"n_prompt_tokens": np.full(21, 30), "n_response_tokens": np.full(21, 70)}
    equal = agreement_table({"a": with_layer_means(**same), "b": with_layer_means(seed=1, **same)})
    np.testing.assert_allclose(equal["partial"], equal["spearman"])
    few = agreement_table({"a": with_layer_means((2, 2)), "b": with_layer_means((2, 2), seed=1)})
    assert few["partial_low"].null_count() == 25
    apart = replace(one, examples=one.examples.head(0))
    assert agreement_table({"a": apart, "b": two})["n"].to_list() == [0] * 25


def test_other_examples_are_refused() -> None:
    one, two = with_layer_means(), with_layer_means()
    renamed = replace(two, examples=two.examples.with_columns(example_id=pl.lit("other")))
    with pytest.raises(GradPrismError, match="Row 0 of high is 'high-0' for a and 'other' for b"):
        agreement_table({"a": one, "b": renamed})


def test_curves_equal_numpy_over_depth() -> None:
    random = np.random.default_rng(0)
    curves = {"a_x": random.lognormal(size=12), "a_y": random.lognormal(size=12), "b_x": random.lognormal(size=7)}
    table = curve_table(norms(**curves))
    assert table.schema == CURVES
    expected = np.corrcoef([log_curve(curve) for curve in curves.values()])
    assert table["correlation"].to_list() == pytest.approx([expected[0, 1], expected[0, 2], expected[1, 2]])
    assert table.select("kind", "sets").rows() == [
        ("same model", "different"), ("different models", "same"), ("different models", "different"),
    ]  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(1e-6, 1e6), repeats=st.integers(2, 5))
def test_scale_and_number_of_layers_change_nothing(seed: int, factor: float, repeats: int) -> None:
    """Twice as many layers on the same straight pieces are the same curve."""
    one, two = np.random.default_rng(seed).lognormal(size=(2, 6))
    fine = factor * np.interp(np.linspace(0, 5, 5 * repeats + 1), np.arange(6), one)
    table = curve_table(norms(a_x=one, a_y=two, b_x=fine))
    found = {tuple(row[:4]): row[-1] for row in table.rows()}
    assert found["a", "x", "b", "x"] == pytest.approx(1)
    assert found["a", "x", "a", "y"] == pytest.approx(found["a", "y", "b", "x"])


def test_kinds_by_family() -> None:
    curves = norms(a_x=[1, 2, 3], a_y=[1, 3, 2], b_x=[2, 1, 3], c_x=[3, 1, 2], d_x=[1, 2, 5])
    kinds = {row[0] + row[2]: row[4] for row in curve_table(curves, {"a": "F", "b": "F", "c": "G", "d": None}).rows()}
    assert kinds == {"aa": "same model", "ab": "same family", "ac": "different family", "ad": "different family",
                     "bc": "different family", "bd": "different family", "cd": "different family"}  # fmt: skip
    unshared = curve_table(curves, {"a": "F", "b": "G"})
    assert set(unshared["kind"]) == {"same model", "different models"}


def test_a_set_of_a_comparison() -> None:
    """Its group of that name; depth by the layers of the model, of which not all were measured."""
    comparison = made_comparison(layers=5)
    alone = comparison.levels.filter(pl.col("group") == "low")
    table = curve_table({("a", "low"): comparison, ("a", "alone"): alone, ("a", "high"): comparison})
    assert table.filter(pl.col("second_set") == "alone")["correlation"].to_list() == pytest.approx([1] * 5)
    upper = replace(comparison, levels=comparison.levels.filter(pl.col("layer") >= 2))
    half = curve_table({("a", "low"): upper, ("b", "low"): alone}, measures=["nuclear_norm"])
    assert half["correlation"].to_list() == pytest.approx([1])
    with pytest.raises(GradPrismError, match="a, middle: no such group; there are high, low"):
        curve_table({("a", "middle"): comparison})


def test_projections_are_of_those_that_have_them() -> None:
    both = [("effective_rank", "mean", [1, 2, 4]), ("effective_rank", "q", [1, 2, 5])]
    tables = {("a", "x"): levels("x", *both), ("a", "y"): levels("y", *both), ("b", "x"): levels("x", *both[:1])}
    table = curve_table(tables, projections=("q", "mean"))
    assert table["projection"].to_list() == ["q", "mean", "mean", "mean"]


def test_curves_that_cannot_be_correlated() -> None:
    curves = norms(a_x=[1, 2, 3], a_y=[2, 2, 2], a_z=[1, 0, 3], b_x=[1, 2, 3], b_y=[5])
    table = curve_table(curves)
    assert table.height == 6  # the one of a single layer is no curve
    assert table.filter(pl.col("correlation").is_not_null()).rows()[0][:4] == ("a", "x", "b", "x")
    assert table["correlation"].null_count() == 5
    assert curve_table({}).schema == CURVES
    assert curve_summary(curve_table({})).schema == CURVE_SUMMARY
    gap = levels("w", ("nuclear_norm", "mean", [1.0, 9.0, 3.0]))
    gap = gap.with_columns(mean=pl.when(pl.col("layer") != 1).then("mean"))
    assert curve_table({("a", "x"): curves["a", "x"], ("a", "w"): gap})["correlation"].to_list() == pytest.approx([1])


def drawn_by_loops(table: pl.DataFrame, times: np.ndarray) -> list[float]:
    """Medians of the pairs of sets that are drawn, each as often as its sets go together."""
    place = {name: i for i, name in enumerate(sorted({*table["first_set"], *table["second_set"]}))}
    medians = []
    for counts in times.astype(int):
        pairs = []
        for one, two, value in table.select("first_set", "second_set", "correlation").rows():
            i, j = place[one], place[two]
            pairs += [value] * (counts[i] if i == j else counts[i] * counts[j])
        medians.append(np.median(pairs) if pairs else np.nan)
    return medians


def test_summary_equals_loops_over_draws_of_sets() -> None:
    random = np.random.default_rng(3)
    table = curve_table(
        norms(**{f"{m}_{s}": random.lognormal(size=9) for m in "abc" for s in "stuvwx"}), {"a": "F", "b": "F"}
    )
    summary = curve_summary(table, resamples=60, seed=7)
    assert summary.schema == CURVE_SUMMARY
    assert summary.select("kind", "sets", "n_pairs", "n_sets").rows() == [
        ("same model", "different", 45, 6), ("same family", "same", 6, 6), ("same family", "different", 30, 6),
        ("same family", "any", 36, 6), ("different family", "same", 12, 6), ("different family", "different", 60, 6),
        ("different family", "any", 72, 6),
    ]  # fmt: skip
    times = times_drawn(6, 60, np.random.default_rng(7))
    reference = None
    for row in summary.iter_rows(named=True):
        pairs = table.filter(
            (pl.col("kind") == row["kind"]) & (pl.col("sets").eq(row["sets"]) | (row["sets"] == "any"))
        )
        medians = np.array(drawn_by_loops(pairs, times))
        assert row["median"] == pytest.approx(np.median(pairs["correlation"]))
        ends = np.quantile(medians, [0.025, 0.975])
        assert [row["median_low"], row["median_high"]] == pytest.approx(ends)
        if reference is None:
            reference = row["median"], medians
            assert row["below_same_model"] is None
        else:
            assert row["below_same_model"] == pytest.approx(reference[0] - row["median"])
            below = np.quantile(reference[1] - medians, [0.025, 0.975])
            assert [row["below_low"], row["below_high"]] == pytest.approx(below)


def test_models_that_differ_are_seen_to() -> None:
    random = np.random.default_rng(4)
    shapes = {"a": np.array([1, 2, 4, 2, 1, 1.0]), "b": np.array([4, 2, 1, 1, 2, 4.0])}
    curves = {f"{m}_{s}": shape * random.lognormal(0, 0.1, 6) for m, shape in shapes.items() for s in "stuvwx"}
    summary = curve_summary(curve_table(norms(**curves)))
    assert summary.row(0, named=True)["median_low"] > 0.9
    for row in summary.tail(3).iter_rows(named=True):
        assert row["median_high"] < 0
        assert row["below_low"] > 0.9


def test_few_sets_have_no_interval() -> None:
    random = np.random.default_rng(5)
    summary = curve_summary(curve_table(norms(**{f"{m}_{s}": random.lognormal(size=9) for m in "ab" for s in "stuv"})))
    assert summary["median"].null_count() == 0
    assert summary.select("median_low", "median_high", "below_low", "below_high").null_count().row(0) == (4,) * 4
