"""Separation of two measures against loops over pairs, rows and resamples, and what must not change it."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.made_layer_means import columns_of, is_first, logs_of_lengths, with_layer_means

from gradprism.comparison.comparison import Comparison
from gradprism.stats.bootstrap import times_drawn
from gradprism.study.separation import PAIR, SEPARATION, separation_table

RAW = ("auc_effective_rank", "auc_nuclear_norm", "difference", "difference_low", "difference_high")
HELD = tuple(f"held_{name}" for name in RAW)


def by_pairs(values: np.ndarray, first: np.ndarray) -> float:
    return float(np.mean([(a > b) + (a == b) / 2 for a in values[first] for b in values[~first]]))


def without_length(measure: np.ndarray, lengths: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Coefficients of these lengths; of log measures as one regression has them."""
    design = np.column_stack([np.ones(len(first)), first, lengths])
    return np.linalg.lstsq(design, np.log(measure))[0][2:]


def separation(values: np.ndarray, first: np.ndarray) -> float:
    return abs(by_pairs(values, first) - 0.5) + 0.5


def row_of(comparison: Comparison, projection: str = "mean", **options: int) -> dict:
    table = separation_table(comparison, **{"resamples": 50, **options})
    assert table.schema == SEPARATION
    return dict(zip(table["projection"], table.iter_rows(named=True), strict=True))[projection]


def test_every_projection_equals_loops() -> None:
    comparison = with_layer_means()
    first, lengths = is_first(comparison), logs_of_lengths(comparison)
    table = separation_table(comparison, resamples=20)
    assert table["projection"].to_list() == ["q", "k", "v", "o", "mean"]
    assert set(table["n_first"]) == {12}
    assert set(table["held_n_second"]) == {9}
    for row in table.iter_rows(named=True):
        apart, held_apart = [], []
        for measure in PAIR:
            values = columns_of(comparison, [f"{measure}:{row['projection']}"])[:, 0]
            held = np.log(values) - lengths @ without_length(values, lengths, first)
            assert row[f"auc_{measure}"] == pytest.approx(by_pairs(values, first))
            assert row[f"held_auc_{measure}"] == pytest.approx(by_pairs(held, first))
            assert row[f"held_separation_{measure}"] == pytest.approx(separation(held, first))
            apart.append(separation(values, first))
            held_apart.append(separation(held, first))
        assert row["difference"] == pytest.approx(apart[0] - apart[1])
        assert row["held_difference"] == pytest.approx(held_apart[0] - held_apart[1])


def test_intervals_equal_resamples_one_by_one() -> None:
    """Rows are copied as often as drawn, and everything is done again on the copies."""
    comparison = with_layer_means((10, 8))
    first, lengths = is_first(comparison), logs_of_lengths(comparison)
    random = np.random.default_rng([3, 0])
    times = np.concatenate([times_drawn(10, 40, random), times_drawn(8, 40, random)], axis=1).astype(int)
    values = columns_of(comparison, [f"{measure}:v" for measure in PAIR])
    raw, held = [], []
    for counts in times:
        drawn, groups, tokens = (np.repeat(each, counts, axis=0) for each in (values, first, lengths))
        raw.append(np.subtract(*(separation(each, groups) for each in drawn.T)))
        rest = [np.log(each) - tokens @ without_length(each, tokens, groups) for each in drawn.T]
        # copies of a row are the same value, but for rounding
        held.append(np.subtract(*(separation(np.round(each, 9), groups) for each in rest)))
    row = row_of(comparison, "v", resamples=40, seed=3)
    for name, resampled in (("", raw), ("held_", held)):
        found = [row[f"{name}difference_{end}"] for end in ("low", "high")]
        np.testing.assert_allclose(found, np.quantile(resampled, [0.025, 0.975]), atol=1e-12)


@pytest.mark.slow  # fifteen times a bootstrap
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), power=st.floats(-2, 2), n=st.tuples(st.integers(4, 15), st.integers(4, 15)))
def test_a_power_of_the_length_changes_nothing_at_equal_length(seed: int, power: float, n: tuple[int, int]) -> None:
    """Nor does any increasing function change anything raw."""
    comparison = with_layer_means(n, seed)
    values = columns_of(comparison, ["effective_rank:mean"])[:, 0]
    longer = values * np.exp(logs_of_lengths(comparison) @ np.array([power, 1 - power]))
    one = row_of(comparison)
    two = row_of(with_layer_means(n, seed, effective_rank__mean=longer))
    three = row_of(with_layer_means(n, seed, effective_rank__mean=values**3))
    assert [one[name] for name in HELD] == pytest.approx([two[name] for name in HELD], abs=1e-9, nan_ok=True)
    assert [one[name] for name in RAW] == pytest.approx([three[name] for name in RAW], nan_ok=True)


@pytest.mark.slow  # fifteen times a bootstrap
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_either_measure_and_either_group_may_be_first(seed: int) -> None:
    comparison = with_layer_means((8, 8), seed)
    rank, norm = columns_of(comparison, [f"{measure}:mean" for measure in PAIR]).T
    one = row_of(comparison)
    two = row_of(with_layer_means((8, 8), seed, effective_rank__mean=norm, nuclear_norm__mean=rank))
    for prefix in ("", "held_"):
        assert one[f"{prefix}auc_effective_rank"] == two[f"{prefix}auc_nuclear_norm"]
        ends = [-two[f"{prefix}difference_{end}"] for end in ("high", "low")]
        assert [one[f"{prefix}difference_{end}"] for end in ("low", "high")] == pytest.approx(ends)
        assert 0.5 <= one[f"{prefix}separation_effective_rank"] <= 1
    three = row_of(
        with_layer_means((8, 8), seed, **{f"{m}__mean": 1 / v for m, v in zip(PAIR, (rank, norm), strict=True)})
    )
    assert three["auc_effective_rank"] == pytest.approx(1 - one["auc_effective_rank"])
    assert three["held_difference"] == pytest.approx(one["held_difference"])


def test_length_alone_separates_raw_and_not_at_equal_length() -> None:
    random = np.random.default_rng(0)
    tokens = np.concatenate([random.integers(100, 900, 60), random.integers(20, 500, 60)])
    rank = 0.5 * tokens**0.8
    norm = random.lognormal(size=120) * np.repeat([3.0, 1.0], 60)
    given = {"n_response_tokens": tokens, "effective_rank__mean": rank, "nuclear_norm__mean": norm}
    row = row_of(with_layer_means((60, 60), **given), resamples=400)
    assert row["auc_effective_rank"] > 0.7
    assert row["held_auc_effective_rank"] == 0.5
    assert row["held_difference_high"] < 0


def test_of_the_better_measure_the_interval_lies_above_0() -> None:
    random = np.random.default_rng(1)
    rank = random.lognormal(size=200) * np.repeat([4.0, 1.0], 100)
    row = row_of(with_layer_means((100, 100), effective_rank__mean=rank), resamples=500)
    assert row["difference_low"] > 0
    assert row["held_difference_low"] > 0
    assert row["difference_low"] < row["difference"] < row["difference_high"]


def test_equal_lengths_leave_the_measures_as_they_are() -> None:
    row = row_of(with_layer_means(n_prompt_tokens=np.full(21, 30), n_response_tokens=np.full(21, 70)))
    assert [row[name] for name in HELD] == [row[name] for name in RAW]
    assert row["held_extrapolates"] is False


def test_one_length_that_varies_is_the_only_one_held() -> None:
    comparison = with_layer_means(n_prompt_tokens=np.full(21, 30))
    first, lengths = is_first(comparison), logs_of_lengths(comparison)[:, 1:]
    values = columns_of(comparison, ["effective_rank:mean"])[:, 0]
    held = np.log(values) - lengths @ without_length(values, lengths, first)
    assert row_of(comparison)["held_auc_effective_rank"] == pytest.approx(by_pairs(held, first))
    tokens = comparison.examples["n_response_tokens"]
    twice = with_layer_means(n_prompt_tokens=tokens, n_response_tokens=tokens)
    assert row_of(twice)["held_auc_effective_rank"] == row_of(comparison)["held_auc_effective_rank"]


def test_groups_that_are_lengths_cannot_be_held() -> None:
    tokens = np.repeat([300, 20], [12, 9])
    row = row_of(with_layer_means(n_prompt_tokens=np.full(21, 30), n_response_tokens=tokens))
    assert [row[name] for name in HELD] == [None] * 5
    assert row["difference"] is not None
    assert row["held_extrapolates"] is True


@pytest.mark.parametrize(("longer", "outside"), [(0.0, False), (0.5, False), (3.0, True)])
def test_support_is_that_of_the_overlap_weights(longer: float, outside: bool) -> None:
    """Sets whose median lengths differ by a factor of 1.6 have it, by one of 20 not."""
    random = np.random.default_rng(4)
    tokens = np.exp(random.normal(5 + longer * np.repeat([1, 0], 60), 0.5)).astype(int) + 1
    given = {"n_prompt_tokens": np.full(120, 30), "n_response_tokens": tokens}
    assert row_of(with_layer_means((60, 60), **given))["held_extrapolates"] is outside


@pytest.mark.parametrize("n", [(2, 2), (2, 3), (1, 6), (0, 5)])
def test_few_rows(n: tuple[int, int]) -> None:
    row = row_of(with_layer_means(n))
    assert (row["n_first"], row["n_second"]) == n
    assert (row["difference"] is None) == (min(n) == 0)
    assert (row["difference_low"] is None) == (min(n) < 2)
    assert (row["held_difference"] is None) == (min(n) == 0 or sum(n) <= 4)


def test_constant_and_missing_measures() -> None:
    values = np.random.default_rng(2).lognormal(size=21)
    holed = values.copy()
    holed[[0, 13]] = np.nan, 0.0
    row = row_of(with_layer_means(effective_rank__mean=np.full(21, 0.1), nuclear_norm__mean=holed))
    assert (row["n_first"], row["n_second"], row["held_n_first"], row["held_n_second"]) == (11, 9, 11, 8)
    assert (row["auc_effective_rank"], row["held_auc_effective_rank"]) == (0.5, 0.5)
    nothing = row_of(with_layer_means(nuclear_norm__mean=[None] * 21))
    assert {nothing[name] for name in (*RAW, *HELD)} == {None}
    assert nothing["n_first"] == 0


def test_rows_without_a_length_are_not_held() -> None:
    row = row_of(with_layer_means(n_response_tokens=[None, *range(20, 40)]))
    assert (row["n_first"], row["held_n_first"]) == (12, 11)
    unknown = row_of(with_layer_means(n_response_tokens=[None] * 21))
    assert (unknown["held_n_first"], unknown["held_difference"], unknown["held_extrapolates"]) == (0, None, None)


def test_both_separate_every_row() -> None:
    apart = np.repeat([9.0, 1.0], [12, 9]) * np.linspace(1, 1.5, 21)
    row = row_of(with_layer_means(effective_rank__mean=apart, nuclear_norm__mean=1 / apart))
    assert (row["auc_effective_rank"], row["auc_nuclear_norm"]) == (1, 0)
    assert [row[name] for name in RAW[2:]] == [0, 0, 0]


def test_measures_that_separate_alike_in_either_direction_differ_by_nothing() -> None:
    """An area and 1 - area round apart; an interval must not exclude 0 by that."""
    measure = np.random.default_rng(3).lognormal(size=21)
    row = row_of(with_layer_means(effective_rank__mean=measure, nuclear_norm__mean=1 / measure), resamples=300)
    assert [row[name] for name in RAW[2:]] == [0, 0, 0]


@pytest.mark.slow
def test_intervals_cover_no_difference_as_often_as_said() -> None:
    """Two measures that separate alike (AUC 0.71) beside a length that separates more; each projection a draw."""
    random, shape = np.random.default_rng(7), (80, 5, 2)  # rows, projections, measures
    names = [f"{measure}:{projection}" for projection in ("q", "k", "v", "o", "mean") for measure in PAIR]
    comparison = with_layer_means((40, 40))
    first = np.arange(80) < 40
    inner = {"": 0, "held_": 0}
    for _ in range(40):
        tokens = np.exp(5 + first + random.normal(size=80)).astype(int) + 1
        own = 0.8 * random.normal(size=shape[:2])[..., None] + 0.6 * random.normal(size=shape)
        logs = own + 0.8 * first[:, None, None] + 0.5 * np.log(tokens)[:, None, None]
        columns = [pl.Series(name, values) for name, values in zip(names, np.exp(logs).reshape(80, -1).T, strict=True)]
        changed = comparison.examples.with_columns(pl.Series("n_response_tokens", tokens), *columns)
        table = separation_table(replace(comparison, examples=changed), resamples=299)
        for prefix in inner:
            low, high = (table[f"{prefix}difference_{end}"] for end in ("low", "high"))
            inner[prefix] += int(((low <= 0) & (high >= 0)).sum())
    for within in inner.values():  # of 200: the standard error is 1.5 points
        assert 0.91 <= within / 200 <= 1
