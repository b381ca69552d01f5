"""The whole comparison against independent computations, and on data whose truth is known."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats
from tests.given_truths import beyond_length, length_alone
from tests.made_groups import given_run

import gradprism
from gradprism.comparison.comparison import Comparison
from gradprism.comparison.comparison_files import open_comparison


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    return {"high": random.lognormal(1.2, 0.4, (40, 4, 5)), "low": random.lognormal(1.0, 0.4, (30, 4, 5))}


@pytest.fixture(scope="module")
def compared(arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("runs")
    tokens = np.random.default_rng(4).integers(20, 60, 70)
    runs = {
        "high": given_run(folder / "high", arrays["high"], tokens[:40], quality=list(range(40))),
        "low": given_run(folder / "low", arrays["low"], tokens[40:], quality=list(range(30))),
    }
    return gradprism.compare(**runs, out=folder / "out", resamples=1999)


def effect(compared: Comparison, measure: str, projection: str | None, layer: int | None) -> dict:
    found = compared.effects.filter(
        (pl.col("measure") == measure)
        & pl.col("projection").eq_missing(projection)
        & pl.col("layer").eq_missing(pl.lit(layer, pl.Int16))
    )
    assert found.height == 1
    return found.row(0, named=True)


@pytest.mark.parametrize(
    ("projection", "layer", "cut"),
    [
        ("k", 3, lambda values: values[:, 1, 3]),
        ("o", None, lambda values: values[:, 3].mean(axis=1)),
        ("mean", 2, lambda values: values[:, :, 2].mean(axis=1)),
        ("mean", None, lambda values: values.mean(axis=(1, 2))),
    ],
)
def test_a_difference_is_that_of_scipy(compared: Comparison, arrays: dict, projection: str, layer: int, cut) -> None:
    one, other = cut(arrays["high"]), cut(arrays["low"])
    row = effect(compared, "nuclear_norm", projection, layer)
    assert row["difference"] == pytest.approx(one.mean() - other.mean(), rel=1e-12)
    assert row["mean_first"] == pytest.approx(one.mean(), rel=1e-12)
    assert row["auc"] == pytest.approx(stats.mannwhitneyu(one, other).statistic / 1200, rel=1e-12)
    assert row["cliffs_delta"] == pytest.approx(2 * row["auc"] - 1)
    interval = stats.bootstrap((one, other), lambda x, y, axis: x.mean(axis) - y.mean(axis), rng=1).confidence_interval
    width = interval.high - interval.low
    assert row["difference_low"] == pytest.approx(interval.low, abs=0.06 * width)
    assert row["difference_high"] == pytest.approx(interval.high, abs=0.06 * width)
    p = stats.ttest_ind(one, other, equal_var=False).pvalue
    assert row["p"] == pytest.approx(p, abs=3 * math.sqrt(p * (1 - p) / 1999) + 0.01)


def test_q_is_benjamini_hochberg_over_layers_and_projections(compared: Comparison) -> None:
    layers = compared.effects.filter((pl.col("measure") == "effective_rank") & pl.col("layer").is_not_null())
    assert layers.height == 5 * 5
    np.testing.assert_allclose(layers["q"], stats.false_discovery_control(layers["p"].to_numpy()))
    means = compared.effects.filter((pl.col("measure") == "effective_rank") & pl.col("layer").is_null())
    np.testing.assert_allclose(means["q"], stats.false_discovery_control(means["p"].to_numpy()))


def test_regression_is_of_logs_on_group_and_log_lengths(compared: Comparison, arrays: dict) -> None:
    import statsmodels.api as sm

    examples = compared.examples
    lengths = np.log(examples.select("n_prompt_tokens", "n_response_tokens").to_numpy())
    group = (examples["group"] == "high").to_numpy().astype(float)
    values = np.log(np.concatenate([arrays["high"][:, 2, 4], arrays["low"][:, 2, 4]]))
    fit = sm.OLS(values, sm.add_constant(np.column_stack([group, lengths]))).fit(cov_type="HC3", use_t=True)
    row = effect(compared, "stable_rank", "v", 4)
    assert row["regression_scale"] == "log"
    assert row["regression_effect"] == pytest.approx(fit.params[1], rel=1e-9)
    assert row["regression_p"] == pytest.approx(fit.pvalues[1], rel=1e-9)
    assert (row["regression_low"], row["regression_high"]) == pytest.approx(tuple(fit.conf_int()[1]), rel=1e-9)


def test_curve_statistics_are_those_of_a_loop(compared: Comparison, arrays: dict) -> None:
    high, low = (arrays[name][:, 0].mean(axis=0) for name in ("high", "low"))
    mad = compared.mad.filter(group="high", measure="nuclear_norm", projection="q").row(0, named=True)
    assert mad["mad"] == pytest.approx(sum(abs(high[i + 1] - high[i]) for i in range(4)) / 4)
    assert mad["mad_low"] < mad["mad"] < mad["mad_high"]
    assert mad["mad_early"] is None  # of five layers the first third is one
    assert mad["mad_middle"] == pytest.approx(abs(high[2] - high[1]))
    assert mad["mad_late"] == pytest.approx(abs(high[4] - high[3]))
    for third in ("middle", "late"):
        assert mad[f"mad_{third}_low"] < mad[f"mad_{third}"] < mad[f"mad_{third}_high"]
    rd = compared.rd.filter(measure="nuclear_norm", projection="q").row(0, named=True)
    relative = [(high[i] - low[i]) / low[i] for i in range(5)]
    assert rd["rd"] == pytest.approx(sum(relative) / 5)
    assert rd["rd_absolute"] == pytest.approx(sum(map(abs, relative)) / 5)
    assert rd["largest_layers"] == sorted(range(5), key=lambda i: -abs(relative[i]))
    assert rd["rd_low"] < rd["rd"] < rd["rd_high"]


def test_metrics_and_columns_are_compared_too(compared: Comparison) -> None:
    row = effect(compared, "column:quality", None, None)
    assert row["mean_first"] == pytest.approx(19.5)
    assert row["regression_scale"] == "linear"  # the column holds a 0
    assert effect(compared, "length", None, None)["regression_effect"] is None  # not controlled for itself
    assert set(compared.examples["group"]) == {"high", "low"}


def test_levels_describe_each_group(compared: Comparison, arrays: dict) -> None:
    row = compared.levels.filter(group="low", measure="spectral_norm", projection="v", layer=1).row(0, named=True)
    values = arrays["low"][:, 2, 1]
    quartiles = np.quantile(values, [0.25, 0.5, 0.75])
    assert (row["q25"], row["median"], row["q75"]) == pytest.approx(tuple(quartiles))
    assert (row["mean"], row["sd"], row["n"]) == pytest.approx((values.mean(), values.std(ddof=1), 30))
    assert row["mean_low"] < row["mean"] < row["mean_high"]


def test_what_is_saved_is_what_is_opened_and_the_csv_says_the_same(compared: Comparison) -> None:
    folder = Path(compared.groups[0].run).parent / "out"
    opened = open_comparison(folder)
    assert opened.effects.equals(compared.effects)
    assert opened.groups == compared.groups
    assert opened.findings == compared.findings
    text = pl.read_csv(folder / "effects.csv")
    np.testing.assert_allclose(text["difference"], compared.effects["difference"])
    assert (folder / "paper_table.tex").read_text().count("\\midrule") == 1
    assert "## high against low" in (folder / "summary.md").read_text()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers_and_order_of_groups_only_signs(tmp_path: Path, arrays: dict) -> None:
    tokens = list(range(20, 50))
    a = given_run(tmp_path / "a", arrays["high"][:30], tokens)
    b = given_run(tmp_path / "b", arrays["low"], tokens)
    one, again = (gradprism.compare(a=a, b=b, resamples=499) for _ in range(2))
    assert one.effects.equals(again.effects)
    turned = gradprism.compare(b=b, a=a, resamples=499).effects
    np.testing.assert_allclose(turned["difference"], -one.effects["difference"].to_numpy())
    np.testing.assert_allclose(turned["auc"], 1 - one.effects["auc"].to_numpy())


@pytest.mark.slow  # so many comparisons
@pytest.mark.parametrize("n", [4, pytest.param(12, marks=pytest.mark.exhaustive)])
def test_an_effect_of_length_alone_is_reported_as_such_by_all_three_controls(n: int, tmp_path: Path) -> None:
    kinds = [length_alone(tmp_path / str(seed), seed) for seed in range(n)]
    assert kinds.count("length") >= 0.75 * n  # each control errs in one of twenty
    assert "survives" not in kinds


@pytest.mark.slow  # so many comparisons
@pytest.mark.parametrize("n", [2, pytest.param(6, marks=pytest.mark.exhaustive)])
def test_an_effect_beyond_length_survives_all_three(n: int, tmp_path: Path) -> None:
    kinds = [beyond_length(tmp_path / str(seed), seed) for seed in range(n)]
    assert kinds == ["survives"] * n
