"""Contrast of two groups: every feature's difference with its interval, effect size and p, raw and length-controlled.

Length is controlled by overlap weights with regression (`gradprism.stats.overlap_weights`), on which verdicts rest,
and beside it by pairs of rows of like lengths. Two more stand in the table for comparison with other work: regression
on group and log lengths (linear: it extrapolates where the groups hardly overlap), and the Spearman correlation with
the group given both lengths (monotone, and blind to size).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from gradprism.comparison.comparison_tables import EFFECTS
from gradprism.comparison.group_matrix import Features, GroupMatrix
from gradprism.comparison.settings import CompareSettings
from gradprism.correlation.table_files import with_missing_columns
from gradprism.prism.measures import known_measures
from gradprism.runs.layout import is_influence
from gradprism.stats.bootstrap import Resampled, bca_interval, resample_means
from gradprism.stats.effect_size import auc, auc_interval, cliffs_delta
from gradprism.stats.least_squares import varies
from gradprism.stats.length_match import nearest_pairs
from gradprism.stats.multiplicity import benjamini_hochberg
from gradprism.stats.overlap_weights import weighted_effect, without_lengths
from gradprism.stats.permutation import permutation_p, sign_flip_p
from gradprism.stats.rank_correlation import partial_spearman, spearman
from gradprism.stats.regression import group_effect

LENGTHS = ("length", "prompt_length")  # never controlled for themselves


@dataclass(frozen=True)
class Side:
    """A group of a contrast and the resampled means of its features."""

    group: GroupMatrix
    means: Resampled

    @property
    def name(self) -> str:
        """Name of the group."""
        return self.group.name

    @property
    def features(self) -> Features:
        """Features of the columns of `values`."""
        return self.group.features

    @property
    def values(self) -> np.ndarray:
        """Values of the examples, (n, features)."""
        return self.group.values


def contrast(
    first: Side,
    second: Side,
    settings: CompareSettings,
    draws: Iterator[np.random.Generator],
    windows: tuple[GroupMatrix, GroupMatrix] | None = None,
    scaled: "ScaledValues | None" = None,
) -> pl.DataFrame:
    """Make the table EFFECTS of two groups.

    `windows` are the same groups measured in windows; `scaled` their values where these have their scale already.
    """
    features = first.features
    families = [(measure, layer is None) for measure, _, layer in features.keys]
    is_length = np.array([measure in LENGTHS for measure, _, _ in features.keys])
    scaled = scaled or ScaledValues.of(first, second)
    controlled = {
        **_overlap_weights(first, second, scaled),
        **_matched_pairs(first, second, scaled, settings, draws),
        **_windows(windows, first.features, settings),
        **_regression(first, second, scaled),
        **_rank_correlation(first, second),
    }
    columns = {
        **_raw_difference(first, second, scaled, settings.resamples, next(draws)),
        **{name: _blank(values, is_length) for name, values in controlled.items()},
    }
    for name in ("", "weighted_", "matched_", "window_", "regression_", "partial_"):
        columns[f"{name}q"] = benjamini_hochberg(columns[f"{name}p"], families)
    return effects_table(first.name, second.name, features, columns)


def effects_table(first: str, second: str, features: Features, columns: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """Arrange columns of EFFECTS, (features,) each, as the table of one contrast; those that are left out are null."""
    frame = features.frame.with_columns(
        pl.lit(first).alias("first"),
        pl.lit(second).alias("second"),
        *(pl.Series(name, values).fill_nan(None) if values.dtype.kind == "f" else pl.Series(name, values)
          for name, values in columns.items()),
    )  # fmt: skip
    return with_missing_columns(frame, EFFECTS).select(EFFECTS.names()).cast(EFFECTS)


@dataclass(frozen=True)
class ScaledValues:
    """Values on the scale of every effect and test: logs of the measures whose differences are ratios.

    The effect of length on those is near a power law. Metrics are logged where they are above 0 throughout; cosines,
    influence among them, and the others stay linear.
    """

    first: np.ndarray
    second: np.ndarray
    logged: np.ndarray  # mask of the columns

    @classmethod
    def of(cls, first: Side | GroupMatrix, second: Side | GroupMatrix) -> "ScaledValues":
        """Scale the values of two groups alike."""
        both = np.concatenate([first.values, second.values])
        positive: np.ndarray = np.all(np.where(np.isfinite(both), both, 1.0) > 0, axis=0)
        keys = first.features.keys
        ratios = {measure for measure in first.features.measures if known_measures()[measure].scale == "log"}
        metrics = {measure for measure, projection, _ in keys if projection is None and not is_influence(measure)}
        logged = np.array([m in ratios or (m in metrics and positive[i]) for i, (m, _, _) in enumerate(keys)])
        return cls.of_scale(first, second, logged)

    @classmethod
    def of_scale(cls, first: Side | GroupMatrix, second: Side | GroupMatrix, logged: np.ndarray) -> "ScaledValues":
        """Take logs of the columns that are `logged`; NaN where a value has none."""
        return cls(_logs(first.values, logged), _logs(second.values, logged), logged)


def _logs(values: np.ndarray, logged: np.ndarray) -> np.ndarray:
    """Take logs of the columns that are logged; NaN where there is none."""
    return np.where(logged, np.log(np.where(logged & (values > 0), values, np.nan)), values)


def _raw_difference(
    first: Side, second: Side, scaled: ScaledValues, resamples: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Compute means, difference, AUC, and the raw effect with its permutation p, by column of EFFECTS."""
    values = np.concatenate([scaled.first, scaled.second])
    raw = group_effect(values, _membership(first, second), np.empty((len(values), 0)))
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
        "regression_scale": np.where(scaled.logged, "log", "linear"),
        "raw_effect": raw.effect,
        "raw_effect_low": raw.low,
        "raw_effect_high": raw.high,
        "p": permutation_p(scaled.first, scaled.second, resamples, rng),
    }


def match_on_length(first: GroupMatrix, second: GroupMatrix, caliper: float) -> tuple[np.ndarray, np.ndarray]:
    """Pair rows of two groups of like lengths: the positions in the first, and in the second, (pairs,) each."""
    one, other = (
        np.column_stack([group.lengths[:, ::-1], group.truncated, group.examples["loss"].to_numpy()])
        for group in (first, second)
    )
    return nearest_pairs(one, other, math.log1p(caliper))


def _overlap_weights(first: Side, second: Side, scaled: ScaledValues) -> dict[str, np.ndarray]:
    """Compute the control on which verdicts rest, overlap weights with regression, by column of EFFECTS."""
    values = np.concatenate([scaled.first, scaled.second])
    found = weighted_effect(values, _membership(first, second), _lengths_and_strata(first, second))
    return {
        "weighted_n_first": found.n_first,
        "weighted_n_second": found.n_second,
        "weighted_imbalance": found.imbalance,
        "weighted_effect": found.effect,
        "weighted_low": found.low,
        "weighted_high": found.high,
        "weighted_p": found.p,
    }


def _matched_pairs(
    first: Side, second: Side, scaled: ScaledValues, settings: CompareSettings, draws: Iterator[np.random.Generator]
) -> dict[str, np.ndarray]:
    """Compute pairs of rows of like lengths, adjusted for what is left of the gap, by column of EFFECTS."""
    one, other = match_on_length(first.group, second.group, settings.caliper)
    values = np.concatenate([scaled.first, scaled.second])
    adjusted = without_lengths(values, _membership(first, second), _lengths_and_strata(first, second))
    differences = first.values[one] - second.values[other]
    effects = adjusted[one] - adjusted[len(scaled.first) + other]
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
    """Average over pairs, with the interval; NaN for fewer than two."""
    if len(values) < 2:
        return {each: np.full(values.shape[1], np.nan) for each in (name, f"{ends}_low", f"{ends}_high")}
    means = resample_means(values, resamples, rng)
    low, high = bca_interval(means)
    return {name: means.observed, f"{ends}_low": low, f"{ends}_high": high}


def _windows(
    windows: tuple[GroupMatrix, GroupMatrix] | None, features: Features, settings: CompareSettings
) -> dict[str, np.ndarray]:
    """Compute the raw effect between windows of equally many tokens, by column of EFFECTS; NaN where not measured."""
    found = {name: np.full(len(features.keys), np.nan) for name in ("effect", "low", "high", "p")}
    counts = [np.zeros(len(features.keys), dtype=np.int64) for _ in range(2)]
    if windows is not None:
        scaled = ScaledValues.of(*windows)
        values = np.concatenate([scaled.first, scaled.second])
        group = np.arange(len(values)) < len(scaled.first)
        effect = group_effect(values, group, np.empty((len(values), 0)))
        columns = {key: index for index, key in enumerate(windows[0].features.keys)}
        there = np.array([key in columns for key in features.keys])
        taken = [columns[key] for key in features.keys if key in columns]
        for name, each in found.items():
            each[there] = getattr(effect, name)[taken]
        for side, each in zip((scaled.first, scaled.second), counts, strict=True):
            each[there] = np.isfinite(side).sum(axis=0)[taken]
    return {
        "window_tokens": np.full(len(features.keys), settings.window or 0),
        "window_n_first": counts[0],
        "window_n_second": counts[1],
        **{f"window_{name}": each for name, each in found.items()},
    }


def _regression(first: Side, second: Side, scaled: ScaledValues) -> dict[str, np.ndarray]:
    """Compute the group effect in a regression on log lengths, by column of EFFECTS."""
    values = np.concatenate([scaled.first, scaled.second])
    lengths = _lengths(first, second)
    controlled = group_effect(values, _membership(first, second), lengths[:, varies(lengths)])
    return {
        "regression_n": np.isfinite(values).sum(axis=0),
        "regression_effect": controlled.effect,
        "regression_low": controlled.low,
        "regression_high": controlled.high,
        "regression_p": controlled.p,
    }


def _rank_correlation(first: Side, second: Side) -> dict[str, np.ndarray]:
    """Compute the rank correlation with the group given lengths, by column of EFFECTS."""
    values = np.concatenate([first.values, second.values])
    group, lengths = _membership(first, second).astype(float), _lengths(first, second)
    raw = spearman(values, group)
    controlled = partial_spearman(values, group, lengths[:, varies(lengths)])
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
    return np.concatenate([first.group.lengths, second.group.lengths])


def _lengths_and_strata(first: Side, second: Side) -> np.ndarray:
    truncated = np.concatenate([first.group.truncated, second.group.truncated])
    return np.column_stack([_lengths(first, second), truncated])


def _blank(values: np.ndarray, is_length: np.ndarray) -> np.ndarray:
    """Replace the values of lengths by NaN, as they would be controlled for themselves."""
    return np.where(is_length, np.nan, values) if values.dtype.kind == "f" else values
