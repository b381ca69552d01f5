"""Group means against an independent least squares, and the length control on data made for it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gradprism import GradPrismError
from gradprism.runs.groups import group_table
from gradprism.runs.run import Run


@dataclass
class MadeUpRun:
    """What the analysis asks of a run, filled with made-up numbers."""

    tables: dict[str, pl.DataFrame]
    columns: pl.DataFrame
    projections: tuple[str, ...] = ("q",)
    metrics: tuple[str, ...] = ()
    path: Path = Path("nowhere")

    def scan(self, table: str) -> pl.LazyFrame:
        return self.tables[table].lazy()


def made_up(effect: float, seed: int = 0, n: int = 400) -> MadeUpRun:
    """Two groups: `high` answers are 5 times as long and rank grows with length; `effect` comes on top for `high`."""
    random = np.random.default_rng(seed)
    high = np.arange(n) % 2 == 0
    response = np.exp(random.normal(np.where(high, 5.3, 3.7), 0.6)).astype(int) + 1
    prompt = np.exp(random.normal(3.0, 0.4, n)).astype(int) + 1
    rank = response**0.7 * np.where(high, effect, 1.0) * np.exp(random.normal(0, 0.1, n))
    rows = np.arange(n)
    examples = pl.DataFrame(
        {"row": rows, "example_id": [str(row) for row in rows], "status": ["ok"] * n, "loss": [1.0] * n,
         "n_prompt_tokens": prompt, "n_response_tokens": response}
    )  # fmt: skip
    spectra = pl.DataFrame({"row": rows, "projection": ["q"] * n, "layer": [0] * n, "effective_rank": rank})
    columns = pl.DataFrame({"row": rows, "example_id": examples["example_id"], "group": np.where(high, "high", "low")})
    return MadeUpRun({"examples": examples, "spectra": spectra}, columns)


def ratio(run: MadeUpRun, column: str) -> float:
    table = group_table(run, "group", "effective_rank")  # type: ignore[arg-type]
    values = dict(zip(table["group"], table[column], strict=True))
    return float(values["high"] / values["low"])


def test_a_difference_that_is_all_length_is_gone_at_equal_length() -> None:
    run = made_up(effect=1.0)
    assert ratio(run, "q") > 2
    assert ratio(run, "q at equal length") == pytest.approx(1.0, abs=0.05)


def test_an_effect_beyond_length_survives() -> None:
    assert ratio(made_up(effect=1.5), "q at equal length") == pytest.approx(1.5, rel=0.05)


def test_adjusted_means_equal_an_independent_regression() -> None:
    run = made_up(effect=1.3, n=50)
    examples, rank = run.tables["examples"], np.log(run.tables["spectra"]["effective_rank"].to_numpy())
    high = (run.columns["group"] == "high").to_numpy().astype(float)
    covariates = np.log(examples.select("n_prompt_tokens", "n_response_tokens").to_numpy())
    design = np.column_stack([np.ones(50), high, covariates])
    intercept, effect, *slopes = np.linalg.solve(design.T @ design, design.T @ rank)
    at_mean = intercept + covariates.mean(axis=0) @ slopes
    table = group_table(run, "group", "effective_rank")  # type: ignore[arg-type]
    found = dict(zip(table["group"], table["q at equal length"], strict=True))
    assert found["low"] == pytest.approx(np.exp(at_mean), rel=1e-9)
    assert found["high"] == pytest.approx(np.exp(at_mean + effect), rel=1e-9)


def test_groups_too_small_to_control_get_no_number() -> None:
    run = made_up(effect=1.0, n=4)
    assert group_table(run, "group", "effective_rank")["q at equal length"].null_count() == 2  # type: ignore[arg-type]


def test_unknown_and_endless_columns_are_refused() -> None:
    run = made_up(effect=1.0)
    with pytest.raises(GradPrismError, match="it has group"):
        group_table(run, "kind", "effective_rank")  # type: ignore[arg-type]
    run.columns = run.columns.with_columns(group=pl.col("row").cast(pl.String))
    with pytest.raises(GradPrismError, match="400 different values"):
        group_table(run, "group", "effective_rank")  # type: ignore[arg-type]


def test_a_run_is_what_the_analysis_takes() -> None:
    assert all(hasattr(Run, name) for name in ("scan", "columns", "projections"))
    assert Path(__file__).exists()


@pytest.mark.parametrize("name", ["loss", "q", "rows"])
def test_the_datas_column_may_be_called_like_one_of_ours(name: str) -> None:
    run = made_up(effect=1.5)
    expected = group_table(run, "group", "effective_rank")  # type: ignore[arg-type]
    run.columns = run.columns.rename({"group": name})
    assert group_table(run, name, "effective_rank").equals(expected)  # type: ignore[arg-type]
