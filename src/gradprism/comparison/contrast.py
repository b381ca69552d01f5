"""Two groups side by side: every feature's difference with its interval, effect size and p, raw and at equal length.

Length is controlled in three ways, since each has its own weakness: pairs matched on response tokens (few remain
where the groups hardly overlap), regression on group and log lengths (linear: it extrapolates there), and the
Spearman correlation with the group given both lengths (monotone, and blind to size).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from gradprism.comparison.cohort import Cohort
from gradprism.comparison.comparison_tables import EFFECTS
from gradprism.comparison.settings import CompareSettings
from gradprism.prism.tables import MEASURES
from gradprism.stats.bootstrap import Resampled, bca_interval, resample_means
from gradprism.stats.effect_size import auc, auc_interval, cliffs_delta
from gradprism.stats.length_match import length_pairs
from gradprism.stats.multiplicity import benjamini_hochberg
from gradprism.stats.permutation import permutation_p, sign_flip_p
from gradprism.stats.rank_correlation import partial_spearman, spearman
from gradprism.stats.regression import group_effect

LENGTHS = ("length", "prompt_length")  # never controlled for themselves


@dataclass(frozen=True)
class Side:
    """One group of a contrast and the resampled means of its features."""

    cohort: Cohort
    means: Resampled

    @property
    def values(self) -> np.ndarray:
        """(n, features)."""
        return self.cohort.values


def contrast(
    first: Side, second: Side, settings: CompareSettings, draws: Iterator[np.random.Generator]
) -> pl.DataFrame:
    """The table EFFECTS of two groups."""
    features = first.cohort.features
    families = [(measure, layer is None) for measure, _, layer in features.keys]
    of_lengths = np.array([measure in LENGTHS for measure, _, _ in features.keys])
    scaled = _Scaled.of(first, second)
    controlled = {
        **_matched(first, second, scaled, settings, draws),
        **_regressed(first, second, scaled),
        **_ranked(first, second),
    }
    columns = {
        **_raw(first, second, settings.resamples, next(draws)),
        **{name: _without(values, of_lengths) for name, values in controlled.items()},
    }
    for name in ("", "matched_", "regression_", "partial_"):
        columns[f"{name}q"] = benjamini_hochberg(columns[f"{name}p"], families)
    frame = features.frame.with_columns(
        pl.lit(first.cohort.members.name).alias("first"),
        pl.lit(second.cohort.members.name).alias("second"),
        *(pl.Series(name, values).fill_nan(None) if values.dtype.kind == "f" else pl.Series(name, values)
          for name, values in columns.items()),
    )  # fmt: skip
    return frame.select(EFFECTS.names()).cast(EFFECTS)


@dataclass(frozen=True)
class _Scaled:
    """Values as regressions and pairs take them: logs of the measures, whose length effect is near a power law.

    Metrics are logged where they are above 0 throughout; cosines and the others stay as they are.
    """

    first: np.ndarray
    second: np.ndarray
    logged: np.ndarray  # which columns

    @classmethod
    def of(cls, first: Side, second: Side) -> "_Scaled":
        both = np.concatenate([first.values, second.values])
        positive: np.ndarray = np.all(np.where(np.isfinite(both), both, 1.0) > 0, axis=0)
        keys = first.cohort.features.keys
        logged = np.array([m in MEASURES or (p is None and positive[i]) for i, (m, p, _) in enumerate(keys)])
        return cls(_logs(first.values, logged), _logs(second.values, logged), logged)


def _logs(values: np.ndarray, logged: np.ndarray) -> np.ndarray:
    """Logs of the columns that are logged; NaN where there is none."""
    return np.where(logged, np.log(np.where(logged & (values > 0), values, np.nan)), values)


def _raw(first: Side, second: Side, resamples: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    low, high = bca_interval(first.means, second.means)
    area = auc(first.values, second.values)
    auc_low, auc_high = auc_interval(first.values, second.values)
    return {
        "n_first": np.isfinite(first.values).sum(axis=0),
        "n_second": np.isfinite(second.values).sum(axis=0),
        "mean_first": first.means.observed,
        "mean_second": second.means.observed,
        "difference": first.means.observed - second.means.observed,
        "difference_low": low,
        "difference_high": high,
        "auc": area,
        "auc_low": auc_low,
        "auc_high": auc_high,
        "cliffs_delta": cliffs_delta(area),
        "p": permutation_p(first.values, second.values, resamples, rng),
    }


def pairs_of(first: Cohort, second: Cohort, caliper: float) -> tuple[np.ndarray, np.ndarray]:
    """Places of the rows of two groups that pair in response tokens."""
    one, other = (cohort.examples["n_response_tokens"].to_numpy().astype(float) for cohort in (first, second))
    return length_pairs(one, other, math.log1p(caliper))


def _matched(
    first: Side, second: Side, scaled: _Scaled, settings: CompareSettings, draws: Iterator[np.random.Generator]
) -> dict[str, np.ndarray]:
    one, other = pairs_of(first.cohort, second.cohort, settings.caliper)
    differences = first.values[one] - second.values[other]
    effects = scaled.first[one] - scaled.second[other]
    plain, shown, flips = (next(draws) for _ in range(3))
    return {
        "matched_pairs": np.isfinite(effects).sum(axis=0),
        **_mean_of_pairs(differences, settings.resamples, plain, "matched_difference", "matched_difference"),
        **_mean_of_pairs(effects, settings.resamples, shown, "matched_effect", "matched"),
        "matched_p": sign_flip_p(effects, settings.resamples, flips),
    }


def _mean_of_pairs(
    values: np.ndarray, resamples: int, rng: np.random.Generator, name: str, ends: str
) -> dict[str, np.ndarray]:
    """Mean over pairs with its interval; NaN for fewer than two."""
    if len(values) < 2:
        return {each: np.full(values.shape[1], np.nan) for each in (name, f"{ends}_low", f"{ends}_high")}
    means = resample_means(values, resamples, rng)
    low, high = bca_interval(means)
    return {name: means.observed, f"{ends}_low": low, f"{ends}_high": high}


def _regressed(first: Side, second: Side, scaled: _Scaled) -> dict[str, np.ndarray]:
    values = np.concatenate([scaled.first, scaled.second])
    group, lengths = _membership(first, second), _lengths(first, second)
    raw = group_effect(values, group, lengths[:, :0])
    controlled = group_effect(values, group, lengths[:, _varies(lengths)])
    return {
        "regression_scale": np.where(scaled.logged, "log", "linear"),
        "regression_n": np.isfinite(values).sum(axis=0),
        "raw_effect": raw.effect,
        "raw_effect_low": raw.low,
        "raw_effect_high": raw.high,
        "regression_effect": controlled.effect,
        "regression_low": controlled.low,
        "regression_high": controlled.high,
        "regression_p": controlled.p,
    }


def _ranked(first: Side, second: Side) -> dict[str, np.ndarray]:
    values = np.concatenate([first.values, second.values])
    group, lengths = _membership(first, second).astype(float), _lengths(first, second)
    raw = spearman(values, group)
    controlled = partial_spearman(values, group, lengths[:, _varies(lengths)])
    return {
        "spearman": raw.value,
        "spearman_low": raw.low,
        "spearman_high": raw.high,
        "partial_n": controlled.n,
        "partial_spearman": controlled.value,
        "partial_low": controlled.low,
        "partial_high": controlled.high,
        "partial_p": controlled.p,
    }


def _membership(first: Side, second: Side) -> np.ndarray:
    return np.arange(len(first.values) + len(second.values)) < len(first.values)


def _lengths(first: Side, second: Side) -> np.ndarray:
    return np.concatenate([first.cohort.lengths, second.cohort.lengths])


def _varies(lengths: np.ndarray) -> np.ndarray:
    """Which lengths are no constant. One that is not known (NaN) is, so that nothing is controlled without it."""
    return np.asarray(lengths.std(axis=0) != 0)


def _without(values: np.ndarray, out: np.ndarray) -> np.ndarray:
    """No value where a length would be controlled for itself."""
    return np.where(out, np.nan, values) if values.dtype.kind == "f" else values
