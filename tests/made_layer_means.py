"""Comparisons of two groups whose examples have the layer means and lengths that a test wants."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from gradprism.comparison.comparison import Comparison
from tests.made_comparisons import made_comparison


def with_layer_means(n: tuple[int, int] = (12, 9), seed: int = 0, **columns: object) -> Comparison:
    """Groups `high` and `low` of so many rows, numbered over both, with noise in every column that is not given.

    `columns`: an array over both groups each; `effective_rank__q` stands for `effective_rank:q`.
    """
    total, random = sum(n), np.random.default_rng(seed)
    comparison = made_comparison(n=total, layers=3, seed=seed)
    examples = comparison.examples.head(total)
    numbers = [name for name in examples.columns if ":" in name]
    noise = {name: random.lognormal(size=total) for name in numbers}
    counts = {name: random.integers(5, 400, total) for name in ("n_prompt_tokens", "n_response_tokens")}
    given = {name.replace("__", ":"): values for name, values in columns.items()}
    made: Mapping[str, object] = {"row": np.arange(total), "group": ["high"] * n[0] + ["low"] * n[1], **noise, **counts}
    series = [pl.Series(name, values, strict=False) for name, values in {**made, **given}.items()]
    return replace(comparison, examples=examples.with_columns(series))


def columns_of(comparison: Comparison, names: Sequence[str]) -> np.ndarray:
    return comparison.examples.select(pl.col(name).cast(pl.Float64) for name in names).to_numpy()


def logs_of_lengths(comparison: Comparison) -> np.ndarray:
    return np.log(columns_of(comparison, ["n_prompt_tokens", "n_response_tokens"]))


def is_first(comparison: Comparison) -> np.ndarray:
    return (comparison.examples["group"] == "high").to_numpy()
