"""Cosines of a run in one row each, against numpy and scipy on the same draws."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap
from tests.made_groups import given_run

from gradprism import Run
from gradprism.stats.bootstrap import times_drawn
from gradprism.study.cosines import COSINE_SUMMARY, cosine_table

R = 199


def run_of(path: Path, **pairs: np.ndarray) -> Run:
    """`adjacent__q`: (rows, layers), of which NaN is written as null, and row 0 in the last place."""
    tables = []
    for name, cosines in pairs.items():
        kind, _, pair = name.partition("__")
        row, layer = (index.ravel() for index in np.indices(cosines.shape))
        table = pl.DataFrame({"row": row, "layer": layer, "cosine": cosines.ravel()})
        tables.append(table.with_columns(kind=pl.lit(kind), pair=pl.lit(pair.replace("_", "-"))).reverse())
    n = max(len(cosines) for cosines in pairs.values())
    similarity = pl.concat(tables).with_columns(pl.col("cosine").fill_nan(None))
    return given_run(path, np.ones((n, 1, 2)), [10] * n, similarity=similarity)


def made(seed: int, n: int = 15, layers: int = 6) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.clip(random.normal(0, 0.1, (n, layers)) + random.normal(0, 0.1, (n, 1)), -1, 1)


def summary(run: Run, **options: int) -> pl.DataFrame:
    table = cosine_table(run, **{"resamples": R, **options})
    assert table.schema == COSINE_SUMMARY
    return table


def ends(row: dict, name: str) -> list[float]:
    return [row[f"{name}_low"], row[f"{name}_high"]]


def test_kinds_and_pairs_have_a_row_each(tmp_path: Path) -> None:
    run = run_of(tmp_path / "r", same_layer__k_v=made(1), adjacent__q=made(2, layers=5), all_layers__q=made(3),
                 adjacent__v=made(4, layers=5))  # fmt: skip
    table = summary(run)
    assert {*table.select("kind", "pair", "n", "layers").rows()} == {
        ("adjacent", "q", 15, 5), ("adjacent", "v", 15, 5), ("same_layer", "k-v", 15, 6),
    }  # fmt: skip
    assert table["kind"].to_list() == ["adjacent", "adjacent", "same_layer"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), n=st.integers(2, 12), layers=st.integers(1, 5))
def test_figures_equal_numpy(tmp_path_factory: pytest.TempPathFactory, seed: int, n: int, layers: int) -> None:
    cosines = made(seed, n, layers)
    row = summary(run_of(tmp_path_factory.mktemp("run") / "r", adjacent__q=cosines)).row(0, named=True)
    by_layer = cosines.mean(axis=0)
    assert row["mean"] == pytest.approx(cosines.mean())
    assert [row["median_abs"], row["q95_abs"]] == pytest.approx(np.quantile(np.abs(cosines), [0.5, 0.95]))
    assert row["largest"] == pytest.approx(np.abs(by_layer).max())
    assert row["largest_layer"] == np.abs(by_layer).argmax()
    assert row["largest_mean"] == pytest.approx(by_layer[row["largest_layer"]])
    for name in ("mean", "largest", "largest_mean"):
        low, high = ends(row, name)
        assert low is None or low <= row[name] <= high


def test_means_have_the_interval_of_scipy(tmp_path: Path) -> None:
    cosines = made(5)
    row = summary(run_of(tmp_path / "r", adjacent__q=cosines), seed=3).row(0, named=True)
    for name, values in (("mean", cosines.mean(axis=1)), ("largest_mean", cosines[:, row["largest_layer"]])):
        rng = np.random.default_rng([3, 0])
        expected = bootstrap((values,), np.mean, n_resamples=R, method="BCa", rng=rng).confidence_interval
        assert ends(row, name) == pytest.approx(list(expected))


def test_the_largest_has_the_interval_of_scipy(tmp_path: Path) -> None:
    cosines = made(6) + np.linspace(0, 0.3, 6)
    row = summary(run_of(tmp_path / "r", adjacent__q=cosines), seed=4).row(0, named=True)

    def largest(places: np.ndarray, axis: int) -> np.ndarray:
        return np.abs(cosines[places].mean(axis=-2)).max(axis=-1)

    rng = np.random.default_rng([4, 0])
    expected = bootstrap((np.arange(15),), largest, n_resamples=R, method="BCa", rng=rng, vectorized=True)
    assert ends(row, "largest") == pytest.approx(list(expected.confidence_interval))


def test_quantiles_are_of_rows_drawn_with_all_their_layers(tmp_path: Path) -> None:
    cosines = made(7)
    cosines[[0, 3], [1, 2]] = np.nan
    row = summary(run_of(tmp_path / "r", same_layer__q_o=cosines), seed=5).row(0, named=True)
    rng = np.random.default_rng([5, 0])
    rng.integers(0, 15, (R, 15))  # those of the means
    drawn = [np.repeat(np.abs(cosines), counts.astype(int), axis=0) for counts in times_drawn(15, R, rng)]
    expected = np.quantile([np.nanquantile(each, [0.5, 0.95]) for each in drawn], [0.025, 0.975], axis=0)
    assert [*ends(row, "median_abs"), *ends(row, "q95_abs")] == pytest.approx(expected.T.ravel())


def test_missing_cosines_count_for_nothing(tmp_path: Path) -> None:
    cosines = made(8)
    cosines[2], cosines[:, 4], cosines[5, 1] = np.nan, np.nan, np.nan
    row = summary(run_of(tmp_path / "r", adjacent__q=cosines, adjacent__k=np.full((15, 6), np.nan))).row(0, named=True)
    there = np.delete(np.delete(cosines, 2, axis=0), 4, axis=1)
    assert (row["n"], row["layers"], row["pair"]) == (14, 5, "q")
    assert row["mean"] == pytest.approx(np.nanmean(there, axis=1).mean())
    by_layer = np.nanmean(there, axis=0)
    assert row["largest"] == pytest.approx(np.abs(by_layer).max())
    assert row["largest_layer"] == [0, 1, 2, 3, 5][np.abs(by_layer).argmax()]


def test_one_row_has_no_interval(tmp_path: Path) -> None:
    cosines = made(9, n=1)
    row = summary(run_of(tmp_path / "r", adjacent__q=cosines)).row(0, named=True)
    assert row["largest"] == pytest.approx(np.abs(cosines).max())
    assert {row[name] for name in row if name.endswith(("_low", "_high"))} == {None}


def test_constant_cosines_are_their_own_intervals(tmp_path: Path) -> None:
    row = summary(run_of(tmp_path / "r", adjacent__q=np.full((8, 3), -0.25))).row(0, named=True)
    assert (row["mean"], row["largest"], row["largest_mean"], row["q95_abs"]) == (-0.25, 0.25, -0.25, 0.25)
    assert ends(row, "mean") == ends(row, "largest_mean") == [-0.25, -0.25]
    assert ends(row, "largest") == ends(row, "q95_abs") == [0.25, 0.25]


def test_a_run_without_cosines_has_no_rows(tmp_path: Path) -> None:
    assert summary(given_run(tmp_path / "r", np.ones((3, 1, 2)), [10] * 3)).is_empty()
    assert summary(run_of(tmp_path / "n", adjacent__q=np.full((3, 2), np.nan))).is_empty()


def test_orthogonal_gradients_are_found_near_0(tmp_path: Path) -> None:
    random = np.random.default_rng(10)
    row = summary(run_of(tmp_path / "r", adjacent__q=random.normal(0, 0.01, (100, 20)))).row(0, named=True)
    assert row["mean_low"] < 0 < row["mean_high"]
    assert row["q95_abs_high"] < 0.025
    assert row["largest"] < 0.005
