"""Predictors of a metric against scipy, inverses of correlation matrices and fits without each row."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, rankdata, spearmanr, t
from tests.made_layer_means import columns_of, logs_of_lengths, with_layer_means

from gradprism.comparison.comparison import Comparison
from gradprism.core.errors import GradPrismError
from gradprism.study.predictors import PREDICTORS, predictor_table


def by_inverse(*columns: np.ndarray) -> float:
    """Correlation of the first two given the rest, from the inverse of the matrix of rank correlations."""
    precision = np.linalg.inv(np.corrcoef([rankdata(column) for column in columns]))
    return float(-precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1]))


def predicted(comparison: Comparison, metric: str = "ifd") -> pl.DataFrame:
    table = predictor_table(comparison, metric)
    assert table.schema == PREDICTORS
    return table


def one(table: pl.DataFrame, measure: str, projection: str = "mean") -> dict:
    return table.filter(pl.col("measure") == measure, pl.col("projection") == projection).row(0, named=True)


def press(design: np.ndarray, target: np.ndarray) -> float:
    errors = []
    for row in range(len(target)):
        kept = np.arange(len(target)) != row
        errors.append(target[row] - design[row] @ np.linalg.lstsq(design[kept], target[kept])[0])
    return float(np.square(errors).sum())


def test_what_a_comparison_has_beside_the_stored_measures_has_rows_too() -> None:
    made = with_layer_means()
    name = "relative_effective_rank"
    levels = made.levels.filter(measure="effective_rank").with_columns(measure=pl.lit(name))
    examples = made.examples.with_columns(pl.col(f"effective_rank:{p}").alias(f"{name}:{p}") for p in ("q", "mean"))
    about = made.about | {"measures": (*made.about["measures"], name)}
    table = predicted(replace(made, about=about, levels=pl.concat([made.levels, levels]), examples=examples))
    assert table.filter(measure=name)["projection"].to_list() == ["q", "mean"]


def test_every_measure_and_cosine_has_a_row() -> None:
    table = predicted(with_layer_means())
    assert table.height == 5 * 5 + 4
    assert table["measure"].unique(maintain_order=True).to_list() == [
        "nuclear_norm", "effective_rank", "frobenius_norm", "spectral_norm", "stable_rank", "adjacent_cosine",
    ]  # fmt: skip
    assert set(table["n"]) == {21}


def test_correlations_and_q_equal_scipy() -> None:
    comparison = with_layer_means((20, 15), seed=1)
    table, lengths = predicted(comparison), logs_of_lengths(comparison)
    metric = columns_of(comparison, ["ifd"])[:, 0]
    p = []
    for row in table.iter_rows(named=True):
        values = columns_of(comparison, [f"{row['measure']}:{row['projection']}"])[:, 0]
        assert row["spearman"] == pytest.approx(spearmanr(values, metric).statistic)
        partial = by_inverse(values, metric, *lengths.T)
        assert row["partial"] == pytest.approx(partial)
        p.append(2 * t.sf(abs(partial) * np.sqrt(31 / (1 - partial**2)), 31))
        assert row["partial_p"] == pytest.approx(p[-1])
        assert row["low"] < row["spearman"] < row["high"]
        assert row["partial_low"] < row["partial"] < row["partial_high"]
    np.testing.assert_allclose(table["partial_q"], false_discovery_control(p))


def test_gain_equals_fits_without_each_row() -> None:
    comparison = with_layer_means()
    table = predicted(comparison)
    y = rankdata(columns_of(comparison, ["ifd"])[:, 0])
    base = np.column_stack([np.ones(21), rankdata(logs_of_lengths(comparison), axis=0)])
    total = press(base[:, :1], y)
    for measure in ("stable_rank", "adjacent_cosine"):
        row = one(table, measure, "q")
        more = np.column_stack([base, rankdata(columns_of(comparison, [f"{measure}:q"])[:, 0])])
        assert row["length_r2"] == pytest.approx(1 - press(base, y) / total)
        assert row["gain"] == pytest.approx((press(base, y) - press(more, y)) / total)


def test_best_equals_tables_without_each_row() -> None:
    comparison = with_layer_means((7, 6), seed=4)
    table = predicted(comparison)
    wins = np.zeros(table.height)
    for row in range(13):
        rest = replace(comparison, examples=comparison.examples.filter(pl.col("row") != row))
        lengths, metric = logs_of_lengths(rest), columns_of(rest, ["ifd"])[:, 0]
        names = [f"{measure}:{projection}" for measure, projection in table.select("measure", "projection").rows()]
        sizes = [abs(by_inverse(values, metric, *lengths.T)) for values in columns_of(rest, names).T]
        wins[np.argmax(sizes)] += 1
    assert wins.max() < 13
    np.testing.assert_allclose(table["best"], wins / 13)


@pytest.mark.slow  # fifteen times a prediction with its intervals
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.tuples(st.integers(2, 15), st.integers(2, 15)), holes=st.booleans())
def test_only_order_counts(seed: int, n: tuple[int, int], holes: bool) -> None:
    comparison = with_layer_means(n, seed)
    metric = columns_of(comparison, ["ifd"])[:, 0].copy()
    if holes:
        metric[::4] = np.nan
    table = predicted(with_layer_means(n, seed, ifd=metric))
    stretched = predicted(with_layer_means(n, seed, ifd=np.exp(3 * metric)))
    for name in set(PREDICTORS) - {"measure", "projection"}:
        np.testing.assert_allclose(table[name].cast(float).fill_null(-9), stretched[name].cast(float).fill_null(-9))
    if table["best"].is_not_null().any():
        assert table["best"].sum() == pytest.approx(1)
    assert table["partial"].drop_nulls().abs().max() is None or table["partial"].drop_nulls().abs().max() <= 1 + 1e-12


def test_the_cause_is_found_and_length_is_not_taken_for_it() -> None:
    random = np.random.default_rng(3)
    tokens = random.integers(20, 900, 160)
    cause = random.lognormal(size=160)
    table = predicted(with_layer_means((80, 80), n_response_tokens=tokens, stable_rank__mean=cause,
        effective_rank__mean=tokens * random.lognormal(0, 0.05, 160), ifd=np.log(tokens) + np.log(cause)))  # fmt: skip
    found, length = one(table, "stable_rank"), one(table, "effective_rank")
    assert found["best"] == 1
    assert found["partial_q"] < 1e-6
    assert found["gain"] > 0.3
    assert length["spearman"] > 0.4
    assert abs(length["partial"]) < 0.2
    assert length["gain"] < 0.02


def test_equal_measures_share_the_best() -> None:
    values = np.random.default_rng(5).normal(size=21)
    table = predicted(
        with_layer_means(ifd=values, stable_rank__q=values, stable_rank__k=-values, stable_rank__v=2 * values)
    )
    assert table.filter(pl.col("best") > 0)["best"].to_list() == pytest.approx([1 / 3] * 3)


def test_equal_lengths_and_constant_measures() -> None:
    same = {"n_prompt_tokens": np.full(21, 30), "n_response_tokens": np.full(21, 70)}
    table = predicted(with_layer_means(**same, stable_rank__mean=np.full(21, 0.3)))
    np.testing.assert_allclose(table["partial"].fill_null(9), table["spearman"].fill_null(9))
    row = one(table, "stable_rank")
    assert {row[name] for name in ("spearman", "low", "partial", "partial_q", "gain", "best")} == {None}
    assert row["n"] == 21
    constant = predicted(with_layer_means(ifd=np.ones(21)))
    assert constant.select("spearman", "partial", "partial_q", "gain", "best").null_count().row(0) == (29,) * 5


@pytest.mark.parametrize("n", [(2, 2), (1, 1), (2, 0)])
def test_few_rows(n: tuple[int, int]) -> None:
    table = predicted(with_layer_means(n))
    assert set(table["n"]) == {sum(n)}
    assert table.select("gain", "best", "partial_low").null_count().row(0) == (29,) * 3


def test_missing_values_leave_the_rest() -> None:
    comparison = with_layer_means(seed=6)
    values = columns_of(comparison, ["stable_rank:mean"])[:, 0].copy()
    values[3] = np.inf
    tokens = [None, *comparison.examples["n_response_tokens"][1:]]
    metric = columns_of(comparison, ["ifd"])[:, 0].copy()
    metric[5] = np.nan
    changed = with_layer_means(seed=6, stable_rank__mean=values, n_response_tokens=tokens, ifd=metric)
    table, kept = predicted(changed), np.delete(np.arange(21), [0, 3, 5])
    row = one(table, "stable_rank")
    expected = by_inverse(values[kept], metric[kept], *logs_of_lengths(comparison)[kept].T)
    assert (row["n"], one(table, "stable_rank", "q")["n"]) == (18, 19)
    assert row["partial"] == pytest.approx(expected)
    assert row["spearman"] == pytest.approx(spearmanr(values[kept], metric[kept]).statistic)
    assert table["best"].sum() == pytest.approx(1)
    nothing = predicted(with_layer_means(ifd=[None] * 21))
    assert nothing["n"].sum() == nothing["best"].count() == 0


def test_a_row_that_is_in_two_groups_counts_once() -> None:
    comparison = with_layer_means()
    assert set(
        predicted(replace(comparison, examples=comparison.examples.with_columns(row=pl.int_range(21) % 12)))["n"]
    ) == {21}
    groups = tuple(replace(group, run="/nowhere/same") for group in comparison.groups)
    both = replace(comparison, groups=groups, examples=comparison.examples.with_columns(row=pl.int_range(21) % 12))
    assert set(predicted(both)["n"]) == {12}


def test_a_measure_does_not_predict_itself() -> None:
    table = predicted(with_layer_means(), "stable_rank:q")
    assert table.height == 28
    assert table.filter(pl.col("measure") == "stable_rank", pl.col("projection") == "q").is_empty()


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(GradPrismError, match=r"no metric 'column:reward'.*ifd, length, loss"):
        predictor_table(with_layer_means(), "column:reward")
